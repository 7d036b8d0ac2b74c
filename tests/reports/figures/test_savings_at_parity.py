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
    dots = [float(line.get_xdata()[0]) for axes in panels for line in axes.lines]
    assert sorted(dots) == pytest.approx(
        sorted(100 * curve.parity.bound.value.savings for curve in view.once(parity_curves).curves)
    )
    bars = [segment[:, 0] for axes in panels for each in axes.collections for segment in each.get_segments()]
    assert len(bars) == len(dots) == 10
    assert all(low <= dot <= high for (low, high), dot in zip(bars, dots, strict=True))
    assert len({round(low.get_ydata()[0], 6) for low in panels[0].lines}) == 4, "no dot hides another"


def test_it_says_delta_the_difference_and_what_that_cannot_prove(grid) -> None:
    figure = drawn(RunView.of(grid(), delta=0.1))
    assert "at least 40%" in figure.axes[-1].get_xlabel()
    assert "δ = 10 points" in figure.axes[-1].get_xlabel()
    assert "two families against two cannot prove a general law" in " ".join(figure.get_supxlabel().split())
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"mini_styles", "mini_templates"}


def test_what_never_falls_is_an_arrowhead(grid) -> None:
    panels = drawn(RunView.of(grid(models={KANDINSKY: -0.3}))).axes
    assert {line.get_marker() for line in panels[0].lines} == {">"}


def test_one_dot_is_no_figure(grid) -> None:
    assert drawn(RunView.of(grid(models={KANDINSKY: 0.0}, datasets={"mini_styles": 40}))) is None
