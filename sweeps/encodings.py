"""Prompts' conditioning on disk: whole, or encoded again."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from common.files import atomic_write, sha256_file
from generators.conditioning import Conditioning

CONDITIONING, ENCODING = "conditioning.safetensors", "encoding.json"


class Encoding(BaseModel):
    """How a folder's conditioning was made. It is complete when this is there, and whole when its hash agrees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    notes: list[str] = Field(default_factory=list)


def load_encoding(folder: Path | None, on_damage: Callable[[str], None]) -> tuple[Conditioning, list[str]] | None:
    """The conditioning in `folder` and what a record should say of it; None if it is not there, or not whole."""
    if not folder or not (folder / ENCODING).exists():
        return None
    path = folder / CONDITIONING
    try:
        encoding = Encoding.model_validate_json((folder / ENCODING).read_text(encoding="utf-8"))
        if sha256_file(path) != encoding.sha256:
            raise ValueError("its hash is not what was written")
        return Conditioning.load(path), encoding.notes
    except (OSError, ValueError, UserError):
        on_damage(f"{path} is damaged or missing")
        return None


def save_encoding(conditioning: Conditioning, notes: Sequence[str], folder: Path) -> None:
    """Write what `load_encoding` reads."""
    path, manifest = folder / CONDITIONING, folder / ENCODING
    manifest.unlink(missing_ok=True)
    conditioning.save(path)
    encoding = Encoding(sha256=sha256_file(path), notes=list(notes))
    atomic_write(manifest, encoding.model_dump_json(indent=1) + "\n")
