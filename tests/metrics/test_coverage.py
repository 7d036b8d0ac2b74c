"""Nominal 95% intervals hold the truth 93 to 97.5 times in 100, at few and at many ties.

Exact where outcomes can be enumerated, else simulated with fixed seeds and few resamples.
"""

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from benchmarks.pooled_claims import Design, simulated
from metrics import statistics
from metrics.statistics import bootstrap_mean, compare_similarity, tango_interval, win_rate

LEAST, MOST = 0.93, 0.975


@pytest.fixture
def few_resamples(monkeypatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 600)


def coverage(estimates, truth: float) -> float:
    return float(np.mean([each.low <= truth <= each.high for each in estimates]))


# --- exact ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intervals_of_100() -> tuple[np.ndarray, np.ndarray]:
    """Tango's interval of every outcome of 100 pairs: outcomes [5151, 3] and their ends [5151, 2]."""
    outcomes = np.array([(wins, losses, 100 - wins - losses) for wins in range(101) for losses in range(101 - wins)])
    return outcomes, np.array([tango_interval(wins, losses, 100) for wins, losses, _ in outcomes])


# with one untied pair expected, outcomes are so few that no interval covers just 95%: no end excludes enough
@pytest.mark.parametrize(("ties", "most"), [*((t, MOST) for t in (0.0, 0.05, 0.3, 0.5, 0.8, 0.9, 0.96)), (0.99, 1.0)])
@pytest.mark.parametrize("lean", [0.5, 0.55, 0.7])
def test_half_tie_rate_of_100_pairs(intervals_of_100, ties, most, lean) -> None:
    outcomes, ends = intervals_of_100
    rates = [(1 - ties) * lean, (1 - ties) * (1 - lean), ties]
    truth = rates[0] - rates[1]
    covered = (ends[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= ends[:, 1])
    assert LEAST <= multinomial.pmf(outcomes[covered], 100, rates).sum() <= most


@pytest.mark.parametrize("rate", [0.5, 0.4, 0.3, 0.1, 0.05])
def test_strict_rate_of_100_pairs(rate) -> None:
    found = [win_rate(np.arange(100) < wins, np.full(100, 0.5)).strict for wins in range(101)]
    covered = [wins for wins, each in enumerate(found) if each.low <= rate <= each.high]
    assert LEAST <= binom.pmf(covered, 100, rate).sum() <= MOST


# --- simulated -----------------------------------------------------------------------------------------------


def differences(rng, shape: tuple[int, int], ties: float) -> tuple[np.ndarray, float]:
    """Score differences as scorers give them, mostly small with some large failures, and their true mean."""
    failed = rng.random(shape) < 0.2
    values = np.where(failed, -rng.uniform(0.2, 0.7, shape), rng.normal(0.01, 0.05, shape))
    return np.where(rng.random(shape) < ties, 0.0, values), (1 - ties) * (0.2 * -0.45 + 0.8 * 0.01)


# fewer than 50 pairs that differ are not enough for a bootstrap (docs/metrics.md), hence more pairs at many ties
@pytest.mark.parametrize(("pairs", "ties", "trials"), [(100, 0.05, 1000), (100, 0.5, 1000), (500, 0.9, 400)])
def test_mean_difference(few_resamples, pairs, ties, trials) -> None:
    samples, truth = differences(np.random.default_rng(1), (trials, pairs), ties)
    found = [bootstrap_mean(sample, seed=seed) for seed, sample in enumerate(samples)]
    assert LEAST <= coverage(found, truth) <= MOST


def test_similarity_and_its_difference(few_resamples) -> None:
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        shared, own = rng.normal(size=(n, 6)) + 0.7, rng.normal(size=(n, 6))
        return shared, shared * 0.9 + own * 0.4 + 0.1

    def mean_similarity(rows: np.ndarray) -> float:
        return float(np.square((rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)).sum())

    standard, ours = (mean_similarity(rows) for rows in draw(1_000_000))
    found = [compare_similarity(*draw(80), seed=seed) for seed in range(300)]
    for name, truth in {"baseline": standard, "ours": ours, "difference": standard - ours}.items():
        assert LEAST <= coverage([getattr(each, name) for each in found], truth) <= MOST, name


@pytest.mark.parametrize(
    "design",
    [
        Design(seeds=3, prompts=60, roots=60, prompt_effect=0.0),
        Design(seeds=3, prompts=60, roots=60, ties=0.9),
        Design(seeds=2, prompts=60, roots=10, noise_effect=0.2),
        Design(seeds=16, prompts=60, roots=10, noise_effect=0.2),
        Design(seeds=5, prompts=120, roots=1, noise_effect=0.4),
    ],
    ids=lambda design: f"{design.seeds} seeds, {design.roots} roots, {design.ties:.0%} ties",
)
def test_pooled_claims_of_seeds_that_share_prompts_and_prompts_that_share_noise(design) -> None:
    """Large simulations of the same are `benchmarks.pooled_claims`."""
    trials = 400
    rates = simulated(design, trials)
    assert rates.covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / trials)
    assert rates.falsely_no_worse < 0.025 + 3 * np.sqrt(0.025 * 0.975 / trials)
    if design.noise_effect > 0.3:
        assert rates.covered_by_prompts < 0.8, "what prompts alone say of one draw of noise"
