"""What answers VQAScore's question, and how it is found from the name of a checkpoint."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.plugins import Plugin, discover
from metrics.vqa_backends.checkpoints import architecture

GROUPS = ("reusebench.vqa_backends", "reusebench.answerers")  # the second is what it was called before
IN_PROCESS = "hf"


class VqaBackend(Plugin, ABC):
    """A kind of model that is asked about pictures. Nothing is loaded before the first `check` or `scores`.

    A checkpoint is written ``<scheme>:<place>``; without a scheme it is a transformers model, as with ``hf:``.

    Attributes:
        scheme: of the checkpoints that it reads.
    """

    scheme: ClassVar[str]

    def __init__(self, place: str, device: str) -> None:
        self.place, self.device = place, device

    @classmethod
    def reads(cls, place: str) -> bool:
        """Whether it reads this checkpoint of its scheme.

        Raises:
            UserError: the checkpoint cannot be had.
        """
        return True

    @abstractmethod
    def check(self, prompts: Sequence[str]) -> None:
        """Refuse before images are made what `scores` would refuse after.

        Raises:
            UserError: the checkpoint cannot be loaded, or a prompt cannot be asked about.
        """

    @abstractmethod
    def scores(self, images: Sequence[Path], prompts: Sequence[str], batch_size: int) -> NDArray[np.float64]:
        """P("yes" | picture, question about the prompt), 0 to 1 [N].

        Raises:
            UserError: a picture is missing or damaged, or as in `check`.
            MemoryError, RuntimeError: so many pictures do not fit.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the scores: hash, question, answer, settings, packages."""


def vqa_backends() -> dict[str, type[VqaBackend]]:
    """Every kind by name: those of this package and those of installed plug-ins."""
    return discover("metrics.vqa_backends", VqaBackend, GROUPS)  # type: ignore[type-abstract]


def vqa_backend(checkpoint: str, device: str) -> VqaBackend:
    """What asks the model at `checkpoint`.

    Raises:
        UserError: the checkpoint cannot be had, or no kind reads it.
    """
    kinds = vqa_backends()
    scheme, colon, place = checkpoint.partition(":")
    if not colon or scheme not in {kind.scheme for kind in kinds.values()}:
        scheme, place = IN_PROCESS, checkpoint
    found = [kind for kind in kinds.values() if kind.scheme == scheme and kind.reads(place)]
    if not found:
        what = f"a {architecture(place)}" if scheme == IN_PROCESS else checkpoint
        raise UserError(f"VQAScore does not know how to ask {what}", "see what it can: bench vqa-backends list")
    if len(found) > 1:
        names = " and ".join(kind.name for kind in found)
        raise UserError(f"{checkpoint} is read by {names}", "uninstall the plug-in that should not read it")
    if reason := found[0].unavailable():
        hint = "or score by other metrics, for example with --metric clip_diversity"
        raise UserError(f"VQAScore cannot ask {checkpoint} here: {reason}", hint)
    return found[0](place, device)
