"""What a stock pipeline's `encode_prompt` returns, taken apart into rows of conditioning and put together again.

It may be called several times (for prompts, then for negative prompts) and return tensors whose prompts lie along any
axis, lists of one tensor a prompt, masks, lengths, ids that belong to no prompt, or nothing. What is what is learned
from three calls (`learned`) and written in the names of the conditioning's tensors, so that whoever reads them later
needs no text encoder.
"""

from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from generators.combiners.base import MASK

PROBE_COUNTS = (2, 3)
SHORT = "a fox"
LONG = "a photograph of a red fox asleep in the snow under three old trees by a frozen lake on a quiet winter morning"
PROBES = ([SHORT] * 2, [SHORT] * 3, [SHORT, LONG])

# ROWS: a tensor with one row a prompt; LIST: a list of one tensor a prompt; SHARED: a tensor that belongs to no prompt;
# CONSTANT: no tensor. MASK_OF and LENGTHS_OF belong to the sequence before them, and are kept as its mask.
ROWS, LIST, SHARED, CONSTANT, MASK_OF, LENGTHS_OF = "rows", "list", "shared", "constant", "mask", "lengths"
# What is kept beside the leaves, of which no pipeline is told: see `heard`.
POOLED, TOKENS = "pooled", "token_mask"
ALONE = -1  # the place of what is returned by itself, and not in a tuple


@dataclass(frozen=True)
class Leaf:
    """One thing that is returned.

    Attributes:
        call: of `encode_prompt`, from 0.
        place: in the tuple that the call returns, or `ALONE`.
        form: one of those above.
        axis: along which the prompts lie.
        dtype: of the tensor; of a constant, its literal.
        ragged: whether its length follows that of the prompts, whose positions are its first axis beside the prompts'.
        left: whether short prompts are padded in front: kept back to front, so that padding is behind.
        mask: what is returned of its mask: nothing, `MASK_OF`, or `LENGTHS_OF`.
        mask_place, mask_dtype: likewise.
        mask_may_lack: whether None is returned for a mask that holds everywhere.
    """

    call: int
    place: int
    form: str
    axis: int = 0
    dtype: str = ""
    ragged: bool = False
    left: bool = False
    mask: str = ""
    mask_place: int = ALONE
    mask_dtype: str = ""
    mask_may_lack: bool = False

    @cached_property
    def name(self) -> str:
        """Its name in the conditioning, which says all of it."""
        return "/".join(str(int(value) if isinstance(value, bool) else value) for value in astuple(self))

    @classmethod
    @cache
    def of(cls, name: str) -> "Leaf":
        """Return the leaf of that name.

        Examples:
            >>> leaf = Leaf(0, 1, ROWS, 0, "float32", ragged=True, mask=MASK_OF, mask_place=2, mask_dtype="int64")
            >>> Leaf.of(leaf.name) == leaf
            True
        """
        call, place, form, axis, dtype, ragged, left, mask, mask_place, mask_dtype, may_lack = name.split("/")
        return cls(
            call=int(call),
            place=int(place),
            form=form,
            axis=int(axis),
            dtype=dtype,
            ragged=ragged == "1",
            left=left == "1",
            mask=mask,
            mask_place=int(mask_place),
            mask_dtype=mask_dtype,
            mask_may_lack=may_lack == "1",
        )

    @property
    def masked(self) -> bool:
        """Whether a mask is kept beside it."""
        return bool(self.mask) or self.ragged

    @property
    def alike(self) -> bool:
        """Whether prompts of one batch must be equally long: nothing tells the pipeline where one ends."""
        return self.ragged and self.form == ROWS and not self.mask


def leaves(names: Sequence[str]) -> list[Leaf]:
    """Return the leaves among the names of a conditioning's tensors, of which others have no slashes."""
    return [Leaf.of(name) for name in names if "/" in name and not name.endswith(MASK)]


def learned(probes: Sequence[Sequence[Any]], *, left: bool) -> list[Leaf]:
    """Return what is returned for prompts.

    Args:
        probes: the returns of all calls for each of `PROBES`.
        left: whether the pipeline's tokenizer pads in front.

    Raises:
        UserError: it returns something else, or another number of things for other prompts.
    """
    if len({len(calls) for calls in probes}) != 1:
        raise UserError("its encode_prompt is called more often for some prompts than for others")
    found: list[Leaf] = []
    for call, returns in enumerate(zip(*probes, strict=True)):
        items = [value if isinstance(value, tuple) else (value,) for value in returns]
        if len({len(values) for values in items}) != 1:
            raise UserError("its encode_prompt returns more for some prompts than for others")
        own: list[Leaf] = []
        for number, values in enumerate(zip(*items, strict=True)):
            place = number if isinstance(returns[0], tuple) else ALONE
            leaf = _leaf(call, place, *values)
            if leaf.form in (MASK_OF, LENGTHS_OF):
                own = _with_mask(own, leaf, values[2], [value[2] for value in zip(*items, strict=True)])
            else:
                own.append(replace(leaf, left=left and leaf.ragged and leaf.form == ROWS))
        found += own
    return found


def _leaf(call: int, place: int, two: Any, three: Any, mixed: Any) -> Leaf:
    if isinstance(mixed, Tensor) and (two is None or isinstance(two, Tensor)):
        dtype = str(mixed.dtype).removeprefix("torch.")
        if two is None:  # a mask, of which there is none where it would hold everywhere
            return Leaf(call, place, MASK_OF, 0, dtype, mask_may_lack=True)
        apart = [
            (axis, sizes) for axis, sizes in enumerate(zip(two.shape, three.shape, strict=True)) if len(set(sizes)) > 1
        ]
        if not apart and two.shape == mixed.shape:
            return Leaf(call, place, SHARED, 0, dtype)
        if apart == [(0, (3, 4))] and two.ndim == 1:
            return Leaf(call, place, LENGTHS_OF, 0, dtype)
        if len(apart) == 1 and apart[0][1] == PROBE_COUNTS:
            axis = apart[0][0]
            if axis == 0 and two.ndim == 2 and _holds_or_not(mixed):
                return Leaf(call, place, MASK_OF, 0, dtype)
            return Leaf(call, place, ROWS, axis, dtype, ragged=two.shape != mixed.shape)
    listed = isinstance(two, list) and two and all(isinstance(item, Tensor) for item in two)
    if listed and (len(two), len(three), len(mixed)) == (2, 3, 2):
        return Leaf(call, place, LIST, 0, str(two[0].dtype).removeprefix("torch."), ragged=True)
    literal = repr(two)
    if isinstance(two, bool | int | float | str | list | type(None)) and two == three == mixed and "/" not in literal:
        return Leaf(call, place, CONSTANT, 0, literal)
    raise UserError(f"its encode_prompt returns a {type(two).__name__} whose prompts cannot be told apart")


def _holds_or_not(tensor: Tensor) -> bool:
    """Return whether a tensor [b, L] is a mask: of whole numbers, or of ones and zeros where every prompt has some."""
    flags = (tensor == 0) | (tensor == 1)
    return bool(flags.all()) and (not tensor.is_floating_point() or bool((tensor == 1).any(dim=1).all()))


def _with_mask(own: list[Leaf], mask: Leaf, value: Tensor, values: Sequence[Any]) -> list[Leaf]:
    """Return the leaves of a call with the mask written to the last sequence before it that is as long.

    Where there is none (AuraFlow's mask is as long as all states in a row, and unused), it is kept as any other rows.

    Raises:
        UserError: there is none, and it is None or lengths.
    """
    length = int(value.diff().max()) if mask.form == LENGTHS_OF else value.shape[1]
    for number in reversed(range(len(own))):
        leaf = own[number]
        sequence = values[max(leaf.place, 0)]
        if leaf.form == ROWS and not leaf.axis and not leaf.mask and sequence.ndim > 2 and sequence.shape[1] == length:
            with_mask = replace(
                leaf,
                mask=mask.form,
                mask_place=mask.place,
                mask_dtype=mask.dtype,
                mask_may_lack=mask.mask_may_lack,
            )
            return [*own[:number], with_mask, *own[number + 1 :]]
    if mask.form == LENGTHS_OF or mask.mask_may_lack:
        raise UserError("its encode_prompt returns a mask of nothing that it returns")
    return [*own, replace(mask, form=ROWS)]


def packed(parts: Sequence[Leaf], returns: Sequence[Any], prompts: int) -> dict[str, Tensor]:
    """Return the calls' returns for some prompts as tensors on the CPU, a row a prompt, with masks beside.

    Their names say the dtypes that were returned now, which are those of the text encoders' weights.
    """
    rows: dict[str, Tensor] = {}
    for learned_leaf in parts:
        value = _at(returns[learned_leaf.call], learned_leaf.place)
        leaf = _typed(learned_leaf, value)
        mask = None
        if leaf.form == CONSTANT:
            tensor = torch.zeros(prompts, 1)
        elif leaf.form == SHARED:
            tensor = value.expand(prompts, *value.shape)
        elif leaf.form == LIST:
            tensor = torch.nn.utils.rnn.pad_sequence(value, batch_first=True)
            mask = _up_to(torch.tensor([len(row) for row in value]), tensor.shape[1])
        else:
            tensor = value.movedim(leaf.axis, 0)
            mask = _mask(leaf, returns[leaf.call], tensor) if leaf.masked else None
        if leaf.left:
            tensor, mask = tensor.flip(1), None if mask is None else mask.flip(1)
        rows[leaf.name] = tensor.cpu().contiguous()
        if mask is not None:
            rows[leaf.name + MASK] = mask.cpu().contiguous()
    return rows


def _typed(leaf: Leaf, value: Any) -> Leaf:
    one = value[0] if leaf.form == LIST else value
    return replace(leaf, dtype=str(one.dtype).removeprefix("torch.")) if isinstance(one, Tensor) else leaf


def _mask(leaf: Leaf, returned: Any, rows: Tensor) -> Tensor:
    value = _at(returned, leaf.mask_place) if leaf.mask else None
    if value is None:
        return torch.ones(rows.shape[:2])
    return _up_to(value.diff().cpu(), rows.shape[1]) if leaf.mask == LENGTHS_OF else value


def _up_to(lengths: Tensor, longest: int) -> Tensor:
    """Return the mask [n, longest] of sequences of these lengths."""
    return (torch.arange(longest) < lengths[:, None]).float()


def _at(returned: Any, place: int) -> Any:
    return returned if place == ALONE else returned[place]


def unpacked(rows: Mapping[str, Tensor], device: torch.device) -> list[Any]:
    """Return what the calls would have returned for these rows of conditioning, [b, ...] each."""
    calls: dict[int, dict[int, Any]] = {}
    for leaf in leaves(list(rows)):
        places = calls.setdefault(leaf.call, {})
        tensor, mask = rows[leaf.name], rows.get(leaf.name + MASK)
        if leaf.form == CONSTANT:
            places[leaf.place] = literal_eval(leaf.dtype)
            continue
        dtype = getattr(torch, leaf.dtype)
        if leaf.ragged and mask is not None:
            longest = max(1, int(mask.any(dim=0).nonzero().max()) + 1)
            tensor, mask = tensor[:, :longest], mask[:, :longest]
        if leaf.left:
            tensor, mask = tensor.flip(1), None if mask is None else mask.flip(1)
        if leaf.form == SHARED:
            places[leaf.place] = tensor[0].to(device, dtype)
        elif leaf.form == LIST and mask is not None:
            lengths = mask.sum(dim=1).int().tolist()
            places[leaf.place] = [row[:length].to(device, dtype) for row, length in zip(tensor, lengths, strict=True)]
        else:
            places[leaf.place] = tensor.movedim(0, leaf.axis).to(device, dtype).contiguous()
        if leaf.mask and mask is not None:
            places[leaf.mask_place] = _returned_mask(leaf, mask, device)
    return [
        places[ALONE] if ALONE in places else tuple(places[place] for place in range(len(places)))
        for _, places in sorted(calls.items())
    ]


def _returned_mask(leaf: Leaf, mask: Tensor, device: torch.device) -> Tensor | None:
    dtype = getattr(torch, leaf.mask_dtype)
    if leaf.mask == LENGTHS_OF:
        lengths = mask.sum(dim=1).int()
        return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(device, dtype)
    return None if leaf.mask_may_lack and bool((mask == 1).all()) else mask.to(device, dtype)


def batches_of(rows: Mapping[str, Tensor], count: int, most: int | None = None) -> list[Tensor]:
    """Return the places of rows that can be in one batch, int64 [n] each: those whose prompts are equally long.

    Where a mask or a list tells a pipeline where a prompt ends, all can; no batch has more than `most` rows.
    """
    masks = [rows[leaf.name + MASK] for leaf in leaves(list(rows)) if leaf.alike]
    groups = [torch.arange(count)]
    if masks:
        lengths = torch.stack([mask.sum(dim=1) for mask in masks], dim=1)
        groups = [(lengths == kind).all(dim=1).nonzero().flatten() for kind in torch.unique(lengths, dim=0)]
    return [part for group in groups for part in torch.split(group, most or count)]


def pooled_leaf(shapes: Mapping[str, Sequence[int]]) -> Leaf | None:
    """Return the first call's pooled vector, of tensors whose rows have these shapes; None where there is none."""
    vectors = (leaf for leaf in _of_prompts(shapes) if len(shapes[leaf.name]) == 1)
    return next((leaf for leaf in vectors if leaf.dtype.startswith(("float", "bfloat"))), None)


def states_leaf(shapes: Mapping[str, Sequence[int]]) -> Leaf:
    """Return the first call's first sequence of states, of tensors whose rows have these shapes."""
    return next(leaf for leaf in _of_prompts(shapes) if len(shapes[leaf.name]) > 1)


def _of_prompts(names: Iterable[str]) -> list[Leaf]:
    return [leaf for leaf in leaves(list(names)) if leaf.call == 0 and leaf.form in (ROWS, LIST)]


def features(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], *, pooled: bool, flattened: bool = False
) -> NDArray[np.float64]:
    """Return one vector a prompt, float64 [N, D], of what the first call returns.

    Args:
        tensors: of the conditioning, of which no more is asked for than is needed; `POOLED` and `TOKENS` stand in where
            a pooled vector or a mask is not returned.
        shapes: of one row of each.
        pooled: the pooled vector, where there is one.
        flattened: all of the first sequence in one row, where none is asked for.
    """
    vector = pooled_leaf(shapes)
    if pooled and (vector or POOLED in tensors):
        return tensors[vector.name if vector else POOLED].double().numpy()
    sequence = states_leaf(shapes)
    states = tensors[sequence.name].double()
    if flattened:
        return states.flatten(1).numpy()
    mask = tensors.get(sequence.name + MASK, tensors.get(TOKENS, torch.ones(states.shape[:2]))).double()
    mask = mask.reshape(*mask.shape, *[1] * (states.ndim - 2))
    means: NDArray[np.float64] = ((states * mask).sum(1) / mask.sum(1).clamp(min=1)).flatten(1).numpy()
    return means
