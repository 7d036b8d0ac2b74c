from itertools import combinations

import numpy as np
import pytest

from common.errors import UserError
from metrics.split_similarity import FEWEST, split_similarity

K = 10


def clustered(sizes: list[int], steps: int = 4) -> np.ndarray:
    """What clusters of these sizes share, if all part at this step."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    shared = np.where(cluster[:, None] == cluster, steps, 0)
    np.fill_diagonal(shared, K)
    return shared


def embeddings(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1, (n, 6))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def test_bands_are_means_over_their_pairs() -> None:
    """Two roots; 0, 1, 2 share 3 steps, and 0, 1 of them all 10; 3, 4 share 4; pair by pair."""
    shared = np.full((5, 5), 0)
    shared[:3, :3], shared[:2, :2], shared[3:, 3:] = 3, 10, 4
    np.fill_diagonal(shared, K)
    baseline, ours = embeddings(5), embeddings(5, seed=1)
    bands = split_similarity(baseline, ours, shared, K)
    assert [(band.number, band.pairs, band.clusters) for band in bands] == [(0, 6, 2), (2, 3, 2), (5, 1, 1)]
    assert [band.share for band in bands] == pytest.approx([0, (3 + 3 + 4) / 30, 1])
    for band, chosen in zip(bands, ([0], [3, 4], [10]), strict=True):
        pairs = [(i, j) for i, j in combinations(range(5), 2) if shared[i, j] in chosen]
        of_baseline, of_ours = (np.mean([cosine(rows[i], rows[j]) for i, j in pairs]) for rows in (baseline, ours))
        assert band.baseline.value == pytest.approx(of_baseline)
        assert band.ours.value == pytest.approx(of_ours)
        assert band.excess.value == pytest.approx(of_ours - of_baseline)
        assert band.excess.low is None, "two clusters say nothing of how clusters differ"


@pytest.mark.parametrize(("steps", "number"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (6, 3), (8, 4), (9, 5), (10, 5)])
def test_a_band_holds_its_upper_end(steps: int, number: int) -> None:
    (band,) = split_similarity(embeddings(4), embeddings(4), clustered([4], steps), K)
    assert (band.number, band.share) == (number, pytest.approx(steps / K))


def test_intervals_are_those_of_the_jackknife_written_out() -> None:
    """Leaving a cluster out leaves out every pair that one of its prompts is in."""
    from scipy.stats import t

    sizes, rows = [3, 3, 3, 2, 3, 3], embeddings(17)
    cluster = np.repeat(np.arange(6), sizes)
    bands = split_similarity(rows, rows, clustered(sizes), K)
    for band, between in zip(bands, (True, False), strict=True):
        pairs = [(i, j) for i, j in combinations(range(17), 2) if (cluster[i] != cluster[j]) == between]
        without = [
            np.mean([cosine(rows[i], rows[j]) for i, j in pairs if c not in (cluster[i], cluster[j])]) for c in range(6)
        ]
        counts = np.array([sum(c in (cluster[i], cluster[j]) for i, j in pairs) for c in range(6)])
        freedom = counts.sum() ** 2 / (counts**2).sum() - 1
        assert FEWEST <= freedom + 1 <= 6, "clusters of unequal sizes count as fewer"
        half = t.ppf(0.975, freedom) * np.sqrt(5 / 6 * np.sum((without - np.mean(without)) ** 2))
        assert (band.ours.low, band.ours.high) == pytest.approx((band.ours.value - half, band.ours.value + half))


def test_what_is_not_shared_is_no_excess() -> None:
    bands = split_similarity(embeddings(30), embeddings(30) * 3, clustered([3] * 10), K)
    assert [(band.excess.value, band.excess.low, band.excess.high) for band in bands] == [
        pytest.approx((0, 0, 0), abs=1e-12)
    ] * 2


def test_one_cluster_that_outweighs_the_others_has_no_interval() -> None:
    """Ten clusters are pairs; the eleventh holds 190 of the 200."""
    band = split_similarity(embeddings(40), embeddings(40), clustered([2] * 10 + [20]), K)[-1]
    assert band.clusters == 11
    assert band.ours.low is None
    assert "too few clusters" in band.ours.method


@pytest.mark.parametrize("sizes", [[2] * 20, [8] * 7 + [3, 1, 1, 1]])
def test_intervals_cover_what_clusters_have_in_common(sizes: list[int]) -> None:
    """A cluster moves all its pictures; resampling prompts one by one would cover it half the time."""
    rng, n = np.random.default_rng(0), sum(sizes)
    shared, cluster = clustered(sizes), np.repeat(np.arange(len(sizes)), sizes)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        base, of_clusters = rng.normal(0.5, 1, (n, 12)), rng.normal(size=(len(sizes), 12))
        return base + rng.normal(0, 0.5, (n, 12)), base + 0.7 * of_clusters[cluster] + rng.normal(0, 0.5, (n, 12))

    def figures(drawn: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        bands = split_similarity(*drawn, shared, K)
        return np.array([[(each.value, each.low, each.high) for each in (b.baseline, b.ours, b.excess)] for b in bands])

    truth = np.mean([figures(draw())[..., 0] for _ in range(600)], axis=0)
    found = np.array([figures(draw()) for _ in range(250)], dtype=np.float64)
    covered = np.mean((found[..., 1] <= truth) & (truth <= found[..., 2]), axis=0)
    assert (covered >= 0.91).all(), covered
    assert covered.mean() >= 0.93


def test_embeddings_of_other_prompts_are_refused() -> None:
    with pytest.raises(UserError, match="pictures of 3 prompts are compared with 4"):
        split_similarity(embeddings(4), embeddings(3), clustered([4]), K)
