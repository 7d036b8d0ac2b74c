"""What may not be compared between several runs, and what must be known of what may."""

from typing import ClassVar

from reports.base import RunView, Table
from reports.comparable import Comparison
from reports.labels import MISSING
from reports.sheet import Column, Entry, Sheet

CHECKED = (
    "checked: scorers and their versions, prompts, weights, settings and versions of the algorithm, strategies, "
    "combiners and schedules, standard pictures, K, seeds, taus, machines, library versions"
)


class Comparability(Table):
    """Of several runs, what differs beside their axes: what is refused, and what is flagged."""

    name = "comparability"
    rank: ClassVar[int] = 1

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        if not isinstance(run, Comparison):
            return None
        columns = [
            Column("what differs", numeric=False, key=True),
            *(Column(name, numeric=False) for name in run.runs),
            Column("verdict", numeric=False),
        ]
        rows = [
            [Entry(each.what), *(Entry(each.by_run.get(name, MISSING)) for name in run.runs), Entry(each.verdict)]
            for each in run.differences
        ]
        data = pd.DataFrame(
            [
                {"what": each.what, "verdict": each.verdict, "run": name, "value": value, "follows": each.follows}
                for each in run.differences
                for name, value in each.by_run.items()
            ],
            columns=pd.Index(["what", "verdict", "run", "value", "follows"]),
        )
        caption = f"{len(run.runs)} runs: {', '.join(run.runs)}" + ("" if rows else "; nothing that is checked differs")
        notes = [*(f"{each.what}, {each.verdict}: {each.follows}" for each in run.differences), CHECKED]
        return Sheet(columns, rows, data, caption, notes)
