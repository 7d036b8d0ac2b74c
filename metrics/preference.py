"""Preference models: what people would choose, as PickScore (Kirstain et al. 2023, arXiv 2305.01569) learned it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import sha256_tree
from common.loading import loading
from common.pictures import read_picture
from metrics.base import Columns, Metric, ResultInfo, packages
from metrics.paired_scores import compare_scores, score_figures
from metrics.statistics import Estimate
from metrics.transformers_checkpoints import (
    FULL,
    checked_dtype,
    checkpoint_folder,
    dtype_identity,
    load_pretrained,
    room_needed,
)

HINT = "give a transformers CLIP or SigLIP model with safetensors weights, such as yuvalkirstain/PickScore_v1"


class Preference(Metric):
    """Logit of a picture and its prompt to a CLIP or SigLIP model that learned people's choices, higher is better.

    The model is a transformers checkpoint, a folder or a hub id: ``yuvalkirstain/PickScore_v1`` with
    ``processor=laion/CLIP-ViT-H-14-laion2B-s32B-b79K`` is PickScore. A prompt longer than the model's context is cut;
    the number of those is a result.
    """

    name = "preference"
    higher_is_better = True
    columns = ("preference", "cut")
    results: ClassVar[dict[str, ResultInfo]] = {
        **score_figures("preference", "preference"),
        "cut": ResultInfo("prompts that the preference model cut", None, "count"),
    }

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "cpu",
        batch_size: int = 32,
        processor: str = "",
        dtype: str = FULL,
    ) -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`.
            processor: the folder or hub id of its tokenizer and image processor; the checkpoint's own unless given.
            dtype: of the weights; half of it is half the memory and coarser scores.

        Raises:
            UserError: there is no such dtype.
        """
        super().__init__(checkpoint, device, batch_size)
        self.dtype = checked_dtype(dtype)
        self.processor = str(processor or "")

    @cached_property
    def folders(self) -> tuple[Path, Path]:
        """The folders of the checkpoint and of its processor, fetched if they are hub ids."""
        folder = checkpoint_folder(self.checkpoint)
        return folder, checkpoint_folder(self.processor) if self.processor else folder

    @cached_property
    def model(self) -> tuple[Any, Any]:
        """The model on its device, and its processor."""
        with loading(*room_needed(self.name, self.checkpoint, self.dtype, self.device)):
            model, processor = load_pretrained(
                self.checkpoint, *self.folders, "preference model", HINT, device=self.device, dtype=self.dtype
            )
        if not hasattr(model, "logit_scale") or not hasattr(processor, "tokenizer"):
            raise UserError(f"{self.checkpoint} does not score a picture by a text", HINT)
        return model, processor

    def check(self, prompts: Sequence[str]) -> None:
        _ = self.model

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the columns ``preference``, float64 [N]; and ``cut``, bool [N], true of prompts too long."""
        if len(images) != len(prompts):
            raise UserError(
                f"{len(images)} pictures were given with {len(prompts)} prompts", "give one prompt a picture"
            )
        scores, cut = np.empty(len(images)), np.empty(len(images), dtype=np.bool_)
        for batch in self.batches(len(images)):
            scores[batch], cut[batch] = self._scores(images[batch], list(prompts[batch]))
        return {"preference": scores, "cut": cut}

    def _scores(self, images: Sequence[Path], prompts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        import torch

        model, processor = self.model
        longest = model.config.text_config.max_position_embeddings
        # always the whole context: a score does not depend on what else is in the batch
        fed = processor(
            text=prompts,
            images=[read_picture(path) for path in images],
            padding="max_length",
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        ).to(self.device)
        fed["pixel_values"] = fed["pixel_values"].to(model.dtype)
        with torch.no_grad():
            logits = model(**fed).logits_per_image.diagonal()
        lengths = [len(tokens) for tokens in processor.tokenizer(prompts)["input_ids"]]
        return logits.cpu().double().numpy(), np.array(lengths) > longest

    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        cut = int(np.count_nonzero(ours["cut"]))
        return compare_scores("preference", baseline, ours, same, seed=seed) | ({"cut": cut} if cut else {})

    def identity(self) -> dict[str, Any]:
        folder, processor = self.folders
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "sha256": sha256_tree(folder),
            "processor": sha256_tree(processor) if self.processor else "",
            "packages": packages("torch", "transformers"),
            **dtype_identity(self.dtype),
        }
