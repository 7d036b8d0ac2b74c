"""Each seed by itself: a detail of the summary, in which seeds are pooled."""

from typing import ClassVar

from reports.base import RunView, Table
from reports.pooling import ways
from reports.sheet import Sheet
from reports.tables.summary import summary


class Seeds(Table):
    """The cells of a run with several seeds, a row each: no seed by itself carries a claim."""

    name = "seeds"
    rank: ClassVar[int] = 3
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        groups = ways([*run.records, *run.references])
        if all(len(group) == 1 for group in groups):
            return None
        return summary(run, [(record,) for group in groups for record in group])
