"""The audits of a run's scorers, in one file of its folder; read without what makes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import read_sealed, write_sealed
from metrics.scorer_audit import ScorerAudit

if TYPE_CHECKING:
    from pydantic import TypeAdapter

AUDIT, AUDITS = "audit.json", "audits"


def read_audits(folder: Path) -> list[ScorerAudit]:
    """Return the audits that a run folder holds; none where no scorer was audited.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / AUDIT
    try:
        return _read(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise UserError(f"the audits {path} cannot be read", f"delete the file and run bench audit {folder}") from error


def write_audits(folder: Path, audits: Sequence[ScorerAudit]) -> None:
    """Write audits in place of those that the folder holds of the same scorers, models and prompt sets.

    Where the file is damaged nothing of it is kept.
    """
    new = {_place(audit) for audit in audits}
    try:
        kept = [audit for audit in read_audits(folder) if _place(audit) not in new]
    except UserError:
        kept = []
    write_sealed(folder / AUDIT, {AUDITS: json.loads(_adapter().dump_json([*kept, *audits]))})


def _read(path: Path) -> list[ScorerAudit]:
    if path.read_bytes().lstrip()[:1] == b"[":  # of an earlier version, without a hash
        return _adapter().validate_json(path.read_bytes())
    content, digest = read_sealed(path)
    if digest is None:
        raise ValueError("it has no hash")
    return _adapter().validate_python(content[AUDITS])


def _place(audit: ScorerAudit) -> tuple[str, str, str]:
    return audit.model, audit.dataset, audit.scorer


def _adapter() -> "TypeAdapter[list[ScorerAudit]]":
    from pydantic import TypeAdapter

    return TypeAdapter(list[ScorerAudit])
