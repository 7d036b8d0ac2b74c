"""The question that a run answers, and the answer in three lines: what the page and the Markdown form start with."""

from collections.abc import Sequence
from dataclasses import dataclass

from metrics.parity import Crossing
from metrics.power import POWER
from reports.base import RunView, series_name
from reports.claims import Claim, adjusted, claim, claims
from reports.frame import WIN_RATE, figure_names, paired_metrics
from reports.labels import Label
from reports.leaderboard import leaderboard
from reports.parity import parities
from sweeps.record import Asked, Figure, Record

DELTAS = (0.05, 0.1, 0.15, 0.2)  # tried in turn where nothing can be claimed of the run's own
NO_WORSE = ("no worse", "worse by less than delta")
SHARE = Label("", "fraction")


@dataclass(frozen=True)
class Answer:
    """Plain text, nothing escaped.

    Attributes:
        question: what the run was made for.
        lines: three at most: what may be claimed, how far savings go at parity, what speaks against it.
        series: of a run with several series, what may be claimed of each, by its name; else empty.
        claimed: whether anything is shown to be no worse within the run's own delta.
    """

    question: str
    lines: tuple[str, ...]
    series: tuple[tuple[str, str], ...] = ()
    claimed: bool = False


@dataclass(frozen=True)
class Best:
    """The claim that saves most among those that are no worse; where there is none, the one that loses least.

    Attributes:
        claim: of the run's own delta, or of the smallest of `DELTAS` for which there is one.
        holds: whether it is shown to be no worse within its delta.
    """

    claim: Claim
    holds: bool


def answer(view: RunView) -> Answer:
    """What a view of one run or of several says, by its first metric that has a win rate.

    A run that was asked for at given savings compares ways to share: its answer is who is best (`reports.leaderboard`).

    A claim is "no worse within delta" after Holm's correction over all of the view's claims (`reports.claims`). Where
    none of the view's delta holds, the smallest of `DELTAS` is told for which one does; where none does, how many
    prompts would be needed. Ask for it through `view.once(answer)`.

    Args:
        view: of a run, of one series of it, or of several runs.
    """
    if board := leaderboard(view):
        return Answer(board.question, board.lines, board.places)
    question = _question(view)
    shared = [record for record in view.records if record.asked.tau > 0]
    metrics = paired_metrics(figure_names(shared))
    if not shared:
        return Answer(question, ("Nothing was shared: no cell with a tau above 0 is finished.",))
    if not metrics:
        most = max(shared, key=_savings)
        return Answer(
            question,
            (
                f"At tau {_tau(most)} sharing saves {_saved(most)}.",
                "What that costs in quality is not known: no metric with a win rate has scored the pictures "
                "(`bench score RUN --metric vqa`).",
            ),
        )
    metric = metrics[0]
    found = [each for each in view.once(claims) if each.metric == metric]
    tolerated = _tolerated(view, found)
    best = _best(tolerated, found)
    series = tuple((each.name, _series(view, each, tolerated, found)) for each in view.series) if _several(view) else ()
    lines = (_claimed(view, best, found), _at_parity(view, metric), _against(view, metric, best, found))
    return Answer(question, tuple(line for line in lines if line), series, best is not None and _own(view, best))


def _question(view: RunView) -> str:
    records = view.records
    models, datasets = ({getattr(record.asked, axis) for record in records} for axis in ("model", "dataset"))
    model = f" of {next(iter(models))}" if len(models) == 1 else ""
    prompts = f"the prompts of {next(iter(datasets))}" if len(datasets) == 1 else "prompts"
    return f"How much of the denoising{model} can {prompts} share before their pictures get worse?"


def _tolerated(view: RunView, found: Sequence[Claim]) -> list[list[Claim]]:
    """The same claims within the view's delta, then within every larger one of `DELTAS`."""
    larger = [delta for delta in DELTAS if delta > view.delta]
    again = [[claim(each.record, each.metric, delta) for each in found] for delta in larger]
    return [list(found), *(adjusted([each for each in claims if each]) for claims in again)]


def _best(tolerated: Sequence[Sequence[Claim]], found: Sequence[Claim]) -> Best | None:
    """Of those that hold within the smallest delta, the one that saves most; None where no pictures were compared."""
    for same_delta in tolerated:
        if holding := [each for each in same_delta if each.verdict in NO_WORSE and _savings(each.record) > 0]:
            return Best(max(holding, key=lambda each: _savings(each.record)), holds=True)
    compared = [each for each in found if each.no_worse_p is not None]
    return Best(max(compared, key=_least), holds=False) if compared else None


def _claimed(view: RunView, best: Best | None, found: Sequence[Claim]) -> str:
    where = f" ({_place(view, best.claim.record)})" if best and _several(view) else ""
    if best is None:
        return "Nothing can be claimed: every picture that was compared is standard's own."
    text = _told(view, best.claim)
    if best.holds and _own(view, best):
        tested = sum(each.no_worse_p is not None for each in found)
        corrected = f", corrected for {tested} claims" if tested > 1 else ""
        return f"At tau {_tau(best.claim.record)}{where} sharing saves {text}: {_verdict(best.claim)}{corrected}."
    few = f"With {_prompts(found)} no tau can be called no worse within {_points(view.delta)}"
    if best.holds:
        return f"{few}; tau {_tau(best.claim.record)}{where} can within {_points(best.claim.delta)}: it saves {text}."
    most = _points(max(view.delta, DELTAS[-1]))
    return f"{few}, nor within {most}; tau {_tau(best.claim.record)}{where} comes nearest: it saves {text}."


def _series(view: RunView, series: RunView, tolerated: Sequence[Sequence[Claim]], found: Sequence[Claim]) -> str:
    """Of one series, corrected as a part of the view."""
    own = {id(record) for record in series.records}
    best = _best(
        [[each for each in same_delta if id(each.record) in own] for same_delta in tolerated],
        [each for each in found if id(each.record) in own],
    )
    if not any(id(each.record) in own for each in found):
        return "no tau above 0 has this win rate"
    if best is None:
        return "no picture was compared that is not standard's own"
    text = f"tau {_tau(best.claim.record)} saves {_told(view, best.claim)}"
    return f"{text}: {_verdict(best.claim)}" if best.holds else f"nothing can be claimed; {text}"


def _at_parity(view: RunView, metric: str) -> str:
    curves = [curve for curve in view.once(parities).curves if curve.metric == metric]
    if not curves:
        return ""
    rate, least = view.label(f"{metric}{WIN_RATE}").text, f"{50 - 100 * view.delta:g}%"
    if len(curves) == 1:
        found = curves[0].found
        return (
            f"Savings at parity: {_reached(found.bound)} of denoiser steps. Up to there the lower bound of the {rate} "
            f"stays at {least} or above; {SHARE.number(found.most)}% is the most that was measured."
        )
    ranked = sorted(curves, key=lambda curve: curve.found.bound.value.savings)
    ends = [f"{_reached(curve.found.bound)} ({_curve_name(view, curve.asked)})" for curve in (ranked[0], ranked[-1])]
    return (
        f"Savings at parity, the share of denoiser steps up to which the lower bound of the {rate} stays at {least} or "
        f"above, go from {ends[0]} to {ends[1]}."
    )


def _against(view: RunView, metric: str, best: Best | None, found: Sequence[Claim]) -> str:
    parts = []
    if lost := [each for each in found if each.verdict == "worse"]:
        first = min(lost, key=lambda each: each.record.asked.tau)
        rest = f", {len(lost)} of {len(found)} cells" if _several(view) else ""
        parts.append(f"A loss is certain from tau {_tau(first.record)} on{rest}." if _onwards(found) else _cells(lost))
    if best and not _own(view, best) and best.claim.no_worse_p is not None:
        parts.append(_needed(view, best.claim, found))
    rates = [record.figures.get(f"{metric}{WIN_RATE}") for record in view.held_against("another-seed")]
    if len(rates) == 1 and rates[0]:
        parts.append(f"Another seed alone wins {_percent(rates[0])}: inside that, a difference means nothing.")
    return " ".join(parts)


def _onwards(found: Sequence[Claim]) -> bool:
    """Whether every cell at or above the smallest tau with a certain loss has one."""
    first = min(each.record.asked.tau for each in found if each.verdict == "worse")
    return all(each.verdict == "worse" for each in found if each.record.asked.tau >= first)


def _cells(lost: Sequence[Claim]) -> str:
    taus = sorted({each.record.asked.tau for each in lost})
    return f"A loss is certain in {len(lost)} of the cells, at tau {', '.join(f'{tau:f}' for tau in taus)}."


def _needed(view: RunView, nearest: Claim, found: Sequence[Claim]) -> str:
    own = next(each for each in found if each.record is nearest.record)
    if own.pairs_needed is None:
        return f"No number of prompts shows no worse within {_points(view.delta)} at a true rate of 50%."
    if not own.underpowered:
        return f"{own.pairs:,} prompts were enough to show it, had the true rate been 50%."
    return (
        f"To show no worse within {_points(view.delta)} at a true rate of 50%, {own.pairs_needed:,} prompts are needed "
        f"({POWER:.0%} power by one claim alone; here are {own.pairs:,})."
    )


def _told(view: RunView, found: Claim) -> str:
    name = f"{found.metric}{WIN_RATE}"
    return (
        f"{_saved(found.record)}, at a {view.label(name).text} of {_percent(found.record.figures[name])} over "
        f"{found.pairs:,} pairs"
    )


def _verdict(found: Claim) -> str:
    within = _points(found.delta)
    return f"no worse within {within}" if found.verdict == "no worse" else f"worse, but by less than {within}"


def _own(view: RunView, best: Best) -> bool:
    return best.holds and best.claim.delta == view.delta


def _several(view: RunView) -> bool:
    return len(view.series) > 1


def _place(view: RunView, record: Record) -> str:
    return next(each.name for each in view.series if any(own is record for own in each.records))


def _curve_name(view: RunView, asked: Asked) -> str:
    found = view.once(parities)
    axes = ["model", "dataset", *found.axes]
    return series_name(asked, [axis for axis in axes if len({getattr(each.asked, axis) for each in found.curves}) > 1])


def _savings(record: Record) -> float:
    return record.flops.savings if record.flops else record.plan.savings if record.plan else 0.0


def _saved(record: Record) -> str:
    """Shares are counted, not estimated: they have no interval."""
    steps = f"{SHARE.number(record.plan.savings)}% of denoiser steps" if record.plan else ""
    if not record.flops:
        return steps or "nothing that was recorded"
    return f"{SHARE.number(record.flops.savings)}% of FLOPs" + (f" ({steps})" if steps else "")


def _least(found: Claim) -> float:
    """How low the rate may be."""
    rate = found.record.figures[f"{found.metric}{WIN_RATE}"]
    return rate.value if rate.low is None else rate.low


def _percent(rate: Figure) -> str:
    return f"{SHARE.number(rate.value)}% {SHARE.interval(rate)}".rstrip()


def _reached(crossing: Crossing) -> str:
    from reports.tables.savings_at_parity import reached

    found = reached(crossing)
    return f"{found.value}% {found.interval}".rstrip()


def _prompts(found: Sequence[Claim]) -> str:
    counts = sorted({each.pairs for each in found})
    return f"{counts[0]:,} prompts" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} prompts"


def _points(delta: float) -> str:
    return f"{100 * delta:g} points"


def _tau(record: Record) -> str:
    return f"{record.asked.tau:f}"
