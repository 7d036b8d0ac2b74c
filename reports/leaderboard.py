"""The answer of a run that compares ways to share at given savings: who is best, and how sure that is."""

from dataclasses import dataclass

from metrics.method_comparison import rank_text
from metrics.statistics import Estimate
from reports.base import RunView
from reports.contests import contests
from reports.frame import WIN_RATE, difference_figure
from reports.labels import Label
from reports.rankings import Ranking, rankings, verdict
from sweeps.record import Figure, run_savings


@dataclass(frozen=True)
class Leaderboard:
    """Plain text, nothing escaped.

    Attributes:
        question: what the run was made for.
        lines: of each ranking, who is best and whether controls lose.
        places: by rank and name, what each reached.
    """

    question: str
    lines: tuple[str, ...]
    places: tuple[tuple[str, str], ...]


def leaderboard(view: RunView) -> Leaderboard | None:
    """The rankings of a run in words; None where it was not asked for at given savings, or ranks nothing."""
    found = view.once(rankings) if run_savings(view.path) else []
    if not found:
        return None
    named = view.once(contests).named
    lines, places = [], []
    for each in found:
        where = ", ".join(filter(None, [f"at {each.range} of denoiser steps saved", named(each.contest)]))
        first, *others = verdict(each)
        lines += [f"{where[0].upper()}{where[1:]}: {first[0].lower()}{first[1:]}", *others]
        places += _places(view, each)
    return Leaderboard(
        "Which way to group prompts keeps their pictures best, at equal compute?", tuple(lines), tuple(places)
    )


def _places(view: RunView, found: Ranking) -> list[tuple[str, str]]:
    metric, entrant = found.contest.metric, found.levels[0].entrants[found.names[0]]
    difference = difference_figure(next(iter(entrant.records.values())), metric) or f"{metric}.difference"
    rate, by = view.label(f"{metric}{WIN_RATE}"), view.label(difference)
    return [
        (
            f"{rank_text(found.ranks[i])}. {name}{' (control)' if name in found.contest.controls else ''}",
            f"{by.text} {_told(by, found.areas[i])}, {rate.text} {_told(rate, found.rates[i])}%",
        )
        for i, name in enumerate(found.names)
    ]


def _told(about: Label, found: Estimate) -> str:
    interval = about.interval(Figure(value=found.value, low=found.low, high=found.high))
    return f"{about.number(found.value)} {interval}".rstrip()
