"""The output of `bench sweep` and `bench report` when they are done, and of a dry run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench.documents import cell, print_json
from common.addresses import shown
from common.units import si, size

if TYPE_CHECKING:
    from bench.costs import Bill
    from reports.render import Report
    from reports.sheet import Sheet
    from reusebench import Run
    from sweeps.cost import Cost
    from sweeps.jobs import Job
    from sweeps.plan import Plan
    from sweeps.record import Record

PIPED_WIDTH = 160


UNCHECKED = "some records are of a version that kept no hashes: they and their files cannot be checked"


def missing(run: Path, records: "Sequence[Record] | None" = None) -> list[str]:
    """Return sentences on what a run was to have and has not, or not as it was written."""
    from reports.base import RunView

    return list(RunView.of(run, records).missing)


def stdout() -> Console:
    """Return standard output, wide where it is no terminal."""
    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=PIPED_WIDTH)


def columns(
    words: Sequence[str] = (), numbers: Sequence[str] = (), title: str | None = None, *, fold: bool = False
) -> Table:
    """Return an empty table with these headings; numbers stand to the right, and long words are folded or cut."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in words:
        table.add_column(heading, overflow="fold" if fold else "ellipsis")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def print_tables(report: "Report", names: Sequence[str] = ()) -> None:
    """Print the tables of a run one below the other; those of these names, if any are given."""
    from reports.formats import to_rich

    console = stdout()
    for sheet in [report.every[name] for name in names if name in report.every] if names else report.sheets:
        console.print(to_rich(sheet, console.width))


def print_answer(report: "Report") -> None:
    """Print the question that a run answers, the answer, and what its words mean."""
    from reports.answer import answer
    from reports.words import words

    if report.view is None or not report.view.records:
        return
    answered, console = report.view.once(answer), stdout()
    console.print(f"\n{answered.question}")
    for line in [*answered.lines, *(f"{name}: {line}" for name, line in answered.series)]:
        console.print(line)
    for word, meaning in words(answered.texts).items():
        console.print(f"  {word}: {meaning}")


def print_places(run: Path, report: "Report", tracking: str | None = None) -> None:
    """Print where everything is."""
    stdout().print(f"\nresults  {run}/", soft_wrap=True)
    for what, where in places(run, report, tracking).items():
        if where:
            stdout().print(f"{what:8} {where}", soft_wrap=True)


def places(run: Path, report: "Report", tracking: str | None = None) -> dict[str, str | None]:
    """Return where everything of a report is, by what it is; None where there is none."""
    return {
        "page": str(report.page) if report.page else None,
        "tables": f"{report.tables[0].parent}/ ({_suffixes(report.tables)})" if report.tables else None,
        "figures": f"{report.figures[0].parent}/ ({_suffixes(report.figures)})" if report.figures else None,
        "Markdown": str(report.markdown) if report.markdown else None,
        "images": f"{run / 'cells'}/*/images/" if (run / "cells").is_dir() else None,
        "MLflow": _browser(tracking) if tracking else None,
    }


def _browser(tracking: str) -> str:
    """Return how to look at what MLflow has there: an address, or the command that opens it."""
    address = shown(tracking)
    return address if address.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(address)}"


@dataclass(frozen=True)
class DryRun:
    """What a sweep will do and cost.

    Attributes:
        plan: the sweep's.
        costs: of its jobs.
        bill: of all of it.
        united: node-steps one by one, and as they are where all are denoised as one; None where they are not.
        copies: scores that audits need.
    """

    plan: "Plan"
    costs: "Sequence[tuple[Job, Cost]]"
    bill: "Bill"
    united: tuple[int, int] | None
    copies: int

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        from sweeps.cost import picture_bytes

        cells = [
            {
                "id": job.id,
                "role": job.role,
                "config": job.config,
                "prompts": len(job.source.prompts),
                "steps": job.source.steps,
                **cost.plain(),
            }
            for job, cost in self.costs
        ]
        return {
            "run": self.plan.run,
            "cells": cells,
            "together": self.united and dict(zip(("one_by_one", "together"), self.united, strict=True)),
            "audit_scores": self.copies,
            "picture_bytes": picture_bytes(self.plan.picture_sets),
            "cost": self.bill.plain(),
        }


def print_costs(dry: DryRun, *, as_json: bool = False) -> None:
    """Print a dry run: a table of every job, what it will cost, and what sharing saves; then what all of it costs."""
    from sweeps.cost import picture_bytes

    if as_json:
        print_json(dry.plain())
        return
    table = columns(
        ("cell", "model", "dataset", "strategy", "schedule", "seed"),
        ("tau", "prompts", "node-steps", "steps saved", "NFE", "NFE saved", "FLOPs", "FLOPs saved"),
    )
    for job, cost in dry.costs:
        asked = job.config
        table.add_row(
            *(job.id[:8], asked.model, asked.dataset, asked.strategy, asked.schedule, str(asked.seed)),
            *(f"{asked.tau:f}", str(len(job.source.prompts)), f"{cost.node_steps:,}", f"{cost.savings:.1%}"),
            *("-" if cost.nfe is None else f"{cost.nfe:,}", _percent(cost.nfe_savings)),
            *(si(cost.flops), _percent(cost.flop_savings)),
        )
    console = stdout()
    console.print(table)
    if dry.united:
        console.print(united_line(*dry.united), soft_wrap=True)
    if dry.plan.spec.sample:
        console.print(sample_line(dry.plan), soft_wrap=True)
    if dry.copies:
        console.print(
            f"the audit needs {dry.copies:,} scores: of copies of baseline pictures under edits that nobody sees, and "
            "of these pictures with other prompts; --no-audit leaves it out",
            soft_wrap=True,
        )
    console.print(f"of all, {dry.bill.parts_line()}", soft_wrap=True)
    console.print(f"cost: {dry.bill.line()}", soft_wrap=True)
    console.print(
        f"{len(dry.costs)} cells in {dry.plan.run}/, at most {size(picture_bytes(dry.plan.picture_sets))} of pictures. "
        "NFE counts rows of the denoiser, two for a step with guidance. Prompts were encoded to predict this; no image "
        "was made and nothing written.",
        soft_wrap=True,
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def print_bill(bill: "Bill", job: "Job", *, as_json: bool = False) -> None:
    """Print what one set of pictures will cost, and what sharing saves of it."""
    assert job.plan
    saved = {"standard_node_steps": job.plan.baseline_node_steps, "savings": job.plan.savings}
    if as_json:
        print_json({"run": job.folder, "config": job.config, **saved, "cost": bill.plain()})
        return
    stdout().print(
        f"cost: {bill.line()}\n{job.plan.savings:.1%} of {job.plan.baseline_node_steps:,} node-steps are saved. "
        "Prompts were encoded to predict this; no image was made and nothing written.",
        soft_wrap=True,
    )


def swept(run: "Run", tracking: str | None, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what a sweep has made, for JSON: its cells, the answer, where everything is, and its seconds by stage."""
    assert run.report
    cells = {"cells": [cell(record) for record in run.records], "failed": [record.id for record in run.failed]}
    return {**reported(run.folder, run.report, tracking), **cells, "seconds": seconds}


def reported(run: Path, report: "Report", tracking: str | None = None) -> dict[str, Any]:
    """Return what a report says and where it is, for JSON: its tables by name, a row a mapping, and the answer."""
    from reports.answer import answer

    answered = report.view.once(answer) if report.view and report.view.records else None
    return {
        "run": run,
        "tables": {name: sheet_rows(sheet) for name, sheet in report.every.items()},
        "answer": [answered.question, *answered.lines] if answered else [],
        "places": places(run, report, tracking),
        "notes": report.notes,
    }


def sheet_rows(sheet: "Sheet") -> list[dict[str, Any]]:
    """Return a table's rows for JSON, every number in full precision; what a row has not is None."""
    data = sheet.data.astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in data.where(data.notna(), None).to_dict("records")
    ]


def united_line(one_by_one: int, together: int) -> str:
    """Say what it saves to denoise once what several plans have in common."""
    fewer = (one_by_one - together) / one_by_one
    return f"denoised together: {together:,} node-steps for all, {fewer:.1%} fewer than the {one_by_one:,} one by one"


def sample_line(plan: "Plan") -> str:
    """Say what a sample costs beside all pictures."""
    sets = {job.source.prompts.name: job.source for job in plan.jobs}
    drawn = [f"{name}: {of.sample.text}" for name, of in sets.items() if of.sample] or ["all prompts"]
    spent, whole = (sum(plan.spent(whole=whole).values()) for whole in (False, True))
    return f"pictures of {'; '.join(drawn)}: {spent:,} node-steps, {spent / whole:.1%} of the {whole:,} of all"


def seconds_line(seconds: Mapping[str, float]) -> str:
    """Say the time in all and its parts, the largest first."""
    parts = sorted(seconds.items(), key=lambda part: -part[1])
    shares = ", ".join(f"{name} {value:.1f}" for name, value in parts if value >= 0.05)
    return f"{sum(seconds.values()):.1f} s: {shares}"


def _suffixes(paths: Sequence[Path]) -> str:
    return ", ".join(sorted({path.suffix.lstrip(".") for path in paths}))
