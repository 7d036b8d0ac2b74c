"""What a study leaves in a run folder, for whoever reads it: ``studies/<study>/<part>/manifest.json`` and its files.

It can be read with this module alone; it imports nothing that makes pictures.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from common.files import sha256_file

STUDIES, MANIFEST = "studies", "manifest.json"


class Manifest(BaseModel):
    """How a part of a study was made, and what it found. The part is complete when this is there.

    Attributes:
        study: whose this is; told apart by it.
        version: of the study.
        identity: all that changes the result; another identity is another part.
        model, dataset, seed, scheduler: as the sweep names them (`scheduler`: the class that it resolves to).
        conditioned_on: what the model's denoiser is told of a prompt, as in a record.
        K: denoiser evaluations of one picture.
        standard: the folder, relative to the run, that a sweep's standard images of the same source lie in; the same
            as a record's `standard`.
        files: by name, the SHA-256 of every file beside this one.
        folder: where it was read from; not in the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: ClassVar[str]

    version: int
    identity: dict[str, Any]
    model: str
    dataset: str
    seed: int
    scheduler: str
    conditioned_on: Literal["image", "text", "both"] | None = None
    K: int
    standard: str
    files: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    folder: Path = Field(default=Path(), exclude=True)

    def file(self, name: str) -> Path:
        """One of its files."""
        return self.folder / name

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest in a part's folder.

        Raises:
            UserError: it is missing, damaged, or of another version of reusebench.
        """
        path = folder / MANIFEST
        try:
            manifest = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read {path}: it is missing, damaged, or of another version of reusebench",
                "run the same study again: it is then made anew",
            ) from error
        return manifest.model_copy(update={"folder": folder})

    @classmethod
    def of(cls, run: Path) -> list[Self]:
        """Those in a run folder, by the names of their parts; none where the study was not made there.

        Raises:
            UserError: one is damaged.
        """
        return [cls.read(path.parent) for path in sorted(run.glob(f"{STUDIES}/{cls.study}/*/{MANIFEST}"))]

    def whole(self) -> bool:
        """Whether every file is what was written."""
        files = {self.file(name): sha for name, sha in self.files.items()}
        return all(path.is_file() and sha256_file(path) == sha for path, sha in files.items())
