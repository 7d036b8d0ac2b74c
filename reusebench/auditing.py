"""The audit of scorers on pictures of anyone's, which are no run."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.files import atomic_write, canonical_json, sha256_file, sha256_text
from metrics.scorer_audit import ScorerAudit
from reusebench.external_images import Manifest
from sweeps.audit import audit
from sweeps.audit_file import write_audits
from sweeps.events import Emit, Note
from sweeps.record import SPEC
from sweeps.scorers import Scorers

AUDITS = Path("audits")


def audit_pictures(
    folder: Path,
    prompts: Path,
    column: str | None,
    out: Path | None,
    asked: Sequence[str],
    device: str,
    emit: Emit,
    most: int,
) -> list[ScorerAudit]:
    """Return the audits of scorers on a folder of pictures; they are written to `out`, or ``audits/<its name>``.

    Args:
        folder: of the pictures.
        prompts: a file of their prompts.
        column: of the prompts, in a table; None: it is guessed.
        out: where audits go, as JSON and as Markdown.
        asked: the scorers, as in `Scorers`.
        device: where they run.
        emit: hears progress.
        most: pictures that are edited.

    Raises:
        UserError: no scorer is given or one cannot be had, a picture cannot be read, or the folder is a run's.
    """
    from reports.formats import to_markdown
    from reports.tables.audit import audit_sheet
    from reports.tables.audit_edits import edits_sheet

    if (folder / SPEC).is_file():
        raise UserError(f"{folder} is a run folder, which knows its prompts", "leave --prompts out")
    scorers = Scorers(None, asked, device)
    if not scorers.metrics:
        hint = "add for example --metric vqa=t2v:clip-flant5-xxl; `bench metrics list` has them all"
        raise UserError(f"{folder} is no run, so no metric is known for its pictures", hint)
    manifest, place = Manifest.read(prompts, column), audits_place(folder, out)
    pairing = manifest.pictures(folder, place)
    for said in (*manifest.prompts.notes, *pairing.said(folder, manifest.prompts.prompts)):
        emit(Note(said))
    scorers.check(manifest.prompts.prompts)
    audits = audit(
        scorers,
        pairing.images,
        manifest.prompts.prompts,
        emit,
        model=folder.resolve().name,
        dataset=manifest.prompts.name,
        of=sha256_text(canonical_json([sha256_file(path) for path in pairing.images])),
        most=most,
    )
    place.mkdir(parents=True, exist_ok=True)
    write_audits(place, audits)
    sheets = [sheet for sheet in (audit_sheet(audits), edits_sheet(audits)) if sheet]
    atomic_write(place / "audit.md", "\n".join(map(to_markdown, sheets)))
    return audits


def audits_place(folder: Path, out: Path | None) -> Path:
    """Return the folder that the audits of a folder of pictures go to."""
    return out or AUDITS / folder.resolve().name
