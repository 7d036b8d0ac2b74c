"""How alike the pictures of a set are to an encoder: what metrics of diversity have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.base import Columns, FigureInfo, Metric, paired
from metrics.images import read_picture
from metrics.statistics import PAPER_IMAGES, Estimate, compare_similarity

if TYPE_CHECKING:
    from PIL.Image import Image

ALL: Literal["all"] = "all"


def similarity_figures(encoder: str, label: str) -> dict[str, FigureInfo]:
    """The figures of a `SetSimilarity`.

    Args:
        encoder: the column's name.
        label: how a table calls the encoder.
    """
    return {
        f"{encoder}_similarity": FigureInfo(f"{label} similarity", False, "score"),
        f"{encoder}_similarity_standard": FigureInfo(f"{label} similarity, standard", False, "score"),
        f"{encoder}_similarity_difference": FigureInfo(f"{label} similarity, standard - ours", True, "score"),
    }


class SetSimilarity(Metric):
    """Mean cosine similarity of all pairs among 100 (or all) images drawn at random, lower is more diverse.

    A metric derives from it, names one column, and encodes pictures.
    """

    higher_is_better = False
    columns: ClassVar[tuple[str]]

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "cpu",
        batch_size: int = 32,
        images: int | Literal["all"] | None = PAPER_IMAGES,
    ) -> None:
        """As `Metric`; `images` is how many are drawn from each set, ``"all"`` or None for all.

        Raises:
            UserError: `images` is no such number.
        """
        super().__init__(checkpoint, device, batch_size)
        if images not in (None, ALL) and (not isinstance(images, int) or images < 2):
            raise UserError(f"{self.name} cannot compare {images!r} images", "give 2 or more, or all")
        self.images = None if images == ALL else images

    @abstractmethod
    def encode(self, pictures: Sequence["Image"]) -> Any:
        """Embeddings of any length, a tensor [B, D]."""

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The column: image embeddings of length 1, float32 [N, D]."""
        import torch
        from torch.nn.functional import normalize

        rows = [np.empty((0, 0), dtype=np.float32)] if not images else []
        for batch in self.batches(len(images)):
            with torch.no_grad():
                embeddings = self.encode([read_picture(path) for path in images[batch]])
            rows.append(normalize(embeddings.float(), dim=-1).cpu().numpy())
        return {self.columns[0]: np.concatenate(rows)}

    def compare(
        self, standard: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        of_standard, of_ours = paired(self.columns[0], standard, ours, same)
        if len(of_ours) < 2:
            return {}
        found = compare_similarity(of_standard, of_ours, n=self.images, seed=seed)
        return dict(zip(self.figures, (found.ours, found.standard, found.difference), strict=True))

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "images": self.images or ALL,
        }
