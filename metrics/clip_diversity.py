"""CLIP diversity: similarity of a set's images to a CLIP encoder (paper, supplement B)."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.base import OF_PROMPTS, ResultInfo, packages
from metrics.open_clip_source import Source, knows
from metrics.set_similarity import SetSimilarity, similarity_figures

if TYPE_CHECKING:
    from PIL.Image import Image


class ClipDiversity(SetSimilarity):
    """Mean CLIP cosine similarity of all pairs among 100 (or all) images drawn at random, lower is more diverse.

    The encoder is an open_clip model with its own preprocessing: a folder (``open_clip_config.json`` and safetensors),
    or ``<model>:<tag>``, e.g. ``ViT-L-14:openai``.
    """

    name = "clip_diversity"
    columns = ("clip", "clip_copy", f"clip{OF_PROMPTS}")
    results: ClassVar[dict[str, ResultInfo]] = similarity_figures("clip", "CLIP", reads=True)

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

    @cached_property
    def tokenizer(self) -> Any | None:
        """The tokenizer; None where there is none, or one of another vocabulary: prompts cannot be embedded then."""
        try:
            tokenizer = self.source.tokenizer()
        except UserError:
            return None
        return tokenizer if knows(self.encoder[0], tokenizer) else None

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the columns: as in `SetSimilarity`; prompts' embeddings, float32 [N, D], from a model that reads."""
        columns = super().measure(images, prompts)
        return columns if self.tokenizer is None else {**columns, self.columns[2]: self._read(self.tokenizer, prompts)}

    def _read(self, tokenizer: Any, prompts: Sequence[str]) -> NDArray[np.float32]:
        import torch

        model, _ = self.encoder
        rows = [np.empty((0, 0), dtype=np.float32)] if not prompts else []
        for batch in self.batches(len(prompts)):
            with torch.no_grad():
                embeddings = model.encode_text(tokenizer(list(prompts[batch])).to(self.device), normalize=True)
            rows.append(embeddings.float().cpu().numpy())
        return np.concatenate(rows)

    def identity(self) -> dict[str, Any]:
        return {
            **super().identity(),
            "sha256": self.source.sha256(),
            "quick_gelu": self.source.quick_gelu,
            "packages": packages("torch", "open_clip_torch"),
        }
