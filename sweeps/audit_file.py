"""The audits of a run's scorers, in one file of its folder; read without what makes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import atomic_write
from metrics.scorer_audit import ScorerAudit

if TYPE_CHECKING:
    from pydantic import TypeAdapter

AUDIT = "audit.json"


def read_audits(folder: Path) -> list[ScorerAudit]:
    """Return the audits that a run folder holds; none where no scorer was audited.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / AUDIT
    try:
        return _adapter().validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"the audits {path} cannot be read", f"delete the file and run bench audit {folder}") from error


def write_audits(folder: Path, audits: Sequence[ScorerAudit]) -> None:
    """Write audits in place of those that the folder holds of the same scorers, models and prompt sets."""
    new = {_place(audit) for audit in audits}
    kept = [audit for audit in read_audits(folder) if _place(audit) not in new]
    atomic_write(folder / AUDIT, _adapter().dump_json([*kept, *audits], indent=1) + b"\n")


def _place(audit: ScorerAudit) -> tuple[str, str, str]:
    return audit.model, audit.dataset, audit.scorer


def _adapter() -> "TypeAdapter[list[ScorerAudit]]":
    from pydantic import TypeAdapter

    return TypeAdapter(list[ScorerAudit])
