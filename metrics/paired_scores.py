"""What any score per picture says about ours against standard: who wins, by how much, and both means."""

import numpy as np
from numpy.typing import NDArray

from metrics.base import Columns, FigureInfo, paired
from metrics.statistics import Estimate, bootstrap_mean, paired_difference, win_rate


def score_figures(score: str, label: str) -> dict[str, FigureInfo]:
    """The figures of `compare_scores`, for a score of which more is better.

    Args:
        score: the column's name.
        label: how a table calls it.
    """
    return {
        "win_rate": FigureInfo(f"{label} win rate", True, "fraction"),
        "win_rate_strict": FigureInfo(f"{label} win rate, strict", True, "fraction"),
        "wins": FigureInfo("wins", None, "count"),
        "ties": FigureInfo("ties", None, "count"),
        "losses": FigureInfo("losses", None, "count"),
        f"{score}_difference": FigureInfo(f"{label} difference", True, "score"),
        f"{score}_mean": FigureInfo(label, True, "score"),
        f"{score}_mean_standard": FigureInfo(f"{label}, standard", True, "score"),
    }


def compare_scores(
    score: str, standard: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
) -> dict[str, Estimate | float | int]:
    """Win rates with their counts, the mean paired difference, and both means, named as in `score_figures`.

    Args:
        score: the column to compare; more is better.
        standard: columns of the standard images, [N] each.
        ours: columns of our images of the same prompts, same order.
        same: bool [N]; prompts whose picture is standard's by construction: these tie.
        seed: of the resamples.

    Raises:
        UserError: the numbers of images differ, there is none, or a score is not finite.
    """
    of_standard, of_ours = paired(score, standard, ours, same)
    rate = win_rate(of_ours, of_standard, same)
    return {
        "win_rate": rate.half_tie,
        "win_rate_strict": rate.strict,
        "wins": rate.wins,
        "ties": rate.ties,
        "losses": rate.losses,
        f"{score}_difference": paired_difference(of_ours, of_standard, seed=seed),
        f"{score}_mean": bootstrap_mean(of_ours, seed=seed),
        f"{score}_mean_standard": bootstrap_mean(of_standard, seed=seed),
    }
