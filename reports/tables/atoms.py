"""What prompts name, kind by kind: the mean probability of the right answer, beside the baseline's."""

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from metrics.base import OF_ATOMS
from metrics.statistics import Estimate, Floats, bootstrap_mean, paired_difference
from reports.base import RunView, Table
from reports.frame import place, varying_axes, with_interval
from reports.labels import Label, axis_text, title
from reports.sheet import Column, Entry, Sheet
from sweeps.record import Record
from sweeps.scores import read_table

SCORE, SIGNED = Label("", "score"), Label("", "score", signed=True)
NOTES = (
    "mean probability of the right answer to the questions about one kind of thing (of several in a prompt, their "
    "geometric mean), over the prompts that name one",
    "95% intervals: BCa bootstrap over prompts; not corrected for the number of rows",
)


class Atoms(Table):
    """Mean probability of the right answer by kind of atom (object, style, ...), beside the baseline's, by cell."""

    name = "atoms"
    rank: ClassVar[int] = 3

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        records, read = [*run.records, *run.references], cache(atom_scores)
        rows = [row for record in records for row in _of_record(run, record, read)]
        if not rows:
            return None
        axes = varying_axes(records)
        columns = [
            *(Column(axis, not isinstance(getattr(records[0].config, axis), str), key=True) for axis in axes),
            Column("tau", key=True),
            Column("kind", numeric=False, key=True),
            *map(Column, ("prompts", "mean", "baseline's", "difference")),
        ]
        entries = [
            [
                *(Entry(axis_text(getattr(record.config, axis))) for axis in axes),
                Entry(f"{record.config.tau:f}"),
                Entry(_kind(name)),
                Entry(str(difference.n)),
                *(Entry(SCORE.number(mean.value), SCORE.interval(mean)) for mean in (ours, baseline)),
                Entry(SIGNED.number(difference.value), SIGNED.interval(difference)),
            ]
            for record, name, ours, baseline, difference in rows
        ]
        data = pd.DataFrame([_row(*row) for row in rows])
        scorers = dict.fromkeys(name.partition(".")[0] for _, name, *_ in rows)
        caption = f"kinds of atoms by {', '.join(map(title, scorers))}"
        return Sheet(columns, entries, data, caption, NOTES, [record.id for record, *_ in rows])


def atom_scores(path: Path) -> dict[str, Floats]:
    """Return the columns of a score file that score parts of prompts [N], by ``<metric>.<column>``.

    Raises:
        UserError: the file is missing or damaged.
    """
    table = read_table(path, lambda column: column.name.endswith(OF_ATOMS))
    return {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}


def _of_record(run: RunView, record: Record, read: Any) -> list[tuple[Record, str, Estimate, Estimate, Estimate]]:
    """Return of every kind both means and their difference; nothing where no prompt has one."""
    if not any(about.get("metric", name) == "vqa_atoms" for name, about in record.scorers.items()):
        return []
    shared, baseline = read(record.scores(run.path)), read(record.baseline_scores(run.path))
    rows = []
    for name in shared.keys() & baseline.keys():
        named = ~(np.isnan(shared[name]) | np.isnan(baseline[name]))
        if named.any():
            ours, theirs = shared[name][named], baseline[name][named]
            rows.append((record, name, bootstrap_mean(ours), bootstrap_mean(theirs), paired_difference(ours, theirs)))
    return sorted(rows, key=lambda row: list(shared).index(row[1]))


def _kind(name: str) -> str:
    scorer, _, column = name.partition(".")
    tag = scorer.partition("@")[2]
    return column.removesuffix(OF_ATOMS).replace("_", " ") + (f" ({tag})" if tag else "")


def _row(record: Record, name: str, ours: Estimate, baseline: Estimate, difference: Estimate) -> dict[str, Any]:
    return {
        "id": record.id,
        "role": record.role,
        **place(record.config),
        "tau": float(record.config.tau),
        "scorer": name.partition(".")[0],
        "kind": _kind(name),
        "prompts": difference.n,
        **with_interval("mean", ours),
        **with_interval("mean_standard", baseline),
        **with_interval("difference", difference),
    }
