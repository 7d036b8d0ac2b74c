"""VQAScore (Lin et al. 2024, arXiv 2404.01291): a question-answering model's belief that a picture shows its prompt."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.base import Columns, Metric, ResultInfo
from metrics.paired_scores import compare_scores, score_figures
from metrics.statistics import Estimate
from metrics.transformers_checkpoints import FULL, checked_dtype, dtype_identity
from metrics.vqa_backends.base import VqaBackend, vqa_backend

FLOOR = 0.1  # a probability of "yes": at or below it, the answer is "no" nine times in ten


class VQAScore(Metric):
    """P("yes" | picture, 'Does this figure show "<prompt>"? Please answer yes or no.'), higher is better.

    The model that is asked is ``t2v:clip-flant5-xxl`` (the reference; needs `bench setup vqa`), or a transformers
    model that answers questions about pictures: a folder or a hub id, with or without ``hf:`` before it.
    """

    name = "vqa"
    higher_is_better = True
    probability = True
    columns = ("vqa",)
    results: ClassVar[dict[str, ResultInfo]] = score_figures("vqa", "VQAScore", FLOOR)

    def __init__(self, checkpoint: str | Path, device: str = "cpu", batch_size: int = 32, dtype: str = FULL) -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`.
            dtype: of the weights of a transformers model; half of it is half the memory and coarser scores.

        Raises:
            UserError: there is no such dtype.
        """
        super().__init__(checkpoint, device, batch_size)
        self.dtype = checked_dtype(dtype)

    @cached_property
    def backend(self) -> VqaBackend:
        """The backend that reads the checkpoint."""
        return vqa_backend(self.checkpoint, self.device, self.dtype)

    def check(self, prompts: Sequence[str]) -> None:
        self.backend.check(prompts)

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the column ``vqa``, float64 [N], 0 to 1; higher is better."""
        if len(images) != len(prompts):
            raise UserError(
                f"{len(images)} pictures were given with {len(prompts)} prompts", "give one prompt a picture"
            )
        return {"vqa": self.backend.scores(images, prompts, self.batch_size)}

    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        return compare_scores("vqa", baseline, ours, same, seed=seed)

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            **self.backend.identity(),
            **dtype_identity(self.dtype),
        }
