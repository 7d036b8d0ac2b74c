"""The band of the seed control: how often the baseline from a third seed falls outside."""

import numpy as np
import pytest

from metrics.statistics import win_rate
from reports.seed_control import chance
from sweeps.record import Result


@pytest.mark.parametrize("n", [60, 120])
def test_a_third_seed_falls_outside_in_five_of_a_hundred(new_record, n) -> None:
    """Scores of three seeds of the same prompts, easy and hard ones; the first is the baseline."""
    rng, outside, around_one, runs = np.random.default_rng(n), 0, 0, 800
    for _ in range(runs):
        baseline, control, third = rng.normal(size=n) + rng.normal(size=(3, n))
        rate, seen = ((third > baseline).mean(), win_rate(control, baseline).half_tie)
        record = new_record("0").model_copy(
            update={"results": {"vqa.win_rate": Result(value=seen.value, low=seen.low, high=seen.high)}}
        )
        low, high = chance(record.results, "vqa.win_rate")
        outside += not low <= rate <= high
        around_one += abs(rate - seen.value) > (high - low) / 2
    assert outside / runs == pytest.approx(0.05, abs=0.025), "counts are whole: no band leaves out just 5%"
    assert around_one > 1.3 * outside, "a band around what one control happened to have leaves out more"


def test_a_difference_is_even_at_0_and_a_similarity_at_the_baseline_s_own(new_record) -> None:
    results = {
        "vqa.vqa_difference": Result(value=0.02, low=-0.01, high=0.05),
        "clip.similarity": Result(value=0.5, low=0.4, high=0.6),
        "clip.similarity_standard": Result(value=0.48, low=0.38, high=0.58),
        "clip.similarity_difference": Result(value=-0.02, low=-0.05, high=0.01),
        "clip.other": Result(value=0.5),
    }
    record = new_record("0").model_copy(update={"results": results})
    assert chance(record.results, "vqa.vqa_difference") == pytest.approx((-0.03, 0.03))
    assert chance(record.results, "clip.similarity") == pytest.approx((0.45, 0.51))
    assert chance(record.results, "clip.other") is chance(record.results, "clip.none") is None
