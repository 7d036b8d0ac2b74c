"""The mean, as long as what it is the mean of."""

import torch
from torch import Tensor

from generators.combiners.summing import Summing

# A mean shorter than this share of its prompts' length has lost its direction to rounding.
SHORTEST = 1e-6


class RestoredMean(Summing):
    """The mean's direction at the mean length of the prompts' vectors: means of unlike vectors are short.

    Vectors lie along the last axis: an embedding is one, a sequence of text states one a position. Vectors that cancel
    out have no mean direction, and their mean is left as it is. In double precision, rounded once.

    Examples:
        >>> RestoredMean().combine(torch.tensor([[3.0, 4.0], [5.0, 0.0]])).norm().round(decimals=4).item()
        5.0
    """

    name = "restored-mean"

    def terms(self, rows: Tensor) -> tuple[Tensor, ...]:
        exact = rows.double()
        return (exact,) if rows.dim() < 2 else (exact, exact.norm(dim=-1))

    def mean(self, term: Tensor) -> Tensor:
        share = torch.full((len(term),), 1 / len(term), dtype=torch.float64)
        return torch.einsum("m,m...->...", share, term)

    def of_means(self, *means: Tensor) -> Tensor:
        mean, *lengths = means
        if not lengths:
            return mean
        short, length = mean.norm(dim=-1), lengths[0]
        scale = torch.where(short > SHORTEST * length, length / short, 1.0)
        return mean * scale[..., None]
