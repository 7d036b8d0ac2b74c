"""How alike pictures are whose paths parted at some step. Pure functions of arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate

BANDS = 5
METHOD = "jackknife over clusters"
FEWEST = 5  # effective clusters, below which an interval would say little

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
    one root. The interval is Student's t, with the error of the jackknife that leaves out one cluster at a time and
    every pair that it is in. Clusters of unequal sizes count as (sum of pairs)^2 / (sum of pairs^2) equal ones, which
    gives the degrees of freedom; fewer than `FEWEST` have no interval.

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
    return [
        _band(band, number, of_standard, of_ours, shared / steps, level)
        for band in range(BANDS + 1)
        if (number == band).any()
    ]


def _band(
    band: int, number: NDArray[np.int64], of_standard: Floats, of_ours: Floats, shares: Floats, level: float
) -> Band:
    """Of the pairs whose `number` [N, N] is `band`; they lie within clusters, but those that shared nothing between."""
    pairs = number == band
    cluster = np.argmax(number >= max(band, 1), axis=1)  # the first prompt of each prompt's
    often = 1 if band else 2  # that an ordered pair is counted with a cluster it is in

    def sums(values: NDArray[Any]) -> Floats:
        """By cluster, over the ordered pairs that it is in."""
        of_prompts = np.where(pairs, values, 0).sum(axis=1, dtype=np.float64)
        return often * np.bincount(cluster, of_prompts, minlength=len(cluster)).astype(np.float64)

    counts = sums(pairs)
    total = int(pairs.sum())
    effective = counts.sum() ** 2 / np.square(counts).sum()

    def estimate(values: Floats) -> Estimate:
        mean = float(values[pairs].mean())
        if effective < FEWEST:
            return Estimate(mean, None, None, total // 2, "too few clusters for an interval", level)
        some = counts > 0
        half = _half_width((mean * total - sums(values)[some]) / (total - counts[some]), effective - 1, level)
        return Estimate(mean, mean - half, mean + half, total // 2, METHOD, level)

    return Band(
        number=band,
        share=float(shares[pairs].mean()),
        pairs=total // 2,
        clusters=int(np.count_nonzero(counts)),
        ours=estimate(of_ours),
        standard=estimate(of_standard),
        excess=estimate(of_ours - of_standard),
    )


def _half_width(without: Floats, freedom: float, level: float) -> float:
    """Of Student's t interval, from the means that leave one cluster out each."""
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, freedom) * np.sqrt((len(without) - 1) * without.var()))


def _cosines(embeddings: ArrayLike) -> Floats:
    rows = np.asarray(embeddings, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows @ rows.T)
