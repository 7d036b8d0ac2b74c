"""The files of a study in a run folder: ``studies/<study>/<part>/manifest.json`` and what lies beside it.

It can be read with this module alone; it imports nothing that makes pictures.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from common.files import read_sealed, sha256_file
from sweeps.record import Part, check_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STUDIES, MANIFEST = "studies", "manifest.json"
CURVES, KIND = "curves.npz", "reusebench coarse to fine 1"


class Manifest(Part):
    """The manifest of a part of a study: how it was made, and its results. The part is complete when this is there.

    Attributes:
        study: the name of the study, and of its folder.
        version: of the study.
        identity: all that changes the result; another identity is another part.
        model, dataset, seed, scheduler: as the sweep names them (`scheduler`: the class that it resolves to).
        conditioned_on: what the model's denoiser is conditioned on, as in a record.
        K: denoiser evaluations of one picture.
        baseline: the folder, relative to the run, of the baseline of the same source; as a record's `baseline`.
        files: by name, the SHA-256 of every file beside this one.
        folder: where it was read from; not in the file.
    """

    study: ClassVar[str]

    version: int
    identity: dict[str, Any]
    model: str
    dataset: str
    seed: int
    scheduler: str
    conditioned_on: Literal["image", "text", "both"] | None = None
    K: int
    baseline: str
    files: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    folder: Path = Field(default=Path(), exclude=True)

    def file(self, name: str) -> Path:
        """Return the path of one of its files, verified by its hash.

        Raises:
            UserError: it is missing or is not what was written.
        """
        check_file(self.folder / name, self.files.get(name))
        return self.folder / name

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the manifest in a part's folder.

        Raises:
            UserError: it is missing, damaged, or of another version of reusebench.
        """
        path = folder / MANIFEST
        try:
            manifest = cls.model_validate(read_sealed(path)[0])
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"cannot read {path}: it is missing, damaged, or of another version of reusebench",
                "run the same study again: it is then made again",
            ) from error
        return manifest.model_copy(update={"folder": folder})

    @classmethod
    def of(cls, run: Path) -> list[Self]:
        """Return the manifests in a run folder, by the names of their parts; none where the study was not made there.

        Raises:
            UserError: one is damaged.
        """
        return [cls.read(path.parent) for path in sorted(run.glob(f"{STUDIES}/{cls.study}/*/{MANIFEST}"))]

    def whole(self) -> bool:
        """Return True where every file is what was written."""
        files = {self.folder / name: sha for name, sha in self.files.items()}
        return all(path.is_file() and sha256_file(path) == sha for path, sha in files.items())


class Settled(BaseModel):
    """The mean share of the steps after which a band is settled, over prompts, with its 95% interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float | None
    high: float | None


class Pictured(BaseModel):
    """A prompt's predicted pictures: files of the part's folder, one for each of `steps`, and the final one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    steps: list[str]
    final: str


class CoarseToFine(Manifest):
    """The results of one model's trajectories.

    Beside it lies ``curves.npz`` of n prompts, K steps, B bands and R radii: ``error`` [n, K, B], of the predicted
    picture against the final one, as a share of that one's power in the band; ``power`` [n, K, R] and ``final`` [n, R],
    the radially averaged power of both at 1, 2, ... cycles a picture.

    Attributes:
        bands: B pairs of frequencies, in cycles a picture.
        tolerance: a band is settled at the first step from which on its error stays below this.
        settled: [n][B], the share of the K denoiser evaluations that were made by then.
        mean: [B], of `settled` over prompts.
        steps: the pictured steps, 0-based.
        pictured: some prompts' pictures.
    """

    study: ClassVar[str] = "coarse-to-fine"

    bands: list[tuple[float, float]]
    tolerance: float
    settled: list[list[float]]
    mean: list[Settled]
    steps: list[int]
    pictured: list[Pictured]

    def curves(self) -> "dict[str, NDArray[np.float64]]":
        """Return the arrays beside it.

        Raises:
            UserError: they are missing or damaged.
        """
        from generators.sharing.arrays import read_npz

        return read_npz(self.file(CURVES), KIND)


class MeanNode(BaseModel):
    """A cluster whose mean was made.

    Attributes:
        node: its number in the tree, as in a cell's ``tree.npz``.
        score: the height at which its parts merge.
        height: the tau by which it was chosen.
        members: its prompts, in the order in which the tree's leaves stand; their own pictures are the baseline's.
        image: the picture of its mean, in the part's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: int
    score: float
    height: float
    members: list[int]
    image: str


class MeanEmbedding(Manifest):
    """The means of one tree's clusters; in the folder `baseline` lie their prompts' own pictures.

    Attributes:
        strategy, features, combiner: as a record's `config` names them.
        prompts: all of them.
        nodes: by height, along the tree's leaves.
    """

    study: ClassVar[str] = "mean-embedding"

    strategy: str
    features: str
    combiner: str
    prompts: list[str]
    nodes: list[MeanNode]
