"""Numbers that have overflowed: looked for in every batch, so that nothing is done whose pictures are none."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from generators.conditioning import Conditioning
from generators.prompts import short

HINTS = {
    "fp16": "use --dtype bf16 or fp32",
    "bf16": "use --dtype fp32; if it overflows there too, lower --guidance, or fetch the weights again",
    "fp32": "lower --guidance, or fetch the weights again: some of them may be damaged",
}


class NotFiniteError(FloatingPointError):
    """Some rows of a batch are no numbers.

    Attributes:
        rows: which, bool [b].
    """

    def __init__(self, rows: NDArray[np.bool_]) -> None:
        super().__init__(f"{np.count_nonzero(rows)} of {len(rows)} pictures' values are no numbers")
        self.rows = rows


def within(values: Tensor) -> Tensor:
    """Return which rows of values [b, ...] hold numbers that can be computed with, bool [b], on their device.

    Those are rows whose norm is finite in float32: no NaN, no infinity, and nothing whose square is one, as where
    guidance is 1e38. It is one reduction, and waits for nothing.

    Examples:
        >>> within(torch.tensor([[1.0, -2.0], [0.0, float("nan")], [float("-inf"), 0.0], [1e38, 0.0]])).tolist()
        [True, False, False, False]
    """
    values = values.float() if values.dtype == torch.float64 else values
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1, dtype=torch.float32)
    return norms.isfinite()


def refuse_overflow(held: Tensor) -> None:
    """Raise a `NotFiniteError` for the rows where `held`, bool [b], is False."""
    rows = ~held.cpu().numpy()
    if rows.any():
        raise NotFiniteError(rows)


def overflow_error(model: str, dtype: str, where: Mapping[int, str], prompts: Sequence[str] | None = None) -> UserError:
    """Return the error of pictures that are none.

    Args:
        model: its name.
        dtype: of its weights, as the setting has it.
        where: by the number of the prompt, where it was first seen, such as ``"at step 3 of 25"``; at least one.
        prompts: all texts, N.

    Examples:
        >>> print(overflow_error("sd15", "fp16", {1: "at step 3 of 25", 2: "in decoding"}, ["a cat", "a fox", "a dog"]))
        numbers of sd15 overflow in fp16 at step 3 of 25: no picture of prompt 2 ('a fox'), nor of 1 other \
(use --dtype bf16 or fp32)
    """
    first, others = min(where), len(where) - 1
    text = f" ({short(prompts[first])!r})" if prompts is not None else ""
    more = f", nor of {others} other{'s' if others > 1 else ''}" if others else ""
    what = f"no picture of prompt {first + 1}{text}{more}"
    return UserError(f"numbers of {model} overflow in {dtype} {where[first]}: {what}", HINTS.get(dtype))


def check_conditioning(
    conditioning: Conditioning, model: str, dtype: str, prompts: Sequence[str], first: int = 0
) -> None:
    """Refuse prompts whose encodings have overflowed: text encoders' and priors' alike.

    Args:
        conditioning: of some prompts, one behind the other.
        model: its name.
        dtype: of its weights, as the setting has it.
        prompts: all texts, N.
        first: the number of the first of these among all.

    Raises:
        UserError: a row is not finite; the prompt and the tensor are named.
    """
    where: dict[int, str] = {}
    for chunk in conditioning.chunks():
        for name, tensor in chunk.items():
            finite = tensor.reshape(len(tensor), -1).isfinite().all(dim=1)  # a mask may hold the most negative number
            for row in torch.nonzero(~finite).flatten().tolist():
                where.setdefault(first + row, f"in encoding ({name})")
        first += chunk.count
    if where:
        raise overflow_error(model, dtype, where, prompts)
