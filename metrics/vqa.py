"""VQAScore (Lin et al. 2024, arXiv 2404.01291): does a model that answers questions see the prompt in the picture?"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.answerers.base import Answerer, answerer
from metrics.base import Columns, FigureInfo, Metric, paired
from metrics.statistics import Estimate, bootstrap_mean, paired_difference, win_rate


class VQAScore(Metric):
    """P("yes" | picture, 'Does this figure show "<prompt>"? Please answer yes or no.'), higher is better.

    The model that is asked is ``t2v:clip-flant5-xxl`` (the reference; needs `bench setup vqa`), or a transformers
    model that answers questions about pictures: a folder or a hub id, with or without ``hf:`` before it.
    """

    name = "vqa"
    higher_is_better = True
    columns = ("vqa",)
    figures: ClassVar[dict[str, FigureInfo]] = {
        "win_rate": FigureInfo("VQA win rate", True, "fraction"),
        "win_rate_strict": FigureInfo("VQA win rate, strict", True, "fraction"),
        "wins": FigureInfo("wins", None, "count"),
        "ties": FigureInfo("ties", None, "count"),
        "losses": FigureInfo("losses", None, "count"),
        "vqa_difference": FigureInfo("VQAScore difference", True, "score"),
        "vqa_mean": FigureInfo("VQAScore", True, "score"),
        "vqa_mean_standard": FigureInfo("VQAScore, standard", True, "score"),
    }

    @cached_property
    def answerer(self) -> Answerer:
        return answerer(self.checkpoint, self.device)

    def check(self, prompts: Sequence[str]) -> None:
        self.answerer.check(prompts)

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Column ``vqa``: float64 [N], 0 to 1."""
        if len(images) != len(prompts):
            raise UserError(
                f"{len(images)} pictures were given with {len(prompts)} prompts", "give one prompt a picture"
            )
        return {"vqa": self.answerer.scores(images, prompts, self.batch_size)}

    def compare(
        self, standard: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        of_standard, of_ours = paired("vqa", standard, ours, same)
        rate = win_rate(of_ours, of_standard, same)
        return {
            "win_rate": rate.half_tie,
            "win_rate_strict": rate.strict,
            "wins": rate.wins,
            "ties": rate.ties,
            "losses": rate.losses,
            "vqa_difference": paired_difference(of_ours, of_standard, seed=seed),
            "vqa_mean": bootstrap_mean(of_ours, seed=seed),
            "vqa_mean_standard": bootstrap_mean(of_standard, seed=seed),
        }

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            **self.answerer.identity(),
        }
