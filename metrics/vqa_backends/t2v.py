"""The reference for VQAScore, in its own environment."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.recipes import recipe
from metrics.remote_scorer import RemoteScorer
from metrics.vqa_backends.base import VqaBackend


class T2VBackend(VqaBackend):
    """CLIP-FlanT5 by t2v-metrics, the reference for VQAScore, in an environment of its own (`bench setup vqa`).

    ``t2v:clip-flant5-xxl`` or ``t2v:clip-flant5-xl`` from the hub, or ``t2v:FOLDER`` with a CLIP-FlanT5 and its
    tokenizer. The score is the package's own: exp of the mean log-probability of "Yes" and of the end after it.
    """

    name = "t2v"
    scheme = "t2v"

    @classmethod
    def unavailable(cls) -> str | None:
        return recipe(cls.name).unavailable()

    @cached_property
    def scorer(self) -> RemoteScorer:
        """The checkpoint in its worker, shared with whoever asks for the same."""
        return RemoteScorer.shared(self.name, self.place, self.device)

    def check(self, prompts: Sequence[str]) -> None:
        self.scorer.check(prompts)

    def scores(self, images: Sequence[Path], prompts: Sequence[str], batch_size: int) -> NDArray[np.float64]:
        batches = [slice(start, start + batch_size) for start in range(0, len(images), batch_size)]
        scores = [self.scorer.scores(images[batch], prompts[batch]) for batch in batches]
        return np.concatenate(scores) if scores else np.empty(0)

    def identity(self) -> dict[str, Any]:
        return self.scorer.identity()
