"""Peak memory of a module's intermediate results, followed on shapes alone."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from metrics.flops import Component

if TYPE_CHECKING:
    from torch.nn import Module

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@lru_cache(maxsize=256)
def activations(component: Component, rows: int, dtype: str) -> int:
    """Return the bytes of all tensors alive at the worst moment of one call, its inputs included, its weights not.

    The call runs on the meta device, where every operator's results are followed from birth to death. Attention counts
    as PyTorch's fused kernels compute it, which keep no scores. What a kernel needs inside itself is not seen.

    Args:
        component: built and called as it describes itself.
        rows: of the call; inputs of one row are repeated.
        dtype: ``fp32``, ``fp16`` or ``bf16``, of weights and inputs.

    Raises:
        NotImplementedError: the module cannot run on shapes alone.

    Examples:
        >>> from torch import nn, zeros
        >>> class Linear:
        ...     name, phase, unit, calls, together = "denoiser", "denoise", "node_step", 2, 2
        ...     build = staticmethod(lambda: nn.Linear(3, 5, bias=False))
        ...     inputs = staticmethod(lambda module: ((zeros(1, 3),), {}))
        >>> activations(Linear(), rows=2, dtype="fp32")  # two rows of 3 numbers in, 5 out, 4 bytes each
        64
    """
    import torch

    kind = getattr(torch, DTYPES[dtype])

    def grown(value: Any) -> Any:
        """Return a call's arguments at batch 1 with `rows` rows; a tensor that is not one row, say a time, stays."""
        if isinstance(value, torch.Tensor):
            value = value.to(kind) if value.is_floating_point() else value
            return value.repeat(rows, *[1] * (value.ndim - 1)) if value.ndim and len(value) == 1 else value
        if isinstance(value, Mapping):
            return {name: grown(item) for name, item in value.items()}
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], torch.Tensor) and len(value[0]) > 1:
            return [grown(value[0]).clone() for _ in range(rows)]  # a tensor a row
        return type(value)(grown(item) for item in value) if isinstance(value, list | tuple) else value

    with torch.device("meta"), torch.no_grad():
        module = component.build().eval()
        torch.nn.Module.to(module, kind)  # diffusers' own warns of types that are kept
        fused(module)
        args, kwargs = (grown(part) for part in component.inputs(module))
        return _peak(module, lambda: module(*args, **kwargs), (*args, *kwargs.values()))


def _peak(module: "Module", call: Callable[[], object], inputs: Sequence[Any]) -> int:
    """Return the most bytes of storages that are alive at once while `call` runs; the module's weights do not count."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    known: set[int] = set()
    live = most = 0

    def freed(storage: int, size: int) -> None:
        nonlocal live
        live -= size
        known.discard(storage)

    def count_storages(values: Any, *, counted: bool = True) -> None:
        nonlocal live, most
        for value in tree_leaves(values):
            if not isinstance(value, torch.Tensor):
                continue
            storage = value.untyped_storage()
            if storage._cdata in known:  # a view, or a result that was written in place
                continue
            known.add(storage._cdata)
            if counted:
                size = storage.nbytes()
                live += size
                most = max(most, live)
                weakref.finalize(storage, freed, storage._cdata, size)

    class Followed(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            count_storages(result)
            return result

    class Fused(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # on the meta device it would run as plain matrix products, and their scores would be counted
            if func is torch.nn.functional.scaled_dot_product_attention:
                query, _, value = (*args, *(kwargs or {}).values())[:3]
                return query.new_empty(*query.shape[:-1], value.shape[-1])
            return func(*args, **(kwargs or {}))

    count_storages([*module.parameters(), *module.buffers()], counted=False)
    count_storages(inputs)
    with Followed(), Fused():  # type: ignore[no-untyped-call]
        call()
    return most


def fused(module: "Module") -> "Module":
    """Return a module, its attention in the form that runs, where a component is described with its plain one.

    FLOPs can be counted of the plain one alone.

    Attention that is a model's own stays, and so does that of which there is a plain form only.
    """
    from diffusers.models.attention_processor import (
        Attention,
        AttnAddedKVProcessor,
        AttnAddedKVProcessor2_0,
        AttnProcessor,
        AttnProcessor2_0,
    )

    faster = {AttnProcessor: AttnProcessor2_0, AttnAddedKVProcessor: AttnAddedKVProcessor2_0}
    for layer in module.modules():
        if isinstance(layer, Attention) and (kind := faster.get(type(layer.processor))):
            layer.set_processor(kind())
    if adopt := getattr(module, "set_attn_implementation", None):
        with suppress(ValueError):  # a Gemma 2, say, whose scores are bounded
            adopt("sdpa")
    return module
