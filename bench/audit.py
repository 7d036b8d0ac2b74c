"""`bench audit`: what a scorer can be trusted to tell on the user's own pictures; makes no picture that is kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from common.errors import UserError

if TYPE_CHECKING:
    from metrics.scorer_audit import ScorerAudit

AUDITS = Path("audits")


@o.spec_options(only=("metric", "device"), changed={"metric": {"default": "in a run, those of its model"}})
def audit(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run folder, or any folder of images.")],
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The prompts of a folder of images, as `bench score` reads them."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="Edit at most N images of a prompt set, evenly from first to last."),
    ] = 120,
    out: Annotated[Path | None, o.folder("Where the audit of a folder of images goes.", "audits/ and its name")] = None,
    as_json: o.Json = False,
    **settings: Any,
) -> None:
    """Say what a scorer can be trusted to tell: score images and edited copies of them.

    Copies under edits that nobody sees give the floor, below which a difference means nothing. Damage in doses (blur,
    a swirl, another image mixed in, fewer steps) and near wrong captions give what the scorer sees. A run's baseline
    images are audited, and its records get the floor as their zone of indifference; any other folder needs --prompts.
    """
    from sweeps.axes import items
    from sweeps.machine import checked_device
    from sweeps.record import SPEC

    asked, where = list(dict.fromkeys(items(settings["metric"] or []))), checked_device(settings["device"])
    is_run = (folder / SPEC).is_file()
    if prompts is not None and is_run:
        raise UserError(f"{folder} is a run folder, which knows its prompts", "leave --prompts out")
    if prompts is not None:
        audits, places = _audit_pictures(folder, prompts, out, asked, where, limit)
    elif not is_run:
        raise UserError(f"{folder} is no run folder", "if it holds pictures, say what they show: --prompts FILE")
    elif out:
        raise UserError("--out is for a folder of pictures", "a run's audit goes into its own folder")
    else:
        audits, places = _audit_run(folder, asked, where, limit)
    if as_json:
        typer.echo(json.dumps({"audits": [_plain(one) for one in audits]}))
        return
    _print(audits, places)


def _audit_run(run: Path, asked: Sequence[str], device: str, limit: int) -> "tuple[list[ScorerAudit], dict[str, str]]":
    """Audit the scorers of a run on its baseline pictures and write its views anew."""
    import reusebench
    from bench.screen import screen
    from sweeps.audit_file import AUDIT
    from sweeps.passes import audit

    with screen() as seen:
        audits = audit(run, asked, device, seen, most=limit)
        with seen.stage("report"):
            report = reusebench.report(run)
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    return audits, {"results": str(run / AUDIT), "page": str(report.page), "Markdown": str(report.markdown)}


def _audit_pictures(
    folder: Path, prompts: Path, out: Path | None, asked: Sequence[str], device: str, limit: int
) -> "tuple[list[ScorerAudit], dict[str, str]]":
    from bench.screen import screen
    from common.files import atomic_write, canonical_json, sha256_file, sha256_text
    from reports.formats import to_markdown
    from reports.tables.audit import audit_sheet
    from reports.tables.audit_edits import edits_sheet
    from reusebench.external_images import Manifest
    from sweeps.audit import audit
    from sweeps.audit_file import AUDIT, write_audits
    from sweeps.scorers import Scorers

    scorers = Scorers(None, asked, device)
    if not scorers.metrics:
        hint = "add for example --metric vqa=t2v:clip-flant5-xxl; `bench metrics list` has them all"
        raise UserError(f"{folder} is no run, so no metric is known for its pictures", hint)
    manifest, place = Manifest.read(prompts), out or AUDITS / folder.resolve().name
    images = manifest.pictures(folder, place)
    with screen() as seen:
        scorers.check(manifest.prompts.prompts)
        audits = audit(
            scorers,
            images,
            manifest.prompts.prompts,
            seen,
            model=folder.resolve().name,
            dataset=manifest.prompts.name,
            of=sha256_text(canonical_json([sha256_file(path) for path in images])),
            most=limit,
        )
    place.mkdir(parents=True, exist_ok=True)
    write_audits(place, audits)
    sheets = [sheet for sheet in (audit_sheet(audits), edits_sheet(audits)) if sheet]
    atomic_write(place / "audit.md", "\n".join(map(to_markdown, sheets)))
    return audits, {"results": str(place / AUDIT), "Markdown": str(place / "audit.md")}


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
