"""CLIP diversity: how alike the images of a set are to a CLIP encoder (paper, supplement B)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, nearest
from common.files import sha256_file, sha256_tree
from metrics.base import Columns, FigureInfo, Metric, packages, paired
from metrics.images import read_picture
from metrics.statistics import PAPER_IMAGES, Estimate, compare_similarity

LOCAL = "local-dir:"
ALL: Literal["all"] = "all"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")


@dataclass(frozen=True)
class Source:
    """Where open_clip finds an encoder.

    Attributes:
        model: ``local-dir:<folder>`` or the name of an open_clip configuration.
        tag: pretrained tag; None for a folder.
        quick_gelu: whether the tag was trained with x * sigmoid(1.702 x) although the configuration says GELU.
    """

    model: str
    tag: str | None = None
    quick_gelu: bool = False

    @classmethod
    def of(cls, checkpoint: str) -> "Source":
        """The source that a folder, ``local-dir:<folder>`` or ``<model>:<tag>`` names.

        Raises:
            UserError: there is no such folder, model or tag; the folder holds no safetensors; or the model's
                activation is not the one that the tag was trained with.
        """
        folder = Path(checkpoint.removeprefix(LOCAL))
        if checkpoint.startswith(LOCAL) or folder.is_dir():
            return cls._folder(folder)
        model, colon, tag = checkpoint.rpartition(":")
        if not colon:
            raise UserError(
                f"there is no CLIP folder {checkpoint}",
                "give a folder, or an open_clip model and tag as ViT-L-14:openai",
            )
        return cls._pretrained(model, tag)

    @classmethod
    def _folder(cls, folder: Path) -> "Source":
        if not (folder / CONFIG).is_file() or not any((folder / name).is_file() for name in WEIGHTS):
            raise UserError(
                f"{folder} is no open_clip folder: it needs {CONFIG} and {WEIGHTS[0]}",
                "save the weights as safetensors; pickled ones are not read",
            )
        return cls(f"{LOCAL}{folder}")

    @classmethod
    def _pretrained(cls, model: str, tag: str) -> "Source":
        import open_clip

        config, tags = open_clip.get_model_config(model), open_clip.list_pretrained_tags_by_model(model)
        if config is None:
            raise UserError(f"open_clip knows no model {model!r}", nearest(model, open_clip.list_models()))
        if not open_clip.is_pretrained_cfg(model, tag):
            raise UserError(f"open_clip's {model} has no pretrained tag {tag!r}", nearest(tag, tags))
        trained, configured = (
            bool(settings.get("quick_gelu", False)) for settings in (open_clip.get_pretrained_cfg(model, tag), config)
        )
        if configured and not trained:
            raise UserError(
                f"{model} computes with QuickGELU, its tag {tag} is not marked as trained with it",
                "choose the model's variant without QuickGELU, or another tag",
            )
        return cls(model, tag, quick_gelu=trained and not configured)

    def sha256(self) -> str:
        """Of the folder, or of the tag's weights, which are fetched if they are not here yet.

        Raises:
            UserError: they cannot be fetched.
        """
        import open_clip

        if self.tag is None:
            return sha256_tree(Path(self.model.removeprefix(LOCAL)))
        try:
            return sha256_file(open_clip.download_pretrained(open_clip.get_pretrained_cfg(self.model, self.tag)))
        except Exception as error:  # network, hub and file errors share no base class
            raise UserError(
                f"cannot fetch the CLIP weights {self.model}:{self.tag}: {error}",
                "check the connection, or give a folder that holds them",
            ) from error


class ClipDiversity(Metric):
    """Mean cosine similarity of all pairs among 100 (or all) images drawn at random, lower is more diverse.

    The encoder is an open_clip model with its own preprocessing: a folder (``open_clip_config.json`` and safetensors),
    or ``<model>:<tag>``, e.g. ``ViT-L-14:openai``.
    """

    name = "clip_diversity"
    higher_is_better = False
    columns = ("clip",)
    figures: ClassVar[dict[str, FigureInfo]] = {
        "clip_similarity": FigureInfo("CLIP similarity", False, "score"),
        "clip_similarity_standard": FigureInfo("CLIP similarity, standard", False, "score"),
        "clip_similarity_difference": FigureInfo("CLIP similarity, standard - ours", True, "score"),
    }

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "cpu",
        batch_size: int = 32,
        images: int | Literal["all"] | None = PAPER_IMAGES,
    ) -> None:
        """As `Metric`; `images` is how many are drawn from each set, ``"all"`` or None for all.

        Raises:
            UserError: `images` is no such number.
        """
        super().__init__(checkpoint, device, batch_size)
        if images not in (None, ALL) and (not isinstance(images, int) or images < 2):
            raise UserError(f"clip_diversity cannot compare {images!r} images", "give 2 or more, or all")
        self.images = None if images == ALL else images

    @cached_property
    def source(self) -> Source:
        return Source.of(self.checkpoint)

    @cached_property
    def encoder(self) -> tuple[Any, Callable[..., Any]]:
        """The model, in evaluation mode, and its preprocessing."""
        import open_clip

        source = self.source
        try:
            model, preprocess = open_clip.create_model_from_pretrained(
                source.model, source.tag, device=self.device, force_quick_gelu=source.quick_gelu
            )
        except Exception as error:  # open_clip raises what its parts raise: network, JSON, safetensors, shapes
            raise UserError(
                f"cannot load the CLIP encoder {self.checkpoint}: {error}",
                "fetch the checkpoint again or choose another",
            ) from error
        return model.eval(), preprocess

    def check(self, prompts: Sequence[str]) -> None:
        _ = self.encoder

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Column ``clip``: image embeddings of length 1, float32 [N, D]."""
        import torch

        model, preprocess = self.encoder
        rows: list[NDArray[Any]] = []
        for batch in self.batches(len(images)):
            pixels = torch.stack([preprocess(read_picture(path)) for path in images[batch]]).to(self.device)
            with torch.no_grad():
                rows.append(model.encode_image(pixels, normalize=True).float().cpu().numpy())
        return {"clip": np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)}

    def compare(
        self, standard: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        of_standard, of_ours = paired("clip", standard, ours, same)
        if len(of_ours) < 2:
            return {}
        similarity = compare_similarity(of_standard, of_ours, n=self.images, seed=seed)
        return {
            "clip_similarity": similarity.ours,
            "clip_similarity_standard": similarity.standard,
            "clip_similarity_difference": similarity.difference,
        }

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "sha256": self.source.sha256(),
            "quick_gelu": self.source.quick_gelu,
            "images": self.images or ALL,
            "packages": packages("torch", "open_clip_torch"),
        }
