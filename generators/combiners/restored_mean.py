"""The mean, as long as what it is the mean of."""

import torch
from torch import Tensor

from generators.combiners.base import Combiner

# A mean shorter than this share of its prompts' length has lost its direction to rounding.
SHORTEST = 1e-6


class RestoredMean(Combiner):
    """The mean's direction at the mean length of the prompts' vectors: means of unlike vectors are short.

    Vectors lie along the last axis: an embedding is one, a sequence of text states one a position. Vectors that cancel
    out have no mean direction, and their mean is left as it is. In double precision, rounded once.

    Examples:
        >>> RestoredMean().combine(torch.tensor([[3.0, 4.0], [5.0, 0.0]])).norm().round(decimals=4).item()
        5.0
    """

    name = "restored-mean"

    def combine(self, rows: Tensor) -> Tensor:
        exact = rows.double()
        share = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
        mean = torch.einsum("m,m...->...", share, exact)
        if rows.dim() < 2:
            return mean.to(rows.dtype)
        length = torch.einsum("m,m...->...", share, exact.norm(dim=-1))
        short = mean.norm(dim=-1)
        scale = torch.where(short > SHORTEST * length, length / short, 1.0)
        return (mean * scale[..., None]).to(rows.dtype)
