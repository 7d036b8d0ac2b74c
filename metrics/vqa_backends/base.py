"""The base of VQA backends, and the one that reads a checkpoint."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import NotHereError, UserError
from common.plugins import Plugin, discover
from metrics.transformers_checkpoints import FULL, architecture

GROUPS = ("reusebench.vqa_backends", "reusebench.answerers")  # the second is what it was called before
IN_PROCESS = "hf"


class VqaBackend(Plugin, ABC):
    """A kind of model that answers questions about pictures. Nothing is loaded before the first `check` or `scores`.

    A checkpoint is written ``<scheme>:<place>``; without a scheme it is a transformers model, as with ``hf:``.

    Attributes:
        scheme: of the checkpoints that it reads.
        dtypes: of weights that it can compute with.
        dtype: of the weights, one of them.
        cuts: whether it can tell how much of a prompt it reads, for `fitting`.
    """

    scheme: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]] = ()
    dtype: str = FULL
    cuts: ClassVar[bool] = False

    def __init__(self, place: str, device: str) -> None:
        self.place, self.device = place, device

    @classmethod
    def reads(cls, place: str) -> bool:
        """Return true if it reads this checkpoint of its scheme.

        Raises:
            UserError: the checkpoint cannot be had.
        """
        return True

    @abstractmethod
    def check(self, prompts: Sequence[str]) -> None:
        """Refuse now, before images are made, whatever `scores` would refuse afterwards.

        Raises:
            UserError: the checkpoint cannot be loaded, or a prompt cannot be asked about.
        """

    @abstractmethod
    def scores(self, images: Sequence[Path], prompts: Sequence[str], batch_size: int) -> NDArray[np.float64]:
        """Return P("yes" | picture, question about the prompt), float64 [N], 0 to 1; higher is better.

        Args:
            images: picture files [N].
            prompts: the prompt of each [N].
            batch_size: pictures asked about at once; it does not change their scores.

        Raises:
            UserError: a picture is missing or damaged, or as in `check`.
            MemoryError, RuntimeError: so many pictures do not fit.
        """

    def fitting(self, prompts: Sequence[str]) -> list[str]:
        """Return the prompts [N], those that are too long to ask about cut to their beginnings; where it `cuts`.

        Raises:
            UserError: the checkpoint cannot be loaded.
        """
        raise NotImplementedError

    def check_answers(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        """Refuse now whatever `answers` would refuse afterwards; a kind that takes whole prompts alone always does.

        Raises:
            UserError: as in `check`.
        """
        hint = "ask a model of transformers: see `bench vqa-backends list`"
        raise UserError(f"{self.scheme}:{self.place} answers about whole prompts alone, not any question", hint)

    def answers(
        self, images: Sequence[Path], questions: Sequence[str], answers: Sequence[str], batch_size: int
    ) -> NDArray[np.float64]:
        """Return P(answer | picture, question), float64 [N], 0 to 1: the product over the answer's tokens, without end.

        Args:
            images: picture files [N].
            questions: one about each [N], asked as it is.
            answers: the answer whose probability is meant [N].
            batch_size: pictures asked about at once; it does not change the result.

        Raises:
            UserError, MemoryError, RuntimeError: as in `scores`.
        """
        self.check_answers(questions, answers)
        raise NotImplementedError

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return all that decides the scores: hash, question, answer, settings, packages.

        Raises:
            UserError: the checkpoint cannot be had.
        """


def vqa_backends() -> dict[str, type[VqaBackend]]:
    """Return every kind by name: those of this package and those of installed plug-ins.

    Examples:
        >>> sorted({"blip", "image-text", "t2v"} & set(vqa_backends()))
        ['blip', 'image-text', 't2v']
    """
    return discover("metrics.vqa_backends", VqaBackend, GROUPS)  # type: ignore[type-abstract]


def vqa_backend(checkpoint: str, device: str, dtype: str = FULL) -> VqaBackend:
    """Return the backend that reads `checkpoint`.

    Args:
        checkpoint: ``<scheme>:<place>``, or a place alone, which is a folder or hub id of transformers.
        device: a torch device.
        dtype: of the weights.

    Raises:
        UserError: the checkpoint cannot be had, no kind reads it, or the kind cannot run here, or not in this dtype.

    Examples:
        >>> try:
        ...     vqa_backend("hf:no-such-folder", "cpu")
        ... except UserError as error:
        ...     print(error.message)
        there is no scorer folder no-such-folder
    """
    kinds = vqa_backends()
    scheme, colon, place = checkpoint.partition(":")
    if not colon or scheme not in {kind.scheme for kind in kinds.values()}:
        scheme, place = IN_PROCESS, checkpoint
    reading = [kind for kind in kinds.values() if kind.scheme == scheme and kind.reads(place)]
    if not reading:
        model = f"a {architecture(place)}" if scheme == IN_PROCESS else checkpoint
        raise UserError(f"VQAScore does not know how to ask {model}", "see what it can: bench vqa-backends list")
    if len(reading) > 1:
        names = " and ".join(kind.name for kind in reading)
        raise UserError(f"{checkpoint} is read by {names}", "uninstall the plug-in that should not read it")
    if reason := reading[0].unavailable():
        hint = "or score by other metrics, for example with --metric clip_diversity"
        raise NotHereError(f"VQAScore cannot ask {checkpoint} here: {reason}", hint)
    backend = reading[0](place, device)
    if dtype != FULL:
        if dtype not in backend.dtypes:
            raise UserError(f"{checkpoint} is scored in its own dtype, not in {dtype}", "leave dtype out")
        backend.dtype = dtype
    return backend
