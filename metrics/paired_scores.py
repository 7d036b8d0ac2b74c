"""Results of any score per picture, ours against the baseline: who wins, by how much, and both means."""

import numpy as np
from numpy.typing import NDArray

from metrics.base import Columns, ResultInfo, paired
from metrics.statistics import Estimate, bootstrap_mean, paired_difference, win_rate


def score_figures(score: str, label: str, floor: float | None = None) -> dict[str, ResultInfo]:
    """Return how the results of `compare_scores` are printed, for a score of which more is better.

    Args:
        score: the column's name.
        label: its name in tables.
        floor: a baseline's mean at or below which its pictures do not show their prompts; None: there is no such place.

    Examples:
        >>> for name, info in score_figures("vqa", "VQAScore").items():
        ...     print(name, "|", info.label)
        win_rate | VQAScore win rate
        win_rate_strict | VQAScore win rate, strict
        wins | wins
        ties | ties
        losses | losses
        vqa_difference | VQAScore difference
        vqa_mean | VQAScore
        vqa_mean_standard | VQAScore, baseline
    """
    return {
        "win_rate": ResultInfo(f"{label} win rate", True, "fraction"),
        "win_rate_strict": ResultInfo(f"{label} win rate, strict", True, "fraction"),
        "wins": ResultInfo("wins", None, "count"),
        "ties": ResultInfo("ties", None, "count"),
        "losses": ResultInfo("losses", None, "count"),
        f"{score}_difference": ResultInfo(f"{label} difference", True, "score"),
        f"{score}_mean": ResultInfo(label, True, "score"),
        f"{score}_mean_standard": ResultInfo(f"{label}, baseline", True, "score", floor=floor),
    }


def compare_scores(
    score: str, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
) -> dict[str, Estimate | float | int]:
    """Return win rates with their counts, the mean paired difference, and both means, named as in `score_figures`.

    Args:
        score: the column to compare; more is better.
        baseline: columns of the baseline's images, [N] each.
        ours: columns of our images of the same prompts, same order.
        same: bool [N]; prompts whose picture is the baseline's by construction: these tie.
        seed: of the resamples.

    Raises:
        UserError: the numbers of images differ, there is none, or a score is not finite.

    Examples:
        >>> baseline, ours = {"vqa": np.array([0.8, 0.6, 0.5])}, {"vqa": np.array([0.9, 0.6, 0.25])}
        >>> results = compare_scores("vqa", baseline, ours, same=np.array([False, True, False]))
        >>> results["wins"], results["ties"], results["losses"], results["win_rate"].value
        (1, 1, 1, 0.5)
        >>> round(results["vqa_difference"].value, 3), round(results["vqa_mean"].value, 3)
        (-0.05, 0.583)
    """
    of_baseline, of_ours = paired(score, baseline, ours, same)
    rate = win_rate(of_ours, of_baseline, same)
    return {
        "win_rate": rate.half_tie,
        "win_rate_strict": rate.strict,
        "wins": rate.wins,
        "ties": rate.ties,
        "losses": rate.losses,
        f"{score}_difference": paired_difference(of_ours, of_baseline, seed=seed),
        f"{score}_mean": bootstrap_mean(of_ours, seed=seed),
        f"{score}_mean_standard": bootstrap_mean(of_baseline, seed=seed),
    }
