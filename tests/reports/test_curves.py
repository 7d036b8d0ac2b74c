import pytest

from reports.base import RunView
from reports.curves import curve, draw_curves, name_series
from reports.style import canvas, theme


def view(records) -> RunView:
    return RunView.of("run", records)


def test_a_curve_is_in_percent_against_percent_saved(new_record) -> None:
    record = new_record("0.5")
    cells = curve(view([record]), "vqa.win_rate")
    figure = record.results["vqa.win_rate"]
    assert cells.iloc[0].tolist() == pytest.approx(
        [0.5, 100 * record.plan.savings, 100 * figure.value, 100 * figure.low, 100 * figure.high]
    )


def test_cells_without_the_figure_are_left_out_and_a_missing_interval_has_no_width(new_record) -> None:
    without = new_record("1").model_copy(update={"results": {}})
    cells = curve(view([new_record("0.5"), without]), "clip_diversity.clip_similarity_difference")
    assert len(cells) == 1
    assert cells.low.tolist() == cells.value.tolist() == cells.high.tolist()


def test_every_tau_is_named_and_every_interval_drawn(new_record) -> None:
    records = [new_record(tau) for tau in ("0", "0.5", "1")]
    with theme():
        axes = canvas(4, 3).subplots()
        draw_curves(axes, view(records), "vqa.win_rate")
    assert [text.get_text() for text in axes.texts] == ["τ = 0", "0.5", "1"]
    (bars,) = axes.collections
    figure = records[1].results["vqa.win_rate"]
    assert bars.get_segments()[1][:, 1] == pytest.approx([100 * figure.low, 100 * figure.high])


def test_several_series_are_named_beside_their_lines(new_record) -> None:
    records = [new_record(tau, strategy=name) for name in ("none", "ward-cosine") for tau in ("0", "1")]
    with theme():
        axes = canvas(4, 3).subplots()
        draw_curves(axes, view(records), "vqa.win_rate")
        name_series(axes, view(records), "vqa.win_rate")
    assert {text.get_text() for text in axes.texts} == {"● none", "● ward-cosine"}
    assert "τ = 0, 1" in axes.get_xlabel()
    assert len({line.get_color() for line in axes.lines}) == 2
