"""Similarity of a set's pictures to an encoder: the base of the metrics of diversity."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.base import Columns, Metric, ResultInfo, paired
from metrics.images import read_picture
from metrics.statistics import PAPER_IMAGES, Estimate, compare_similarity

if TYPE_CHECKING:
    from PIL.Image import Image

ALL: Literal["all"] = "all"


def similarity_figures(encoder: str, label: str) -> dict[str, ResultInfo]:
    """Return how the results of a `SetSimilarity` are printed.

    Args:
        encoder: the column's name.
        label: the encoder's name in tables.

    Examples:
        >>> for name, info in similarity_figures("clip", "CLIP").items():
        ...     print(name, "|", info.label, "|", info.higher_is_better)
        clip_similarity | CLIP similarity | False
        clip_similarity_standard | CLIP similarity, baseline | False
        clip_similarity_difference | CLIP similarity, baseline - ours | True
    """
    return {
        f"{encoder}_similarity": ResultInfo(f"{label} similarity", False, "score"),
        f"{encoder}_similarity_standard": ResultInfo(f"{label} similarity, baseline", False, "score"),
        f"{encoder}_similarity_difference": ResultInfo(f"{label} similarity, baseline - ours", True, "score"),
    }


class SetSimilarity(Metric):
    """Mean cosine similarity of all pairs among 100 (or all) images drawn at random, lower is more diverse.

    A metric derives from it, names one column, and encodes pictures. See `metrics.statistics.compare_similarity`.
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
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`.
            images: the number of images drawn from each set, at least 2; ``"all"`` or None takes all.

        Raises:
            UserError: `images` is no such number.
        """
        super().__init__(checkpoint, device, batch_size)
        if images not in (None, ALL) and (not isinstance(images, int) or images < 2):
            raise UserError(f"{self.name} cannot compare {images!r} images", "give 2 or more, or all")
        self.images = None if images == ALL else images

    @abstractmethod
    def encode(self, pictures: Sequence["Image"]) -> Any:
        """Return the pictures' embeddings, a tensor [B, D]; rows may have any length but 0."""

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the column: image embeddings of length 1, float32 [N, D]."""
        import torch
        from torch.nn.functional import normalize

        rows = [np.empty((0, 0), dtype=np.float32)] if not images else []
        for batch in self.batches(len(images)):
            with torch.no_grad():
                embeddings = self.encode([read_picture(path) for path in images[batch]])
            rows.append(normalize(embeddings.float(), dim=-1).cpu().numpy())
        return {self.columns[0]: np.concatenate(rows)}

    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        of_baseline, of_ours = paired(self.columns[0], baseline, ours, same)
        if len(of_ours) < 2:
            return {}
        similarity = compare_similarity(of_baseline, of_ours, n=self.images, seed=seed)
        return dict(zip(self.results, (similarity.ours, similarity.baseline, similarity.difference), strict=True))

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "images": self.images or ALL,
        }
