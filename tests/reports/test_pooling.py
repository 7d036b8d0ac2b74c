"""Several pictures of one prompt are no independent pairs."""

from pathlib import Path

import numpy as np

from reports.pooling import mean_difference, pooled_outcomes, pooled_record
from sweeps.record import Record, Result
from tests.support.run_folders import asked, record_at

N, TIMES = 40, 4


def half_widths(record: Record, gaps: np.ndarray) -> tuple[float, float, float]:
    """Of the rate that claims rest on, the mean difference, and the rate that a summary shows."""
    rate = Result(value=0.5 + np.sign(gaps).mean() / 2, low=0.0, high=1.0, n=len(gaps))
    record = record.model_copy(update={"results": {"vqa.win_rate": rate, "vqa.difference": rate}})

    def read(path: Path, metric: str) -> np.ndarray:
        return gaps if path == record.scores(Path()) else np.zeros(len(gaps))

    pairs = pooled_outcomes(Path(), [record], "vqa", read).estimate()
    shown = pooled_record(Path(), [record], read).results["vqa.win_rate"]
    estimates = pairs, mean_difference(Path(), [record], "vqa", read), shown
    assert all(each.low is not None and each.high is not None for each in estimates)
    low, high = np.array([(each.low, each.high) for each in estimates]).T
    return tuple((high - low) / 2)


def test_an_interval_is_as_wide_as_its_prompts_say_however_often_each_was_drawn_alike():
    gaps = np.random.default_rng(1).normal(0.1, 1, N)
    once, many = record_at(asked("1"), N), record_at(asked("1"), N * TIMES).model_copy(update={"per_prompt": TIMES})
    one, repeated = half_widths(once, gaps), half_widths(many, np.repeat(gaps, TIMES))
    as_if_independent = half_widths(record_at(asked("1"), N * TIMES), np.repeat(gaps, TIMES))
    np.testing.assert_allclose(repeated[:2], one[:2], rtol=0.1)
    assert repeated[1] > 1.8 * as_if_independent[1]
    assert repeated[2] == repeated[0], "a summary shows what claims rest on"


def test_draws_that_differ_within_a_prompt_narrow_it():
    rng = np.random.default_rng(2)
    many = record_at(asked("1"), N * TIMES).model_copy(update={"per_prompt": TIMES})
    assert (
        half_widths(many, rng.normal(0.1, 1, N * TIMES))[1]
        < 0.7 * half_widths(record_at(asked("1"), N), rng.normal(0.1, 1, N))[1]
    )
