"""Text encoders: their base, and by which names they are found."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.plugins import Plugin, discover, find

PACKAGE, GROUP = "generators.text_encoders", "reusebench.text_encoders"


class TextEncoder(Plugin, ABC):
    """From texts to embeddings, on this machine and without a network. Nothing is loaded before the first `encode`."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text, float32 [N, D]; a row does not depend on the other texts.

        Args:
            texts: N of them, all different.
        """


def encoders() -> dict[str, type[TextEncoder]]:
    """Return every text encoder, by name."""
    return discover(PACKAGE, TextEncoder, GROUP)  # type: ignore[type-abstract]  # the base of what is found


def text_embeddings(name: str, prompts: Sequence[str]) -> NDArray[np.float64]:
    """Return the prompts' embeddings [N, D] by the encoder called `name`; equal prompts have equal rows.

    They stand in for a model's own embeddings, which they are not: see `basis`.

    Raises:
        UserError: there is no such encoder, or it cannot run here.
    """
    kind = find(name, PACKAGE, TextEncoder, GROUP)  # type: ignore[type-abstract]
    if reason := kind.unavailable():
        raise UserError(f"the text encoder {name!r} cannot run here: {reason}", "see `bench encoders list`")
    place = {text: row for row, text in enumerate(dict.fromkeys(prompts))}
    rows = kind().encode(list(place)).astype(np.float64)
    return rows[[place[text] for text in prompts]]


def basis(name: str) -> str:
    """Return the sentence that must stand beside every number that follows from `text_embeddings`."""
    return f"predicted from text embeddings ({name}), not the model's own"
