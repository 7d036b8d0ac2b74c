"""The audit of every scorer in short: what it may be trusted with, in words."""

from collections.abc import Sequence
from typing import Any, ClassVar

from metrics.edits import INVISIBLE
from metrics.scorer_audit import ScorerAudit
from metrics.statistics import Estimate
from reports.audits import audits
from reports.base import RunView, Table
from reports.frame import with_interval
from reports.labels import MISSING, Label, title
from reports.sheet import Column, Entry, Sheet

SHARE, SCORE = Label("", "fraction"), Label("", "score")
NOTES = (
    "floor: 95th percentile of the score difference between a picture and a copy of it under an edit that nobody sees, "
    f"the largest of {', '.join(edit.name for edit in INVISIBLE.values())}",
    "invisible edits: the lowest and the highest win rate of such copies; 50% is a scorer that does not see them",
    "damage is told from the dose on whose copies are worse beyond the floor; table `audit_edits` has every edit",
)
CAPTIONS = (
    "wrong captions, AUC: the chance that a picture with its own prompt outscores one with a near prompt of the set; "
    "1 is perfect, 0.5 is chance; near prompts share most words (TF-IDF)"
)
SATURATED = "saturated: share of scores within 0.01 of 0 or 1, where differences are rounding"
AGREE = (
    "agreement: Spearman's correlation with another scorer over pictures and damaged copies; same winner: of pairs of "
    "a picture and its damaged copy that are outside both zones of indifference"
)


class Audit(Table):
    """What each scorer of a run may be trusted with: its floor, the damage that it tells, a verdict in words."""

    name = "audit"
    rank: ClassVar[int] = 5

    def sheet(self, run: RunView) -> Sheet | None:
        return audit_sheet(run.once(audits))


def audit_sheet(all_audits: Sequence[ScorerAudit]) -> Sheet | None:
    """Return the audits of scorers, a row each; None where there is none."""
    import pandas as pd

    if not all_audits:
        return None
    keys = [key for key in ("model", "dataset") if len({getattr(audit, key) for audit in all_audits}) > 1]
    full = any(audit.damage for audit in all_audits)
    beside = any(audit.beside for audit in all_audits)
    columns = [
        *(Column(key, numeric=False, key=True) for key in keys),
        Column("scorer", numeric=False, key=True),
        *map(Column, ("pictures", "mean", "floor", "invisible edits, %", "saturated, %")),
        *([Column("wrong captions, AUC")] if full else []),
        *([Column("agreement"), Column("same winner, %")] if beside else []),
    ]
    rows = [
        [
            *(Entry(getattr(audit, key)) for key in keys),
            Entry(title(audit.scorer)),
            Entry(f"{audit.pictures:,}"),
            Entry(SCORE.number(audit.mean)),
            Entry(SCORE.number(audit.floor)),
            Entry(_range(audit)),
            Entry(SHARE.number(audit.saturation)),
            *([_estimate(SCORE, audit.captions)] if full else []),
            *(_beside(audit) if beside else []),
        ]
        for audit in all_audits
    ]
    shared = [f"{key} {getattr(all_audits[0], key)}" for key in ("model", "dataset") if key not in keys]
    caption = ", ".join(["audit of the scorers on baseline pictures", *filter(None, shared)])
    saturated = any(audit.saturation is not None for audit in all_audits)
    notes = [
        *(f"{_whose(audit, keys)}: {sentence}" for audit in all_audits for sentence in audit.verdict),
        *(NOTES if full else NOTES[:2]),
        *([CAPTIONS] if any(audit.captions for audit in all_audits) else []),
        *([SATURATED] if saturated else []),
        *([AGREE] if beside else []),
    ]
    return Sheet(columns, rows, pd.DataFrame(map(_row, all_audits)), caption, notes)


def _whose(audit: ScorerAudit, keys: Sequence[str]) -> str:
    return ", ".join([title(audit.scorer), *(getattr(audit, key) for key in keys)])


def _range(audit: ScorerAudit) -> str:
    rates = [effect.win_rate.value for effect in audit.invisible]
    return f"{SHARE.number(min(rates))} to {SHARE.number(max(rates))}"


def _estimate(label: Label, estimate: Estimate | None) -> Entry:
    return Entry(label.number(estimate.value), label.interval(estimate)) if estimate else Entry(MISSING)


def _beside(audit: ScorerAudit) -> list[Entry]:
    if not audit.beside:
        return [Entry(MISSING), Entry(MISSING)]
    named = [(title(pair.scorer), pair) for pair in audit.beside]
    return [
        Entry("; ".join(f"{SCORE.number(pair.ranks.value)} with {name}" for name, pair in named)),
        Entry(
            "; ".join(
                f"{SHARE.number(pair.winners.value)} {SHARE.interval(pair.winners)}" if pair.winners else MISSING
                for _, pair in named
            )
        ),
    ]


def _row(audit: ScorerAudit) -> dict[str, Any]:
    return {
        "model": audit.model,
        "dataset": audit.dataset,
        "scorer": audit.scorer,
        "pictures": audit.pictures,
        "mean": audit.mean,
        "floor": audit.floor,
        "saturation": audit.saturation,
        **with_interval("caption_auc", audit.captions),
        **with_interval("unlike_auc", audit.unlike),
        "unlike_mean": audit.unlike_mean,
        "trusted": audit.trusted if audit.damage or not audit.trusted else None,
        "seen": "; ".join(audit.seen),
        "missed": "; ".join(audit.missed),
        "verdict": "; ".join(audit.verdict),
    }
