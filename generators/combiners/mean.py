"""The mean, as in the paper."""

import torch
from torch import Tensor

from generators.combiners.base import Combiner


class Mean(Combiner):
    """The mean of the prompts' conditioning.

    Accumulated in double precision and rounded once: summing in float32 would make a cluster's
    conditioning depend on the order of its prompts.

    Examples:
        >>> Mean().node({"pooled": torch.tensor([[1.0], [3.0]])})["pooled"].tolist()
        [2.0]
    """

    name = "mean"

    def combine(self, rows: Tensor) -> Tensor:
        return rows.mean(dim=0, dtype=torch.float64).to(rows.dtype)
