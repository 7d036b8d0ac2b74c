"""CLIP diversity: similarity of a set's images to a CLIP encoder (paper, supplement B)."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from metrics.base import ResultInfo, packages
from metrics.open_clip_source import Source
from metrics.set_similarity import SetSimilarity, similarity_figures

if TYPE_CHECKING:
    from PIL.Image import Image


class ClipDiversity(SetSimilarity):
    """Mean CLIP cosine similarity of all pairs among 100 (or all) images drawn at random, lower is more diverse.

    The encoder is an open_clip model with its own preprocessing: a folder (``open_clip_config.json`` and safetensors),
    or ``<model>:<tag>``, e.g. ``ViT-L-14:openai``.
    """

    name = "clip_diversity"
    columns = ("clip",)
    results: ClassVar[dict[str, ResultInfo]] = similarity_figures("clip", "CLIP")

    @cached_property
    def source(self) -> Source:
        """The place that the encoder comes from."""
        return Source.of(self.checkpoint)

    @cached_property
    def encoder(self) -> tuple[Any, Callable[..., Any]]:
        """The model, in evaluation mode on its device, and its preprocessing of a picture."""
        return self.source.load(self.device)

    def check(self, prompts: Sequence[str]) -> None:
        _ = self.encoder

    def encode(self, pictures: Sequence["Image"]) -> Any:
        import torch

        model, preprocess = self.encoder
        return model.encode_image(torch.stack([preprocess(picture) for picture in pictures]).to(self.device))

    def identity(self) -> dict[str, Any]:
        return {
            **super().identity(),
            "sha256": self.source.sha256(),
            "quick_gelu": self.source.quick_gelu,
            "packages": packages("torch", "open_clip_torch"),
        }
