"""The figure of strategies: a line each, controls apart."""

import pytest

from reports.base import RunView
from reports.figures.strategies import Strategies
from reports.style import MUTED, theme


def test_a_line_a_strategy_with_its_band_and_controls_dashed_and_grey(compared):
    run = RunView.of(compared({"average": 0.0, "shuffled-ward": 0.3}, controls=("shuffled-ward",)))
    with theme():
        figure = Strategies().draw(run)
    rate, difference = figure.axes
    lines = [line for line in rate.lines if line.get_marker() != "None"]
    assert [list(line.get_xdata()) for line in lines] == [pytest.approx([29.51, 47.41])] * 2
    assert [(line.get_linestyle(), line.get_color() == MUTED) for line in lines] == [("-", False), ("--", True)]
    assert lines[1].get_ydata()[1] < lines[0].get_ydata()[1]
    assert len(rate.collections) == 2
    assert {text.get_text()[2:] for text in difference.texts} == {"average", "shuffled-ward"}


def test_one_strategy_is_no_figure(compared):
    assert Strategies().draw(RunView.of(compared({"average": 0.0}))) is None
