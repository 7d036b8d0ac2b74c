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
from metrics.vqa_backends.in_process import TooLongError

FLOOR = 0.1  # a probability of "yes": at or below it, the answer is "no" nine times in ten


class VQAScore(Metric):
    """P("yes" | picture, 'Does this figure show "<prompt>"? Please answer yes or no.'), higher is better.

    The model that is asked is ``t2v:clip-flant5-xxl`` (the reference; needs `bench setup vqa`), or a transformers
    model that answers questions about pictures: a folder or a hub id, with or without ``hf:`` before it.
    """

    name = "vqa"
    higher_is_better = True
    probability = True
    columns = ("vqa", "cut")
    results: ClassVar[dict[str, ResultInfo]] = {
        **score_figures("vqa", "VQAScore", FLOOR),
        "cut": ResultInfo("prompts that VQAScore cut", None, "count"),
    }

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "cpu",
        batch_size: int = 32,
        dtype: str = FULL,
        cut: bool = False,
    ) -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`.
            dtype: of the weights of a transformers model; half of it is half the memory and coarser scores.
            cut: ask about the beginning of a prompt that is too long for the model, where it is refused otherwise; the
                number of those is a result.

        Raises:
            UserError: there is no such dtype, or `cut` is neither true nor false.
        """
        super().__init__(checkpoint, device, batch_size)
        if not isinstance(cut, bool):
            raise UserError(f"cut is true or false, not {cut!r}", "write --metric vqa:cut=true")
        self.dtype, self.cut = checked_dtype(dtype), cut

    @cached_property
    def backend(self) -> VqaBackend:
        """The backend that reads the checkpoint."""
        backend = vqa_backend(self.checkpoint, self.device, self.dtype)
        if self.cut and not backend.cuts:
            raise UserError(f"{self.checkpoint} does not tell how much of a prompt it reads", "leave cut out")
        return backend

    def check(self, prompts: Sequence[str]) -> None:
        try:
            self.backend.check(self._asked(prompts))
        except TooLongError as error:
            hint = "shorten them, use a scorer that reads more, or let it read their beginnings: --metric vqa:cut=true"
            raise TooLongError(error.lengths, error.limit, hint) from None

    def _asked(self, prompts: Sequence[str]) -> Sequence[str]:
        """Return what is asked about [N]: the prompts, or as much of them as the model reads."""
        return self.backend.fitting(prompts) if self.cut else prompts

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return ``vqa``, float64 [N], 0 to 1, higher is better; and where it may cut, ``cut``, bool [N]."""
        if len(images) != len(prompts):
            raise UserError(
                f"{len(images)} pictures were given with {len(prompts)} prompts", "give one prompt a picture"
            )
        asked = self._asked(prompts)
        columns: dict[str, NDArray[Any]] = {"vqa": self.backend.scores(images, asked, self.batch_size)}
        return columns | ({"cut": np.array(asked) != np.array(prompts)} if self.cut else {})

    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        cut = int(np.count_nonzero(ours["cut"])) if self.cut else 0
        return compare_scores("vqa", baseline, ours, same, seed=seed) | ({"cut": cut} if cut else {})

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            **self.backend.identity(),
            **dtype_identity(self.dtype),
            **({"cut": True} if self.cut else {}),
        }
