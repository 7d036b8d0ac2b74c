"""How alike pictures are whose paths parted at some step. Pure functions of arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate

BANDS = 5
METHOD = "jackknife over clusters"
FEWEST = 5  # clusters, below which an interval would say little

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """Pairs of prompts that shared about as many steps.

    Attributes:
        number: 0 for pairs that shared none, else b for those that shared more than (b - 1) / BANDS of the steps and
            at most b / BANDS.
        share: the mean share of the steps that they shared.
        pairs: how many there are.
        clusters: how many clusters of prompts they come from (see `split_similarity`).
        ours: mean cosine similarity of their pictures.
        standard: of the pictures that standard generation makes of the same pairs.
        excess: ours - standard, what sharing added.
    """

    number: int
    share: float
    pairs: int
    clusters: int
    ours: Estimate
    standard: Estimate
    excess: Estimate


def split_similarity(
    standard: ArrayLike, ours: ArrayLike, shared: ArrayLike, steps: int, *, level: float = LEVEL
) -> list[Band]:
    """Mean similarity of pairs by the share of the steps that they shared; bands without a pair are left out.

    Pairs have prompts in common, and prompts that share have noise in common. So what varies is taken to be clusters:
    of a band's pairs, the prompts that were still one where the band begins; of pairs that shared nothing, those below
    one root. The interval is Student's t with the error of the jackknife that leaves out one cluster at a time, with
    every pair that it is in. Fewer than `FEWEST` clusters have none.

    Args:
        standard: embeddings of the standard pictures [N, D]; normalised here.
        ours: embeddings of our pictures of the same prompts [N, D].
        shared: [N, N], how many steps each two prompts shared: prompts that shared k are one cluster up to step k.
        steps: K.
        level: nominal coverage.

    Raises:
        UserError: the shapes do not fit one another.
    """
    of_standard, of_ours, shared = _cosines(standard), _cosines(ours), np.asarray(shared)
    if not of_standard.shape == of_ours.shape == shared.shape:
        raise UserError(
            f"pictures of {len(of_ours)} prompts are compared with {len(of_standard)}, and what {len(shared)} shared",
            "give both sets of the same prompts",
        )
    number = -(-shared.astype(np.int64) * BANDS // steps)
    np.fill_diagonal(number, BANDS + 1)
    found = []
    for band in range(BANDS + 1):
        inside = number == band
        if not inside.any():
            continue
        values = [np.where(inside, each, 0.0) for each in (of_ours, of_standard, of_ours - of_standard)]
        cluster = np.argmax(number >= max(band, 1), axis=1)  # the first prompt of each prompt's
        estimates, clusters = _estimates(values, inside, cluster, level)
        share = float(shared[inside].mean() / steps)
        found.append(Band(band, share, int(inside.sum()) // 2, clusters, *estimates))
    return found


def _estimates(
    values: list[Floats], inside: NDArray[np.bool_], cluster: NDArray[np.int64], level: float
) -> tuple[list[Estimate], int]:
    """Of each of these values [N, N], the mean over the pairs inside; and of how many clusters these are.

    Args:
        values: 0 outside.
        inside: bool [N, N]: pairs, either all within clusters or all between them.
        cluster: [N], of each prompt.
        level: nominal coverage.
    """
    from scipy.stats import t

    def sums(pairs: NDArray[np.generic]) -> Floats:
        """By cluster, over the pairs that it is in."""
        whole = np.bincount(cluster, pairs.sum(axis=1), minlength=len(cluster))
        return whole * (2 if between else 1)

    first, second = np.argwhere(inside)[0]
    between = cluster[first] != cluster[second]
    counts, total = sums(inside), float(inside.sum())
    left = total - counts
    kept = (counts > 0) & (left > 0)
    clusters, pairs = int(np.count_nonzero(counts)), int(total) // 2
    found = []
    for each in values:
        mean = float(each.sum() / total)
        if np.count_nonzero(kept) < FEWEST:
            found.append(Estimate(mean, None, None, pairs, "too few clusters for an interval", level))
            continue
        without = (each.sum() - sums(each)[kept]) / left[kept]
        error = np.sqrt((len(without) - 1) * without.var())
        half = float(t.ppf(0.5 + level / 2, len(without) - 1) * error)
        found.append(Estimate(mean, mean - half, mean + half, pairs, METHOD, level))
    return found, clusters


def _cosines(embeddings: ArrayLike) -> Floats:
    rows = np.asarray(embeddings, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows @ rows.T)
