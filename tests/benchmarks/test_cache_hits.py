import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cache_hits import RESULTS, STEPS, draw, hits
from generators.strategies.base import get_strategy


def test_hits_are_counted_by_the_step_that_they_start_at() -> None:
    """Of a prompt come twice, and of one at a cosine of 0.8 from it."""
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6]])
    assert hits(get_strategy("cache"), rows, 50) == {10: pytest.approx(1 / 3), 25: pytest.approx(1 / 3)}


def test_what_was_kept_adds_up_and_is_drawn(tmp_path: Path) -> None:
    found = json.loads(RESULTS.read_text())["streams"]
    for row in found:
        row["hits"] = {int(step): share for step, share in row["hits"].items()}
        assert row["saved"] == pytest.approx(sum(step * share for step, share in row["hits"].items()) / STEPS)
    draw(found, tmp_path / "hits.png")
    assert (tmp_path / "hits.png").stat().st_size > 10_000
