"""`bench show`: what a run folder holds, on one screen; and where its time went."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.sheet import Sheet
    from sweeps.record import Record
    from sweeps.timeline import Log

FIGURE = "timeline"
OLD = "no time line was kept of this run: these are its records' seconds, without loading, reports and lost attempts"


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    time: Annotated[
        bool, typer.Option("--time", help="Also show where its time went, as tables and a figure.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Say what a run folder holds: its settings, which cells are done, the answer, where the page is.

    It reads the run's records and time line; it runs nothing and needs no model.
    """
    from bench.results import UNCHECKED, missing, seconds_line, stdout
    from reports.durations import durations, recorded
    from reports.formats import to_rich
    from sweeps.record import read_run
    from sweeps.store import saved_spec
    from sweeps.timeline import read_timeline

    spec = saved_spec(run).model_dump(mode="json", exclude_defaults=True)
    found, log = read_run(run), read_timeline(run)
    records = found.records
    for what in missing(run, records):
        note(what)
    if records and not log.spans:
        note(OLD)
    if not found.checked:
        note(UNCHECKED)
    cells, answer_lines = _cells(records, log), _answer(run, records)
    page = file if (file := run / "report" / "index.html").is_file() else None
    stages = durations(log.spans) if log.spans else recorded(records)
    figure = _figure(run, records, log) if time else None
    if as_json:
        about = {"run": str(run), "spec": spec, "cells": cells, "answer": answer_lines, "page": page and str(page)}
        print_json({**about, **(_times(log, records, figure) if time else {})})
        return
    lines = {
        "run": str(run),
        "asked": "; ".join(f"{name} {_text(value)}" for name, value in spec.items()) or "the defaults",
        "cells": ", ".join(f"{'? ' if count is None else f'{count} '}{what}" for what, count in cells.items()),
        "page": str(page or f"none: bench report {run}"),
        "time": seconds_line({stage.stage: stage.seconds for stage in stages}) if stages else "not known",
    }
    console = stdout()
    for what, line in lines.items():
        console.print(f"{what:8} {line}", soft_wrap=True)
    for line in answer_lines:
        console.print(line, soft_wrap=True)
    if not time:
        return
    for sheet in _sheets(log, records):
        console.print(to_rich(sheet, console.width))
    if figure:
        console.print(f"figure   {figure}", soft_wrap=True)


def _cells(records: "Sequence[Record]", log: "Log") -> dict[str, int | None]:
    """Count the cells that are done, failed, and neither; the last is None for a run without a time line."""
    status = {record.id: record.status for record in records}
    pending = sum(cell not in status for cell in log.attempts[-1].cells) if log.attempts else None
    counts = Counter(status.values())
    return {"done": counts["done"], "failed": counts["failed"], "pending": pending}


def _answer(run: Path, records: "Sequence[Record]") -> list[str]:
    """Return the run's question and the lines that answer it; nothing before there is a cell."""
    from reports.answer import answer
    from reports.base import RunView

    view = RunView.of(run, records)
    if not view.records:
        return []
    answered = view.once(answer)
    return [answered.question, *answered.lines]


def _sheets(log: "Log", records: "Sequence[Record]") -> "list[Sheet]":
    from reports.durations import recorded
    from reports.tables.pace import pace
    from reports.tables.timeline import ALL, stages, timeline

    if not log.spans:
        return [stages({ALL: recorded(records)}, [OLD])] if records else []
    return [sheet for sheet in (timeline(log), pace(log.spans)) if sheet]


def _figure(run: Path, records: "Sequence[Record]", log: "Log") -> Path | None:
    """Draw the time line anew, with what came after the report, and return its file; None where there is none."""
    from reports.base import RunView, figures
    from reports.render import REPORT, add_to_report
    from reports.style import entitle, save, theme

    if not log.spans:
        return None
    view = RunView.of(run, records)
    with theme():
        if (drawing := figures()[FIGURE]().draw(view)) is None:
            return None
        entitle(drawing, view.title)
        written = save(drawing, run / REPORT / "figures" / FIGURE)
    add_to_report(run, written)
    return written[0]


def _times(log: "Log", records: "Sequence[Record]", figure: Path | None) -> dict[str, Any]:
    from reports.durations import attempts, durations, paces, recorded

    began = {attempt.attempt: attempt.utc for attempt in log.attempts}
    stages = durations(log.spans) if log.spans else recorded(records)
    return {
        "timeline": bool(log.spans),
        "stages": [asdict(stage) for stage in stages],
        "attempts": [
            {"attempt": number, "utc": began.get(number), "stages": [asdict(stage) for stage in durations(spans)]}
            for number, spans in attempts(log).items()
        ],
        "pace": [asdict(pace) for pace in paces(log.spans)],
        "figure": str(figure) if figure else None,
    }


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
