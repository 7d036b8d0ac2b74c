import pytest

from reports.base import RunView
from reports.claims import claims
from reports.figures.quality_savings import QualitySavings
from reports.style import theme
from sweeps.record import Result


def drawn(records):
    with theme():
        return QualitySavings().draw(RunView.of("run", records))


def test_win_rate_and_difference_side_by_side_with_the_lines_where_both_are_even(new_record) -> None:
    left, right = drawn([new_record("0"), new_record("1")]).axes
    assert left.get_ylabel() == "VQA win rate, % (higher is better)"
    assert right.get_ylabel() == "VQAScore difference (higher is better)"
    assert list(left.lines[0].get_ydata()) == [50, 50]
    assert list(right.lines[0].get_ydata()) == [0, 0]
    assert left.lines[1].get_ydata()[0] == pytest.approx(50)


def test_a_second_metric_with_a_win_rate_gets_its_own_panels(new_record) -> None:
    record = new_record("1")
    more = {**record.results, "pick.win_rate": Result(value=0.4, low=0.3, high=0.5)}
    figure = drawn([record.model_copy(update={"results": more})])
    assert [axes.get_ylabel() for axes in figure.axes if axes.axison] == [
        "VQA win rate, % (higher is better)",
        "VQAScore difference (higher is better)",
        "pick win rate, %",
    ]


def test_nothing_to_draw_without_a_win_rate(new_record) -> None:
    assert drawn([new_record().model_copy(update={"results": {}})]) is None


def test_another_seed_is_a_band_and_fewer_steps_a_dotted_line_of_their_own_model(new_record) -> None:
    def held(role, tau, **axes):
        return new_record(tau, strategy=role, **axes).model_copy(update={"role": role, "id": f"{role}{axes}"})

    against = [held("another-seed", "0"), held("fewer-steps", "0.5"), held("fewer-steps", "1")]
    left, right = drawn([new_record("0"), new_record("1"), *against]).axes
    results = against[0].results
    half = 50 * (results["vqa.win_rate"].high - results["vqa.win_rate"].low)
    (band,) = left.patches
    assert [band.get_y(), band.get_y() + band.get_height()] == pytest.approx([50 - half, 50 + half])
    half = (results["vqa.vqa_difference"].high - results["vqa.vqa_difference"].low) / 2
    (band,) = right.patches
    assert [band.get_y(), band.get_y() + band.get_height()] == pytest.approx([-half, half]), "even, not the control's"
    (dotted,) = [line for line in left.lines if line.get_linestyle() == ":"]
    assert list(dotted.get_xdata()) == pytest.approx([100 * record.plan.savings for record in against[1:]])
    assert {"seed control (A/A)", "equal-compute baseline"} <= {text.get_text() for text in left.texts}

    other = RunView.of("run", [new_record("1"), new_record("1", model="karlo"), *against])
    assert [len(series.references) for series in other.series] == [3, 0]


def test_seeds_are_one_line_of_all_their_pairs(new_run) -> None:
    view = RunView.of(new_run(n=20, side=4, series=[{"seed": 1}, {"seed": 2}]))
    with theme():
        panel = QualitySavings().draw(view).axes[0]
    lines = [line for line in panel.lines if len(line.get_xdata()) == 3]
    assert len(lines) == 1
    assert list(lines[0].get_ydata()) == pytest.approx([50, *(100 * claim.rate.value for claim in view.once(claims))])
