"""The mean, as in the paper."""

from torch import Tensor

from generators.combiners.summing import Summing


class Mean(Summing):
    """The mean of the prompts' conditioning.

    Accumulated in double precision and rounded once: summing in float32 would make a cluster's
    conditioning depend on the order of its prompts.

    Examples:
        >>> import torch
        >>> Mean().node({"pooled": torch.tensor([[1.0], [3.0]])})["pooled"].tolist()
        [2.0]
    """

    name = "mean"

    def terms(self, rows: Tensor) -> tuple[Tensor, ...]:
        return (rows.double(),)

    def of_means(self, *means: Tensor) -> Tensor:
        return means[0]
