"""CLIPScore (Hessel et al. 2021, arXiv 2104.08718): similarity of a picture and its prompt to a CLIP model."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.pictures import read_picture
from metrics.base import Columns, Metric, ResultInfo, packages
from metrics.open_clip_source import Source, knows, vocabulary
from metrics.paired_scores import compare_scores, score_figures
from metrics.statistics import Estimate

WEIGHT = 2.5


class ClipScore(Metric):
    """2.5 max(cos(picture, prompt), 0) by an open_clip model, higher is better.

    The model is a folder (``open_clip_config.json``, safetensors and its tokenizer) or ``<model>:<tag>``, e.g.
    ``ViT-L-14:openai``. As everywhere with CLIP, a prompt longer than its context (77 tokens) is cut; the number of
    those is a result.
    """

    name = "clip_score"
    higher_is_better = True
    columns = ("clip_score", "cut")
    results: ClassVar[dict[str, ResultInfo]] = {
        **score_figures("clip_score", "CLIPScore"),
        "cut": ResultInfo("prompts that CLIP cut", None, "count"),
    }

    def __init__(self, checkpoint: str | Path, device: str = "cpu", batch_size: int = 32, prefix: str = "") -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`.
            prefix: put before every prompt; the paper's is ``A photo depicts``.
        """
        super().__init__(checkpoint, device, batch_size)
        self.prefix = str(prefix or "")

    @cached_property
    def source(self) -> Source:
        """The place that the model comes from."""
        return Source.of(self.checkpoint)

    @cached_property
    def model(self) -> tuple[Any, Callable[..., Any], Any]:
        """The encoders, their preprocessing of a picture, and the tokenizer."""
        return (*self.source.load(self.device), self.source.tokenizer())

    def check(self, prompts: Sequence[str]) -> None:
        """Load the model, and refuse a tokenizer of another vocabulary: its tokens would be read out of bounds."""
        model, _, tokenizer = self.model
        if not knows(model, tokenizer):
            raise UserError(
                f"{self.source} knows {vocabulary(model)} tokens, its tokenizer more",
                "put the model's own tokenizer into its folder and its name into hf_tokenizer_name of its text_cfg",
            )

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the columns ``clip_score``, float64 [N], 0 to 2.5; and ``cut``, bool [N], true of prompts too long."""
        if len(images) != len(prompts):
            raise UserError(
                f"{len(images)} pictures were given with {len(prompts)} prompts", "give one prompt a picture"
            )
        scores, cut = np.empty(len(images)), np.empty(len(images), dtype=np.bool_)
        for batch in self.batches(len(images)):
            scores[batch], cut[batch] = self._scores(images[batch], prompts[batch])
        return {"clip_score": scores, "cut": cut}

    def _scores(self, images: Sequence[Path], prompts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        import torch
        from torch.nn.functional import cosine_similarity

        model, preprocess, tokenizer = self.model
        texts = [f"{self.prefix} {prompt}" if self.prefix else prompt for prompt in prompts]
        tokens, cut = tokenise(tokenizer, texts)
        pixels = torch.stack([preprocess(read_picture(path)) for path in images])
        with torch.no_grad():
            rows = model.encode_image(pixels.to(self.device)), model.encode_text(tokens.to(self.device))
        cosine = cosine_similarity(*(row.cpu().double() for row in rows))
        return WEIGHT * cosine.clamp(min=0).numpy(), cut

    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        cut = int(np.count_nonzero(ours["cut"]))
        return compare_scores("clip_score", baseline, ours, same, seed=seed) | ({"cut": cut} if cut else {})

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "sha256": self.source.sha256(),
            "quick_gelu": self.source.quick_gelu,
            "prefix": self.prefix,
            "packages": packages("torch", "open_clip_torch"),
        }


def tokenise(tokenizer: Any, texts: Sequence[str]) -> tuple[Any, NDArray[np.bool_]]:
    """Return the texts' tokens, a tensor [N, L] for a context of L, and bool [N], true of those that were cut to it.

    Args:
        tokenizer: called with texts, and with `context_length` to have another L.
        texts: N of them.

    Examples:
        A tokenizer of words by their lengths, with an end marker, in a context of three:

        >>> import torch
        >>> def words(texts, context_length=3):
        ...     rows = [[len(word) for word in text.split()][: context_length - 1] + [99] for text in texts]
        ...     return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])
        >>> tokens, cut = tokenise(words, ["a cat", "a black cat"])
        >>> tokens.tolist(), cut.tolist()
        ([[1, 3, 99], [1, 5, 99]], [False, True])
    """
    tokens = tokenizer(texts)
    # with room for one token more, a text that was cut goes on where it ended
    room = tokenizer(texts, context_length=tokens.shape[1] + 1)
    return tokens, (tokens != room[:, :-1]).any(dim=1).numpy()
