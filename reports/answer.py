"""The question that a run answers, and the answer in at most three lines: the start of its page and Markdown report."""

from collections.abc import Sequence
from dataclasses import dataclass

from metrics.power import POWER
from reports.base import RunView, series_name
from reports.claims import Claim, adjusted, cell_claim, claims
from reports.frame import WIN_RATE, paired_metrics, result_names
from reports.labels import Label
from reports.leaderboard import leaderboard
from reports.parity import parity_curves
from sweeps.record import CellConfig, Record, Result

DELTAS = (0.05, 0.1, 0.15, 0.2)  # tried in turn where no claim holds within the run's own
HOLDING = ("no worse", "worse by less than delta")
SHARE = Label("", "fraction")


@dataclass(frozen=True)
class Answer:
    """A question and its answer as plain text, nothing escaped.

    Attributes:
        question: the one that the run was made for.
        lines: at most three: what may be claimed, the savings at parity, the evidence against.
        series: for a run with several series, (name, what may be claimed) of each; else empty.
        claimed: whether any cell is shown to be no worse within the run's own delta.
    """

    question: str
    lines: tuple[str, ...]
    series: tuple[tuple[str, str], ...] = ()
    claimed: bool = False


@dataclass(frozen=True)
class Best:
    """The claim that saves most among those that hold; where none holds, the one with the highest lower bound.

    Attributes:
        claim: within the run's own delta, or within the smallest of `DELTAS` at which one holds.
        holds: whether it is shown to be no worse within its delta.
    """

    claim: Claim
    holds: bool


def answer(view: RunView) -> Answer:
    """Return the question that a view of one run or of several answers, and the answer, by its first paired metric.

    A sweep over savings targets compares methods: its answer names the best (`reports.leaderboard`). Any other claims
    "no worse within delta" after Holm's correction over all of the view's claims (`reports.claims`). Where no claim
    holds within the view's delta, the answer names the smallest of `DELTAS` within which one does, or else how many
    prompts would be needed. Call it as `view.once(answer)`, which computes it once.

    Args:
        view: the view of a run, of one of its series, or of several runs.
    """
    if board := leaderboard(view):
        return Answer(board.question, board.lines, board.places)
    question = _question(view)
    shared = [record for record in view.records if record.config.tau > 0]
    metrics = paired_metrics(result_names(shared))
    if not shared:
        return Answer(question, ("Nothing was shared yet: no cell with tau above 0 has finished.",))
    if not metrics:
        largest = max(shared, key=_savings)
        return Answer(
            question,
            (
                f"At tau {_tau(largest)} sharing saves {_saved(largest)}.",
                "Its cost in quality is not known yet: no metric with a win rate has scored the pictures "
                "(`bench score RUN --metric vqa` does).",
            ),
        )
    metric = metrics[0]
    metric_claims = [claim for claim in view.once(claims) if claim.metric == metric]
    tolerated = _tolerated(view, metric_claims)
    best_claim = _best(tolerated, metric_claims)
    series_lines = (
        tuple((series.name, _series(view, series, tolerated, metric_claims)) for series in view.series)
        if _several(view)
        else ()
    )
    lines = (
        _claimed(view, best_claim, metric_claims),
        _at_parity(view, metric),
        _against(view, metric, best_claim, metric_claims),
    )
    return Answer(
        question, tuple(line for line in lines if line), series_lines, best_claim is not None and _own(view, best_claim)
    )


def _question(view: RunView) -> str:
    records = view.records
    models, datasets = ({getattr(record.config, axis) for record in records} for axis in ("model", "dataset"))
    model = f" of {next(iter(models))}" if len(models) == 1 else ""
    prompts = f"the prompts of {next(iter(datasets))}" if len(datasets) == 1 else "prompts"
    return f"How much of the denoising{model} can {prompts} share before their pictures get worse?"


def _tolerated(view: RunView, metric_claims: Sequence[Claim]) -> list[list[Claim]]:
    """Return the claims within the view's delta, then within every larger one of `DELTAS`."""
    larger = [delta for delta in DELTAS if delta > view.delta]
    retested = [[cell_claim(claim.record, claim.metric, delta) for claim in metric_claims] for delta in larger]
    return [
        list(metric_claims),
        *(adjusted([claim for claim in retested_claims if claim]) for retested_claims in retested),
    ]


def _best(tolerated: Sequence[Sequence[Claim]], metric_claims: Sequence[Claim]) -> Best | None:
    """Return the claim that saves most at the smallest delta where any holds; None where no pictures were compared."""
    for same_delta in tolerated:
        holding = [claim for claim in same_delta if claim.verdict in HOLDING and _savings(claim.record) > 0]
        if holding:
            return Best(max(holding, key=lambda claim: _savings(claim.record)), holds=True)
    compared_claims = [claim for claim in metric_claims if claim.noninferiority_p is not None]
    return Best(max(compared_claims, key=_least), holds=False) if compared_claims else None


def _claimed(view: RunView, best: Best | None, metric_claims: Sequence[Claim]) -> str:
    where = f" ({_place(view, best.claim.record)})" if best and _several(view) else ""
    if best is None:
        return "Nothing can be claimed: every picture that was compared is the baseline's own."
    savings = _savings_and_rate(view, best.claim)
    if best.holds and _own(view, best):
        tested = sum(claim.noninferiority_p is not None for claim in metric_claims)
        corrected = f", corrected for {tested} claims" if tested > 1 else ""
        return f"At tau {_tau(best.claim.record)}{where} sharing saves {savings}: {_verdict(best.claim)}{corrected}."
    claim = best.claim
    not_shown = f"With {_prompts(metric_claims)} no tau is shown to be no worse within {_points(view.delta)}"
    if best.holds:
        return f"{not_shown}. Within {_points(claim.delta)}, tau {_tau(claim.record)}{where} is: it saves {savings}."
    most = _points(max(view.delta, DELTAS[-1]))
    return f"{not_shown}, or even within {most}. Tau {_tau(claim.record)}{where} comes nearest: it saves {savings}."


def _series(
    view: RunView, series: RunView, tolerated: Sequence[Sequence[Claim]], metric_claims: Sequence[Claim]
) -> str:
    """Return the answer for one series, with p-values corrected over all claims of the view."""
    record_ids = {id(record) for record in series.records}
    best = _best(
        [[claim for claim in same_delta if id(claim.record) in record_ids] for same_delta in tolerated],
        [claim for claim in metric_claims if id(claim.record) in record_ids],
    )
    if not any(id(claim.record) in record_ids for claim in metric_claims):
        return "no cell with tau above 0 has been scored by this metric"
    if best is None:
        return "every picture that was compared is the baseline's own"
    savings = f"tau {_tau(best.claim.record)} saves {_savings_and_rate(view, best.claim)}"
    return f"{savings}: {_verdict(best.claim)}" if best.holds else f"nothing can be claimed; {savings}"


def _at_parity(view: RunView, metric: str) -> str:
    from reports.tables.savings_at_parity import in_words

    curves = [curve for curve in view.once(parity_curves).curves if curve.metric == metric]
    if not curves:
        return ""
    falls = f"the estimated {view.label(f'{metric}{WIN_RATE}').text} falls below {50 - 100 * view.delta:g}%"
    if len(curves) == 1:
        parity = curves[0].parity
        return (
            f"Savings at parity, where {falls}: {in_words(parity)} of denoiser evaluations. These {parity.pairs:,} "
            f"pairs demonstrate {SHARE.number(parity.low.savings)}%; of a lossless method they would demonstrate "
            f"{SHARE.number(parity.lossless)}% on average, with {SHARE.number(parity.most)}% measured."
        )
    ranked = sorted(curves, key=lambda curve: (curve.parity.value.at_least, curve.parity.value.savings))
    ends = [f"{in_words(curve.parity)} for {_curve_name(view, curve.config)}" for curve in (ranked[0], ranked[-1])]
    return f"Savings at parity, the share of denoiser evaluations saved where {falls}: from {ends[0]} to {ends[1]}."


def _against(view: RunView, metric: str, best: Best | None, metric_claims: Sequence[Claim]) -> str:
    sentences = []
    if certain_losses := [claim for claim in metric_claims if claim.verdict == "worse"]:
        first = min(certain_losses, key=lambda claim: claim.record.config.tau)
        rest = f", in {len(certain_losses)} of {len(metric_claims)} cells" if _several(view) else ""
        sentences.append(
            f"A loss is certain from tau {_tau(first.record)} on{rest}."
            if _onwards(metric_claims)
            else _cells(certain_losses)
        )
    if best and not _own(view, best) and best.claim.noninferiority_p is not None:
        sentences.append(_needed(view, best.claim, metric_claims))
    rates = [record.results.get(f"{metric}{WIN_RATE}") for record in view.held_against("another-seed")]
    if len(rates) == 1 and rates[0]:
        sentences.append(
            f"The seed control (A/A), the baseline from another seed, has a win rate of {_percent(rates[0])}: "
            "a win rate inside that interval is no evidence of a difference."
        )
    return " ".join(sentences)


def _onwards(metric_claims: Sequence[Claim]) -> bool:
    """Return True where every cell at or above the smallest tau with a certain loss has one."""
    first = min(claim.record.config.tau for claim in metric_claims if claim.verdict == "worse")
    return all(claim.verdict == "worse" for claim in metric_claims if claim.record.config.tau >= first)


def _cells(certain_losses: Sequence[Claim]) -> str:
    taus = sorted({claim.record.config.tau for claim in certain_losses})
    return f"A loss is certain in {len(certain_losses)} of the cells, at tau {', '.join(f'{tau:f}' for tau in taus)}."


def _needed(view: RunView, nearest: Claim, metric_claims: Sequence[Claim]) -> str:
    at_run_delta = next(claim for claim in metric_claims if claim.record is nearest.record)
    if at_run_delta.pairs_needed is None:
        return f'No number of prompts shows "no worse within {_points(view.delta)}" if the true rate is 50%.'
    if not at_run_delta.underpowered:
        return f"{at_run_delta.pairs:,} prompts would have been enough if the true rate were 50%."
    return (
        f'To show "no worse within {_points(view.delta)}" if the true rate is 50%, {at_run_delta.pairs_needed:,} '
        f"prompts are needed ({POWER:.0%} power for one claim alone; this run has {at_run_delta.pairs:,})."
    )


def _savings_and_rate(view: RunView, claim: Claim) -> str:
    name = f"{claim.metric}{WIN_RATE}"
    return (
        f"{_saved(claim.record)}, at a {view.label(name).text} of {_percent(claim.record.results[name])} over "
        f"{claim.pairs:,} pairs"
    )


def _verdict(claim: Claim) -> str:
    within = _points(claim.delta)
    return f"no worse within {within}" if claim.verdict == "no worse" else f"worse, but by less than {within}"


def _own(view: RunView, best: Best) -> bool:
    return best.holds and best.claim.delta == view.delta


def _several(view: RunView) -> bool:
    return len(view.series) > 1


def _place(view: RunView, record: Record) -> str:
    return next(series.name for series in view.series if any(member is record for member in series.records))


def _curve_name(view: RunView, asked: CellConfig) -> str:
    run_curves = view.once(parity_curves)
    axes = ["model", "dataset", *run_curves.axes]
    return series_name(
        asked, [axis for axis in axes if len({getattr(curve.config, axis) for curve in run_curves.curves}) > 1]
    )


def _savings(record: Record) -> float:
    return record.flops.savings if record.flops else record.plan.savings if record.plan else 0.0


def _saved(record: Record) -> str:
    """Return the savings in words; they are counted, not estimated, so they have no interval."""
    steps = f"{SHARE.number(record.plan.savings)}% of denoiser evaluations" if record.plan else ""
    if not record.flops:
        return steps or "nothing that was recorded"
    return f"{SHARE.number(record.flops.savings)}% of FLOPs" + (f" ({steps})" if steps else "")


def _least(claim: Claim) -> float:
    """Return the lower end of the rate's interval."""
    rate = claim.record.results[f"{claim.metric}{WIN_RATE}"]
    return rate.value if rate.low is None else rate.low


def _percent(rate: Result) -> str:
    return f"{SHARE.number(rate.value)}% {SHARE.interval(rate)}".rstrip()


def _prompts(metric_claims: Sequence[Claim]) -> str:
    counts = sorted({claim.pairs for claim in metric_claims})
    return f"{counts[0]:,} prompts" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} prompts"


def _points(delta: float) -> str:
    return f"{100 * delta:g} points"


def _tau(record: Record) -> str:
    return f"{record.config.tau:f}"
