"""The mismatches between several runs: what may not be compared, and what must be known to compare the rest."""

from typing import ClassVar

from reports.base import RunView, Table
from reports.labels import MISSING
from reports.run_comparison import RunComparison
from reports.sheet import Column, Entry, Sheet

CHECKED = (
    "checked: scorers and their versions, prompts, weights, settings and versions of the algorithm, strategies, "
    "combiners and schedules, baseline pictures, K, seeds, taus, machines, library versions"
)


class Comparability(Table):
    """Differences between several runs besides their axes: what is refused, and what is flagged."""

    name = "comparability"
    rank: ClassVar[int] = 1

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        if not isinstance(run, RunComparison):
            return None
        columns = [
            Column("what differs", numeric=False, key=True),
            *(Column(name, numeric=False) for name in run.runs),
            Column("verdict", numeric=False),
        ]
        rows = [
            [
                Entry(mismatch.what),
                *(Entry(mismatch.by_run.get(name, MISSING)) for name in run.runs),
                Entry(mismatch.verdict),
            ]
            for mismatch in run.mismatches
        ]
        data = pd.DataFrame(
            [
                {
                    "what": mismatch.what,
                    "verdict": mismatch.verdict,
                    "run": name,
                    "value": value,
                    "follows": mismatch.follows,
                }
                for mismatch in run.mismatches
                for name, value in mismatch.by_run.items()
            ],
            columns=pd.Index(["what", "verdict", "run", "value", "follows"]),
        )
        caption = f"{len(run.runs)} runs: {', '.join(run.runs)}" + ("" if rows else "; nothing that is checked differs")
        notes = [*(f"{mismatch.what}, {mismatch.verdict}: {mismatch.follows}" for mismatch in run.mismatches), CHECKED]
        return Sheet(columns, rows, data, caption, notes)
