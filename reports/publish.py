"""The views of a run folder, made anew from its records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.files import atomic_path, full_disk_told, watched
from metrics.parity import DELTA

if TYPE_CHECKING:
    from reports.render import Report
    from sweeps.record import Record


def publish(
    run: Path,
    records: "Sequence[Record]",
    delta: float = DELTA,
    indifference: float | None = None,
    labels: "Mapping[str, str] | None" = None,
    columns: "Sequence[str]" = (),
) -> "Report":
    """Write ``records.parquet``, one row a cell, and the report: page, tables, figures.

    Args:
        run: the run folder.
        records: its records.
        delta: parity's margin.
        indifference: half the width of every scorer's zone, in place of what the records say.
        labels: what models are called, by their names.
        columns: the headings of tables that are shown; all unless given.

    Raises:
        UserError: as `RunView.of` and `RunView.shown`; the disk is full, or the folder was moved or removed.
    """
    from reports.base import RunView
    from reports.frame import frame
    from reports.render import write_view

    with watched(run), full_disk_told(run, f"free some space, then run: bench report {run}"):
        with atomic_path(run / "records.parquet") as beside:
            frame(records).to_parquet(beside, index=False)
        return write_view(RunView.of(run, records, delta, indifference).shown(labels or {}, columns))
