from reports.base import RunView, file_name
from reports.figures.split_similarity import SplitSimilarity
from reports.render import write_report
from reports.splits import splits
from reports.style import theme


def drawn(view: RunView):
    with theme():
        return SplitSimilarity().draw(view)


def test_a_panel_a_tau_ours_beside_the_same_pairs_of_standard(parted) -> None:
    view = RunView.of(parted())
    figure = drawn(view)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["τ = 0.5", "τ = 1"]
    assert figure.axes[0].get_ylabel() == "mean CLIP similarity of a pair\n(lower is more diverse)"
    assert {text.get_text() for text in figure.axes[-1].texts} >= {"● shared", "■ baseline"}
    for axes, split in zip(figure.axes, view.once(splits), strict=True):
        baseline, ours = (line.get_ydata() for line in axes.lines[:2])
        assert list(baseline) == [band.baseline.value for band in split.bands]
        assert list(ours) == [band.ours.value for band in split.bands]
        assert {text.get_text() for text in axes.texts} >= {f"{band.pairs:,}" for band in split.bands}
        bars = [segment for each in axes.collections[1:] for segment in each.get_segments()]
        assert len(bars) == 2 * sum(band.ours.low is not None for band in split.bands) > 0


def test_a_dot_is_filled_where_the_difference_is_off_zero(parted) -> None:
    view = RunView.of(parted(taus=("1",)))
    (axes,), (split,) = drawn(view).axes, view.once(splits)
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert [face != "white" for face in faces] == [
        band.excess.low is not None and not band.excess.low <= 0 <= band.excess.high for band in split.bands
    ]
    assert "white" in faces
    assert set(map(str, faces)) != {"white"}


def test_of_many_taus_four_are_shown(parted) -> None:
    taus = ("0", "0.25", "0.5", "0.75", "1", "1.5", "2")
    assert [axes.get_title(loc="left") for axes in drawn(RunView.of(parted(taus=taus))).axes] == [
        "τ = 0.25",
        "τ = 0.75",
        "τ = 1",
        "τ = 2",
    ]


def test_where_nobody_shares_there_is_no_figure(parted) -> None:
    assert drawn(RunView.of(parted(taus=("0",)))) is None


def test_it_is_drawn_once_a_series(parted) -> None:
    figures = {path.stem for path in write_report(parted(taus=("1",), series=({"seed": 1}, {"seed": 2}))).figures}
    assert {f"split_similarity-{file_name(name)}" for name in ("seed 1", "seed 2")} <= figures
