from reports.base import RunView
from reports.figures.diversity_savings import DiversitySavings
from reports.style import theme


def drawn(records):
    with theme():
        return DiversitySavings().draw(RunView.of("run", records))


def test_ours_beside_standard_with_its_interval(new_record) -> None:
    (axes,) = drawn([new_record("0"), new_record("1")]).axes
    ours, standard = axes.lines
    assert axes.get_ylabel() == "CLIP similarity (lower is better)"
    assert list(standard.get_ydata()) == [0.62, 0.62]
    assert ours.get_ydata()[-1] > 0.62
    assert "baseline" in [text.get_text() for text in axes.texts]
    (band,) = axes.patches
    assert (band.get_y(), round(band.get_y() + band.get_height(), 6)) == (0.6, 0.64)


def test_every_series_has_its_own_standard(new_record) -> None:
    (axes,) = drawn([new_record("1", seed=1), new_record("1", seed=2)]).axes
    assert [line.get_linestyle() for line in axes.lines].count("--") == 2


def test_a_paired_metric_is_no_diversity(new_record) -> None:
    record = new_record()
    paired = {name: figure for name, figure in record.results.items() if name.startswith("vqa.")}
    assert drawn([record.model_copy(update={"results": paired})]) is None
