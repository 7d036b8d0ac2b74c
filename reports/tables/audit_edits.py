"""Every edit of the audits: how often a scorer prefers the edited copy, and by how much."""

from collections.abc import Sequence
from typing import Any, ClassVar

from metrics.scorer_audit import EditEffect, ScorerAudit
from reports.audits import audits
from reports.base import RunView, Table
from reports.frame import with_interval
from reports.labels import MISSING, Label, title
from reports.sheet import Column, Entry, Sheet

RATE, SCORE, LOGITS = Label("", "fraction"), Label("", "score"), Label("", "score", signed=True)
NOTES = (
    "win rate: how often the edited copy scores higher than the picture, a tie counts half; 95% interval: Tango score",
    "95% of gaps below: 95th percentile of the absolute score difference",
    "beyond the floor: copies that score higher and lower by more than the scorer's floor",
    "told as: within the floor where no more copies are beyond it than 5% (exact binomial), else worse, better or "
    "either way; at 5% over all invisible edits, and over all damage, of a scorer (Holm)",
    "logits: mean difference of log-odds, of probabilities clipped to 0.001 to 0.999",
)


class AuditEdits(Table):
    """Every edit of a scorer's audit: such as nobody sees, and damage in doses."""

    name = "audit_edits"
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        return edits_sheet(run.once(audits))


def edits_sheet(all_audits: Sequence[ScorerAudit]) -> Sheet | None:
    """Return the edits of all audits, a row each; None where there is none."""
    import pandas as pd

    lines = [(audit, effect) for audit in all_audits for effect in (*audit.invisible, *audit.damage)]
    if not lines:
        return None
    keys = [key for key in ("model", "dataset", "scorer") if len({getattr(audit, key) for audit in all_audits}) > 1]
    odds = any(effect.logits is not None for _, effect in lines)
    columns = [
        *(Column(key, numeric=False, key=True) for key in keys),
        Column("edit", numeric=False, key=True),
        Column("kind", numeric=False),
        *map(Column, ("win rate, %", "95% of gaps below")),
        *([Column("logits")] if odds else []),
        Column("higher/lower beyond the floor"),
        Column("told as", numeric=False),
    ]
    rows = [
        [
            *(Entry(title(audit.scorer) if key == "scorer" else getattr(audit, key)) for key in keys),
            Entry(effect.name),
            Entry("damage" if effect.kind else "invisible"),
            Entry(RATE.number(effect.win_rate.value), RATE.interval(effect.win_rate)),
            Entry(SCORE.number(effect.gap)),
            *([Entry(MISSING if effect.logits is None else LOGITS.number(effect.logits))] if odds else []),
            Entry(f"{effect.wins}/{effect.losses}"),
            Entry(effect.effect),
        ]
        for audit, effect in lines
    ]
    shared = [f"{key} {getattr(all_audits[0], key)}" for key in ("model", "dataset", "scorer") if key not in keys]
    caption = ", ".join(["edited copies of baseline pictures against the pictures", *filter(None, shared)])
    groups = [(audit.model, audit.dataset, audit.scorer, bool(effect.kind)) for audit, effect in lines]
    return Sheet(columns, rows, pd.DataFrame([_row(*line) for line in lines]), caption, NOTES, groups)


def _row(audit: ScorerAudit, effect: EditEffect) -> dict[str, Any]:
    return {
        "model": audit.model,
        "dataset": audit.dataset,
        "scorer": audit.scorer,
        "edit": effect.name,
        "kind": effect.kind,
        "dose": effect.dose,
        "pairs": effect.win_rate.n,
        **with_interval("win_rate", effect.win_rate),
        "p_holm": effect.p,
        "gap": effect.gap,
        "logits": effect.logits,
        "wins_beyond": effect.wins,
        "losses_beyond": effect.losses,
        "effect": effect.effect,
    }
