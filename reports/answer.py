"""The question that a run answers, and the answer in at most four lines: the start of its page and Markdown report."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError
from metrics.power import POWER
from metrics.statistics import Estimate
from reports.audits import beyond_floors
from reports.base import RunView, series_name
from reports.claims import BROKEN, Baseline, Claim, adjusted, claims, inflation_warning, left_out
from reports.composition import in_words
from reports.frame import WIN_RATE, difference_result, paired_metrics, result_names, varying_axes
from reports.labels import Label
from reports.leaderboard import leaderboard
from reports.paired_scores import indifference, metric_scores
from reports.parity import parity_curves
from reports.pooling import pooled_record, savings, ways
from reports.seed_control import chance
from sweeps.record import CellConfig, Record, Result

DELTAS = (0.05, 0.1, 0.15, 0.2)  # tried in turn where no claim holds within the run's own
SMALL = 0.001  # of a score: what no picture shows
HOLDING = ("no worse", "worse by less than delta")
SHARE = Label("", "fraction")


@dataclass(frozen=True)
class Answer:
    """A question and its answer as plain text, nothing escaped.

    Attributes:
        question: the one that the run was made for.
        lines: at most four: what may be claimed, what that rests on, the savings at parity, the evidence against.
        series: for a run with several ways to share, (name, what may be claimed) of each, over all its seeds; else
            empty.
        claimed: whether any way to share is shown to be no worse within the run's own delta.
    """

    question: str
    lines: tuple[str, ...]
    series: tuple[tuple[str, str], ...] = ()
    claimed: bool = False

    @property
    def texts(self) -> list[str]:
        """Return all that is said."""
        return [self.question, *self.lines, *(line for _, line in self.series)]


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

    A sweep with variations says which of them stack with sharing (`reports.composition`). One over savings targets
    compares methods: its answer names the best (`reports.leaderboard`). Any other claims
    "no worse within delta" after Holm's correction over all of the view's claims (`reports.claims`). Where no claim
    holds within the view's delta, the answer names the smallest of `DELTAS` within which one does, or else how many
    prompts would be needed. Call it as `view.once(answer)`, which computes it once.

    Args:
        view: the view of a run, of one of its series, or of several runs.
    """
    if stacked := in_words(view):
        return Answer(*stacked)
    if board := leaderboard(view):
        return Answer(board.question, board.lines, board.places)
    question = _question(view)
    shared = [record for record in view.records if record.config.tau > 0]
    metrics = paired_metrics(result_names(shared))
    if not shared:
        return Answer(question, ("Nothing was shared yet: no cell with tau above 0 has finished.",))
    if not metrics:
        largest = max(ways(shared), key=savings)
        return Answer(
            question,
            (
                f"At tau {largest[0].config.tau:f} sharing saves {_saved(largest)}.",
                "Its cost in quality is not known yet: no metric with a win rate has scored the pictures "
                "(`bench score RUN --metric vqa` does).",
            ),
        )
    metric = metrics[0]
    metric_claims = [claim for claim in view.once(claims) if claim.metric == metric]
    if not metric_claims:
        return Answer(question, ("Nothing can be claimed: the scores cannot be read.", *left_out(view)[:1]))
    if all(claim.verdict == BROKEN for claim in metric_claims):
        return Answer(question, (_broken(view, metric_claims),))
    tolerated = _tolerated(view, metric_claims)
    best_claim = _best(tolerated, metric_claims)
    several = _several(view)
    series_lines = tuple((name, _series(view, own, tolerated)) for name, own in several.items())
    lines = (
        " ".join(filter(None, [_broken(view, metric_claims), _claimed(view, best_claim, metric_claims)])),
        _basis(view, best_claim),
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
    return [list(metric_claims), *(adjusted([claim.within(delta) for claim in metric_claims]) for delta in larger)]


def _best(tolerated: Sequence[Sequence[Claim]], metric_claims: Sequence[Claim]) -> Best | None:
    """Return the claim that saves most at the smallest delta where any holds; None where no pictures were compared."""
    for same_delta in tolerated:
        holding = [claim for claim in same_delta if claim.verdict in HOLDING and savings(claim.records) > 0]
        if holding:
            return Best(max(holding, key=lambda claim: savings(claim.records)), holds=True)
    compared_claims = [claim for claim in metric_claims if claim.noninferiority_p is not None]
    return Best(max(compared_claims, key=_least), holds=False) if compared_claims else None


def _broken(view: RunView, metric_claims: Sequence[Claim]) -> str:
    """Return that, and where, the baseline's own pictures do not show their prompts; mostly nothing."""
    broken = [claim for claim in metric_claims if claim.verdict == BROKEN]
    if not broken:
        return ""
    where = "" if len(broken) == len(metric_claims) else f" in {len(broken)} of {len(metric_claims)} cells"
    worst = min((claim.baseline for claim in broken if claim.baseline), key=lambda baseline: baseline.mean)
    score = _baseline_label(view, broken[0].records[0], broken[0].metric)
    sound = " If they are good, it is the scorer that cannot tell." if worst.audit else ""
    return (
        f"The baseline is broken{where}: by this scorer its own pictures do not show their prompts ({score}: "
        f"{worst.measured}). Nothing can be claimed of what is compared with it: look at the baseline's pictures, then "
        f"at the scheduler, the steps and the weights.{sound}"
    )


def _claimed(view: RunView, best: Best | None, metric_claims: Sequence[Claim]) -> str:
    several = _several(view)
    where = f" ({next(name for name, own in several.items() if _way(best.claim) in own)})" if best and several else ""
    if best is None:
        return "Nothing can be claimed: every picture that was compared is the baseline's own."
    claim, saved = best.claim, _savings_and_rate(view, best.claim)
    if best.holds and _own(view, best):
        tested = sum(claim.noninferiority_p is not None for claim in metric_claims)
        corrected = f", corrected for {tested} claims" if tested > 1 else ""
        return f"At tau {_tau(claim)}{where} sharing saves {saved}: {_verdict(claim)}{corrected}."
    not_shown = f"With {_design(metric_claims)} no tau is shown to be no worse within {_points(view.delta)}"
    if best.holds:
        return f"{not_shown}. Within {_points(claim.delta)}, tau {_tau(claim)}{where} is: it saves {saved}."
    most = _points(max(view.delta, DELTAS[-1]))
    return f"{not_shown}, or even within {most}. Tau {_tau(claim)}{where} comes nearest: it saves {saved}."


def _series(view: RunView, own: Sequence[CellConfig], tolerated: Sequence[Sequence[Claim]]) -> str:
    """Return the answer for ways that differ in tau alone, with p-values corrected over all claims of the view."""
    own_claims = [[claim for claim in same_delta if _way(claim) in own] for same_delta in tolerated]
    best = _best(own_claims, own_claims[0])
    if not own_claims[0]:
        return "no cell with tau above 0 has been scored by this metric"
    if best is None:
        broken = any(claim.verdict == BROKEN for claim in own_claims[0])
        return "the baseline is broken" if broken else "every picture that was compared is the baseline's own"
    saved = f"tau {_tau(best.claim)} saves {_savings_and_rate(view, best.claim)}"
    return f"{saved}: {_verdict(best.claim)}" if best.holds else f"nothing can be claimed; {saved}"


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
        first = min(certain_losses, key=lambda claim: claim.config.tau)
        rest = f", in {len(certain_losses)} of {len(metric_claims)} cells" if _several(view) else ""
        if all(_too_small(claim) for claim in certain_losses):
            where = f"At tau {_tau(first)}{' and others' if len(certain_losses) > 1 else ''}"
            fall = "more scores fall than rise, by more than chance, but by less than"
            sentences.append(f"{where} {fall} {SMALL:g} on average, which nobody sees.")
        else:
            sentences.append(
                f"A loss is certain from tau {_tau(first)} on{rest}."
                if _onwards(metric_claims)
                else _cells(certain_losses)
            )
    if best and (sentence := _beyond_floor(view, best.claim)):
        sentences.append(sentence)
    if best and not _own(view, best) and best.claim.noninferiority_p is not None:
        sentences.append(_needed(view, best.claim, metric_claims))
    name = f"{metric}{WIN_RATE}"
    controls = ways([record for record in view.held_against("another-seed") if name in record.results])
    if len(controls) == 1 and (control := _control(view, controls[0])) and (band := chance(control.results, name)):
        sentences.append(
            "The seed control (A/A), the baseline from another seed, has a win rate of "
            f"{SHARE.number(control.results[name].value)}%; by chance alone 95% of seeds lie between "
            f"{SHARE.number(band[0])}% and {SHARE.number(band[1])}%."
        )
    return " ".join(sentences)


def _too_small(claim: Claim) -> bool:
    """Return whether scores change by less on average than any picture shows, however certain the change is."""
    name = difference_result(claim.records[0], claim.metric)
    changes = [record.results[name].value for record in claim.records if name in record.results] if name else []
    return bool(changes) and abs(sum(changes) / len(changes)) < SMALL


def _beyond_floor(view: RunView, claim: Claim) -> str:
    """Return that a claim's pictures are worse more often than edits that nobody sees make them; mostly nothing.

    A scorer that sees a fault in few pictures calls most pairs ties, so that "no worse within 10 points" can hold.
    """
    if claim.verdict == "worse":
        return ""  # said already
    found = (one for one in view.once(beyond_floors)[0] if tuple(one.records) == claim.records)
    one = next((one for one in found if one.metric == claim.metric and one.effect == "worse"), None)
    if one is None:
        return ""
    return (
        f"But at tau {_tau(claim)} {one.count(-1):,} of {one.outcomes.size:,} pictures are worse beyond the scorer's "
        f"floor and {one.count(1):,} better, more than edits that nobody sees make so: look at them."
    )


def _control(view: RunView, records: Sequence[Record]) -> Record | None:
    """Return the seed controls of all seeds as one record; None where their scores cannot be read."""
    try:
        return pooled_record(view.path, records, metric_scores)
    except UserError:
        return None


def _onwards(metric_claims: Sequence[Claim]) -> bool:
    """Return True where every cell at or above the smallest tau with a certain loss has one."""
    first = min(claim.config.tau for claim in metric_claims if claim.verdict == "worse")
    return all(claim.verdict == "worse" for claim in metric_claims if claim.config.tau >= first)


def _cells(certain_losses: Sequence[Claim]) -> str:
    taus = sorted({claim.config.tau for claim in certain_losses})
    return f"A loss is certain in {len(certain_losses)} of the cells, at tau {', '.join(f'{tau:f}' for tau in taus)}."


def _needed(view: RunView, nearest: Claim, metric_claims: Sequence[Claim]) -> str:
    claim = next(claim for claim in metric_claims if claim.records == nearest.records)
    prompts, seeds = claim.prompts_needed, claim.seeds_needed
    if prompts is None:
        return f'No number of prompts shows "no worse within {_points(view.delta)}" if the true rate is 50%.'
    if not claim.underpowered:
        return f"{_design([claim])} would have been enough if the true rate were 50%."
    if claim.seeds == 1:
        enough = f"{prompts:,} prompts are"
    else:
        more = f"{seeds:,} seeds of these prompts" if seeds else "with these prompts no number of seeds is enough"
        enough = (
            f"{prompts:,} prompts with {claim.seeds} seeds{' or ' if seeds else ' ('}{more}{'' if seeds else ')'} are"
        )
    return (
        f'To show "no worse within {_points(view.delta)}" if the true rate is 50%, {enough} needed '
        f"({POWER:.0%} power for one claim alone; this run has {_size(claim)})."
    )


def _savings_and_rate(view: RunView, claim: Claim) -> str:
    zone = any(indifference(record, claim.metric) for record in claim.records)
    ties = " (differences below the scorer's floor tie)" if zone else ""
    return (
        f"{_saved(claim.records)}, at a {view.label(f'{claim.metric}{WIN_RATE}').text} of {_percent(claim.rate)} over "
        f"{claim.pairs:,} pairs{ties}"
    )


def _basis(view: RunView, best: Best | None) -> str:
    """Return what a claim rests on: prompts, seeds, draws of noise, and whether the baseline is any good."""
    if best is None:
        return ""
    claim = best.claim
    parts = [f"{claim.prompts:,} prompts", *([f"{claim.seeds} seeds"] if claim.seeds > 1 else [])]
    if claim.roots is not None:
        draws = f"{claim.roots:,} draw{'s' if claim.roots > 1 else ''} of noise"
        parts.append(f"{draws} a seed" if claim.seeds > 1 else draws)
    baseline = ""
    if claim.baseline:
        score = _baseline_label(view, claim.records[0], claim.metric)
        baseline = f"; the baseline's mean {score} is {_mean(claim.baseline)}"
    warned = f" {inflation_warning([claim])}" if claim.one_noise else ""
    return f"It rests on {', '.join(parts)}{baseline}.{warned}"


def _baseline_label(view: RunView, record: Record, metric: str) -> str:
    name = next(name for name in record.results if name.startswith(f"{metric}.") and name.endswith("_mean"))
    return view.label(name).text


def _mean(baseline: Baseline) -> str:
    return f"{baseline.mean:.2f}"


def _verdict(claim: Claim) -> str:
    within = _points(claim.delta)
    return f"no worse within {within}" if claim.verdict == "no worse" else f"worse, but by less than {within}"


def _own(view: RunView, best: Best) -> bool:
    return best.holds and best.claim.delta == view.delta


def _several(view: RunView) -> dict[str, list[CellConfig]]:
    """Return the series of a view, by name, each with its ways to share; none where taus and seeds alone differ."""
    axes = [axis for axis in varying_axes(view.records) if axis != "seed"]
    named: dict[str, list[CellConfig]] = {}
    for records in ways(view.records):
        named.setdefault(series_name(records[0].config, axes), []).append(_unseeded(records[0].config))
    return named if len(named) > 1 else {}


def _way(claim: Claim) -> CellConfig:
    return _unseeded(claim.config)


def _unseeded(config: CellConfig) -> CellConfig:
    return config.model_copy(update={"seed": 0})


def _curve_name(view: RunView, asked: CellConfig) -> str:
    run_curves = view.once(parity_curves)
    axes = ["model", "dataset", *run_curves.axes]
    return series_name(
        asked, [axis for axis in axes if len({getattr(curve.config, axis) for curve in run_curves.curves}) > 1]
    )


def _saved(records: Sequence[Record]) -> str:
    """Return the mean savings in words; they are counted, not estimated, so they have no interval."""
    plans = [record.plan.savings for record in records if record.plan]
    steps = f"{SHARE.number(sum(plans) / len(plans))}% of denoiser evaluations" if plans else ""
    if not all(record.flops for record in records):
        return steps or "nothing that was recorded"
    return f"{SHARE.number(savings(records))}% of FLOPs" + (f" ({steps})" if steps else "")


def _least(claim: Claim) -> float:
    """Return the lower end of the rate's interval."""
    return claim.rate.value if claim.rate.low is None else claim.rate.low


def _percent(rate: Result | Estimate) -> str:
    return f"{SHARE.number(rate.value)}% {SHARE.interval(rate)}".rstrip()


def _design(metric_claims: Sequence[Claim]) -> str:
    """Return the number of prompts, and of seeds where there are several."""
    prompts, seeds = (sorted({getattr(claim, name) for claim in metric_claims}) for name in ("prompts", "seeds"))
    of_prompts = f"{prompts[0]:,} prompts" if len(prompts) == 1 else f"{prompts[0]:,} to {prompts[-1]:,} prompts"
    if seeds == [1]:
        return of_prompts
    return f"{of_prompts} and {seeds[0] if len(seeds) == 1 else f'{seeds[0]} to {seeds[-1]}'} seeds"


def _size(claim: Claim) -> str:
    return f"{claim.prompts:,}" if claim.seeds == 1 else f"{claim.prompts:,} prompts and {claim.seeds} seeds"


def _points(delta: float) -> str:
    return f"{100 * delta:g} points"


def _tau(claim: Claim) -> str:
    return f"{claim.config.tau:f}"
