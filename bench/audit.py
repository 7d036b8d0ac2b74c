"""`bench audit`: what a scorer can be trusted to tell on the user's own pictures; makes no picture that is kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import note
from common.errors import UserError

if TYPE_CHECKING:
    from metrics.scorer_audit import ScorerAudit


@o.spec_options(only=("metric", "device"), changed={"metric": {"default": "in a run, those of its model"}})
def audit(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run folder, or any folder of images.")],
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The prompts of a folder of images, as `bench score` reads them."),
    ] = None,
    column: o.Column = None,
    limit: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="Edit at most N images of a prompt set, evenly from first to last."),
    ] = 120,
    fewer_steps: Annotated[
        bool,
        typer.Option(
            "--fewer-steps",
            help="In a run whose model is here: make its images again with a half and a quarter of the steps, too.",
        ),
    ] = False,
    out: Annotated[Path | None, o.folder("Where the audit of a folder of images goes.", "audits/ and its name")] = None,
    as_json: o.Json = False,
    **settings: Any,
) -> None:
    """Say what a scorer can be trusted to tell: score images and edited copies of them.

    Copies under edits that nobody sees give the floor, below which a difference means nothing. Damage in doses (blur,
    a swirl, another image mixed in, fewer steps) and wrong captions, near and unlike, give what the scorer sees. A
    run's baseline images are audited, and its records get the floor as their zone of indifference; any other folder
    needs --prompts.
    """
    import reusebench
    from bench.screen import screen
    from sweeps.axes import items
    from sweeps.record import SPEC

    if prompts is None and not (folder / SPEC).is_file():
        raise UserError(f"{folder} is no run folder", "if it holds pictures, say what they show: --prompts FILE")
    if prompts is None and column is not None:
        raise UserError("--column is of a file of prompts, and none is given", "add --prompts FILE")
    if prompts is None and out:
        raise UserError("--out is for a folder of pictures", "a run's audit goes into its own folder")
    with screen() as seen:
        audits = reusebench.audit(
            folder,
            prompts=prompts,
            column=column,
            metric=list(dict.fromkeys(items(settings["metric"] or []))),
            limit=limit,
            fewer_steps=fewer_steps,
            out=out,
            device=settings["device"],
            emit=seen,
        )
        with seen.stage("report"):
            places = _reported(folder) if prompts is None else _places(folder, out)
    if as_json:
        print_json({"audits": [_plain(one) for one in audits]})
        return
    _print(audits, places)


def _reported(run: Path) -> dict[str, str]:
    """Write a run's views anew and return where they are."""
    import reusebench
    from sweeps.audit_file import AUDIT

    report = reusebench.report(run)
    for line in report.notes:
        note(line)
    return {"results": str(run / AUDIT), "page": str(report.page), "Markdown": str(report.markdown)}


def _places(folder: Path, out: Path | None) -> dict[str, str]:
    from reusebench.auditing import audits_place
    from sweeps.audit_file import AUDIT

    place = audits_place(folder, out)
    return {"results": str(place / AUDIT), "Markdown": str(place / "audit.md")}


def _print(audits: "Sequence[ScorerAudit]", places: dict[str, str]) -> None:
    from bench.results import stdout
    from reports.formats import to_rich
    from reports.tables.audit import audit_sheet
    from reports.tables.audit_edits import edits_sheet

    console = stdout()
    for sheet in (edits_sheet(audits), audit_sheet(audits)):
        if sheet:
            console.print(to_rich(sheet, console.width))
    console.print()
    for what, where in places.items():
        console.print(f"{what:8} {where}", soft_wrap=True)


def _plain(audit: "ScorerAudit") -> dict[str, Any]:
    from pydantic import TypeAdapter

    from metrics.scorer_audit import ScorerAudit

    values: dict[str, Any] = TypeAdapter(ScorerAudit).dump_python(audit, mode="json")
    return {**values, "verdict": audit.verdict}
