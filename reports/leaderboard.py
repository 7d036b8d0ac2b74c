"""The answer of a sweep over savings targets, which compares methods: the best, and how sure that is."""

from dataclasses import dataclass

from metrics.method_comparison import rank_text
from metrics.statistics import Estimate
from reports.base import RunView
from reports.frame import WIN_RATE, difference_result
from reports.labels import Label
from reports.method_comparison import method_comparisons
from reports.rankings import Ranking, rankings, verdict
from sweeps.record import run_savings


@dataclass(frozen=True)
class Leaderboard:
    """A question, its answer and the ranked methods as plain text, nothing escaped.

    Attributes:
        question: the one that the run was made for.
        lines: for each ranking, the best method and whether the controls lose.
        places: (rank and name, results) of each method.
    """

    question: str
    lines: tuple[str, ...]
    places: tuple[tuple[str, str], ...]


def leaderboard(view: RunView) -> Leaderboard | None:
    """Return the rankings of a run in words; None where it has no savings targets, or ranks nothing."""
    ranked = view.once(rankings) if run_savings(view.path) else []
    if not ranked:
        return None
    named = view.once(method_comparisons).named
    lines, places = [], []
    for ranking in ranked:
        where = ", ".join(
            filter(None, [f"at {ranking.range} of denoiser evaluations saved", named(ranking.comparison)])
        )
        first, *others = verdict(ranking)
        lines += [f"{where[0].upper()}{where[1:]}: {first[0].lower()}{first[1:]}", *others]
        places += _places(view, ranking)
    return Leaderboard(
        "Which way of grouping prompts keeps their pictures best, at equal compute?", tuple(lines), tuple(places)
    )


def _places(view: RunView, ranking: Ranking) -> list[tuple[str, str]]:
    metric, method = ranking.comparison.metric, ranking.targets[0].methods[ranking.names[0]]
    difference = difference_result(next(iter(method.records.values())), metric) or f"{metric}.difference"
    rate, by = view.label(f"{metric}{WIN_RATE}"), view.label(difference)
    return [
        (
            f"{rank_text(ranking.ranks[i])}. {name}{' (control)' if name in ranking.comparison.controls else ''}",
            f"{by.text} {_with_ends(by, ranking.areas[i])}, {rate.text} {_with_ends(rate, ranking.rates[i])}%",
        )
        for i, name in enumerate(ranking.names)
    ]


def _with_ends(label: Label, estimate: Estimate) -> str:
    interval = label.interval(estimate)
    return f"{label.number(estimate.value)} {interval}".rstrip()
