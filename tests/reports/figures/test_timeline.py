import numpy as np
import pytest

from reports.base import RunView
from reports.figures.timeline import Timeline, draw
from reports.style import theme
from sweeps.timeline import Log, Span


def span(stage: str, start: float, end: float, **more: object) -> Span:
    return Span(**{"attempt": 1, "utc": "", "stage": stage, "start": start, "seconds": end - start, **more})


def drawn(*spans: Span, names: dict[str, str] | None = None):
    with theme():
        (axes,) = draw(Log((), spans), names or {}).axes
    return axes


def bars(axes, row: int) -> list[tuple[float, float]]:
    """Of a row, from left to right; the first is the cells'."""
    boxes = [path.get_extents() for each in axes.collections for path in each.get_paths()]
    return [(box.x0, box.x1) for box in boxes if box.y0 < row < box.y1]


def test_a_row_a_stage_with_its_seconds_and_attempts_one_after_another() -> None:
    axes = drawn(
        span("load", 0, 2),
        span("denoise", 2, 6, cell="x"),
        span("score", 6, 8, cell="x"),
        span("load", 0, 2, attempt=2),
        names={"x": "τ 0.5"},
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cells", "load", "denoise", "score"]
    assert bars(axes, 0) == [(2, 8)]
    assert bars(axes, 1) == [(0, 2), (8, 10)]
    texts = [text.get_text() for text in axes.texts]
    assert {"τ 0.5", "4.0 s, 40.0%", " attempt 2"} <= set(texts)
    assert axes.get_xlim() == (0, 10)


def test_many_cells_are_drawn_as_shares_whose_area_is_the_time() -> None:
    spans = [span("denoise", 10 * i, 10 * i + 7, cell=str(i)) for i in range(480)]
    spans += [span("score", 10 * i + 7, 10 * i + 10, cell=str(i)) for i in range(480)]
    axes = drawn(*spans)
    assert "480 cells" in [text.get_text() for text in axes.texts]
    assert "height" in axes.get_xlabel()
    _, denoise, score = axes.collections
    for collection, share in ((denoise, 0.7), (score, 0.3)):
        x, y = collection.get_paths()[0].vertices.T
        area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        assert area == pytest.approx(share * 4800 * 0.72, rel=0.02)


def test_no_time_line_is_no_figure(run_folder) -> None:
    assert Timeline().draw(RunView.of(run_folder)) is None
