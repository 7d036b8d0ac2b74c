"""What is drawn at once: on a CPU the numbers do not tell, as it draws the same ones in any batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch


@contextmanager
def drawn_shapes() -> Iterator[list[tuple[int, ...]]]:
    """Yield the list of the shapes that `torch.randn` draws within."""
    shapes: list[tuple[int, ...]] = []
    randn = torch.randn

    def recorded(*size: Any, **how: Any) -> torch.Tensor:
        drawn = randn(*size, **how)
        shapes.append(tuple(drawn.shape))
        return drawn

    with patch.object(torch, "randn", recorded):
        yield shapes
