import pytest

from reports.base import RunView
from reports.figures.savings_at_parity import SavingsAtParity
from reports.parity import parity_curves
from reports.style import theme

KANDINSKY = ("mini-kandinsky", "kandinsky", "image")
UNCLIP = ("mini-stable-unclip", "stable-unclip", "both")


def drawn(view: RunView):
    with theme():
        return SavingsAtParity().draw(view)


def test_a_panel_a_group_a_row_a_model_a_dot_a_prompt_set(grid) -> None:
    run = grid()
    grid(models={UNCLIP: 0.05})
    view = RunView.of(run)
    panels = drawn(view).axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "conditioned on image embeddings",
        "conditioned on text",
        "conditioned on both, in neither group",
    ]
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in panels]
    assert rows == [["mini-kandinsky", "mini-karlo"], ["mini-flux", "mini-sd"], ["mini-stable-unclip"]]
    curves = view.once(parity_curves).curves
    dots = [float(line.get_xdata()[0]) for axes in panels for line in axes.lines if line.get_markersize() == 6]
    assert sorted(dots) == pytest.approx(
        sorted(100 * curve.parity.value.savings for curve in curves if not curve.parity.value.gap)
    )
    lines = [lines for axes in panels for lines in axes.collections]
    thick = [bar.get_segments()[0][:, 0] for bar in lines if bar.get_linewidth()[0] == 4]
    gaps = [curve.parity.value.gap for curve in curves if curve.parity.value.gap]
    drawn_ends, ends = sorted(end for bar in thick for end in bar), sorted(100 * end for gap in gaps for end in gap)
    assert drawn_ends == pytest.approx(ends)
    assert len(dots) + len(thick) == len(curves) == 10
    thin = [bar.get_segments()[0][:, 0] for bar in lines if bar.get_linewidth()[0] == 1.2]
    assert sorted(left for left, _ in thin) == pytest.approx(sorted(100 * c.parity.low.savings for c in curves))
    heights = {round(bar.get_segments()[0][0, 1], 6) for bar in panels[0].collections if bar.get_linewidth()[0] == 1.2}
    assert len(heights) == 4, "no bar hides another"


def test_it_says_delta_the_difference_and_what_that_cannot_prove(grid) -> None:
    figure = drawn(RunView.of(grid(), delta=0.1))
    assert "falls below 40%" in figure.axes[-1].get_xlabel()
    assert "δ = 10 points" in figure.axes[-1].get_xlabel()
    assert "two families against two cannot prove a general law" in " ".join(figure.get_supxlabel().split())
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"mini_styles", "mini_templates"}


def test_what_never_falls_is_an_arrowhead(grid) -> None:
    panels = drawn(RunView.of(grid(models={KANDINSKY: -0.3}))).axes
    assert {line.get_marker() for line in panels[0].lines} == {">", "|"}, "the latter of a lossless method"


def test_one_dot_is_no_figure(grid) -> None:
    assert drawn(RunView.of(grid(models={KANDINSKY: 0.0}, datasets={"mini_styles": 40}))) is None
