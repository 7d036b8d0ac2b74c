"""A CUDA device that computes on the CPU and has CUDA's rules: which tensors may meet, and how many bytes there are.

It shows on any machine where tensors are, when weights come and go, and what happens where memory ends. It has no
kernels: neither speed nor the last bits of a real card can be seen on it.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from weakref import ReferenceType, WeakValueDictionary, ref

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda:0")
NAME = "Simulated card"
GIB = 2**30

aten = torch.ops.aten
# Their first argument says where the result is, the others may be elsewhere.
COPIES = {aten.copy_.default, aten.copy.default, aten.set_.source_Tensor}
INDEXING = {
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
APART = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"


class Card:
    """The memory of the simulated device.

    Attributes:
        total: bytes that there are.
        others: bytes of them that somebody else's process has.
        live: bytes of this process's tensors.
        peak: the most bytes that were live at once since the last reset.
        float64: whether it has double precision; Apple's devices do not.
        generators: those that draw there.
    """

    def __init__(self, total: int, others: int, *, float64: bool) -> None:
        self.total, self.others, self.float64 = total, others, float64
        self.live = self.peak = 0
        self.generators: set[int] = set()
        self._held: WeakValueDictionary[int, _Held] = WeakValueDictionary()
        self._brought: dict[int, tuple[ReferenceType[Tensor], ReferenceType[Tensor]]] = {}

    def wrapped(self, tensor: Tensor) -> "CardTensor":
        """Return a CPU tensor as one of this device.

        Raises:
            torch.OutOfMemoryError: its storage is new, and does not fit.
        """
        storage = tensor.untyped_storage()
        held = self._held.get(storage._cdata)
        if held is None:
            size = storage.nbytes()
            if self.live + self.others + size > self.total:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size / GIB:.2f} GiB.")
            held = self._held[storage._cdata] = _Held(self, size)
        return CardTensor.of(tensor, held)

    def run(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator on the CPU and return its results where the device would have them."""
        there = self._checked(function, args, kwargs)
        device = kwargs.get("device")
        if device is not None:
            there = torch.device(device).type == "cuda"
            generator = kwargs.get("generator")
            if generator is not None and there != (generator._cdata in self.generators):
                raise RuntimeError(f"Expected a {device} device type for generator but found {generator.device}")
            kwargs = {**kwargs, "device": torch.device("cpu")} if there else kwargs
        elif function in COPIES or function is aten._to_copy.default:
            there = isinstance(args[0], CardTensor)
        self._refuse_double(function, args, kwargs, there)
        if function is aten._to_copy.default and there and isinstance(args[0], torch.nn.Parameter):
            return self._shared(args, kwargs)
        own: dict[int, CardTensor] = {}  # an operator that works in place returns what it was given

        def inner(value: Any) -> Any:
            if isinstance(value, CardTensor):
                own[id(value.inner)] = value
                return value.inner
            return value

        def outer(value: Any) -> Any:
            if not isinstance(value, Tensor) or isinstance(value, CardTensor) or not there:
                return value
            known = own.get(id(value))
            return self.wrapped(value) if known is None else known

        args, kwargs = tree_map(inner, (args, kwargs))
        return tree_map(outer, function(*args, **kwargs))

    def _shared(self, args: Any, kwargs: dict[str, Any]) -> "CardTensor":
        """Return a parameter on the device: once, if modules share it, as it is where parameters are moved in place."""
        parameter = args[0].inner if isinstance(args[0], CardTensor) else args[0]
        source, inner = (known() for known in self._brought.get(id(parameter), (lambda: None, lambda: None)))
        if source is not parameter or inner is None or inner.dtype != kwargs.get("dtype", inner.dtype):
            inner = aten._to_copy.default(parameter, **kwargs)
            self._brought[id(parameter)] = ref(parameter), ref(inner)
        return self.wrapped(inner)

    def _checked(self, function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        """Return whether an operator runs on the device; raise what CUDA raises where its tensors are not together."""
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        here, there = ([t for t in tensors if isinstance(t, CardTensor) is on] for on in (False, True))
        if not there or function in COPIES or function is aten._to_copy.default:
            return bool(there)
        if function in INDEXING:
            if not isinstance(args[0], CardTensor) and any(t.ndim for t in there):
                raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            return isinstance(args[0], CardTensor)
        # a number may be anywhere
        numbers_apart = (here and any(t.ndim for t in here)) or function in (aten.cat.default, aten.stack.default)
        if here and numbers_apart:
            raise RuntimeError(f"{APART} ({function}, {[tuple(t.shape) for t in tensors]})")
        return True

    def _refuse_double(self, function: Any, args: Any, kwargs: dict[str, Any], there: bool) -> None:
        if self.float64 or not there:
            return
        kept = function is aten._to_copy.default and kwargs.get("dtype") is None and args[0].dtype == torch.float64
        if kwargs.get("dtype") == torch.float64 or kept:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype, which the framework doesn't support.")


class _Held:
    """The bytes of a storage, held by every tensor that looks at it."""

    def __init__(self, card: Card, size: int) -> None:
        self._card, self._size = card, size
        card.live += size
        card.peak = max(card.peak, card.live)

    def __del__(self) -> None:
        self._card.live -= self._size


class CardTensor(Tensor):
    """A tensor that says it is on the device, and the CPU tensor inside it."""

    inner: Tensor
    held: _Held

    @staticmethod
    def __new__(cls, value: Tensor, requires_grad: bool = False) -> Any:
        """Return a parameter, wherever the value is: accelerate makes new parameters by the class of the old one."""
        return torch.nn.Parameter(value, requires_grad)

    @classmethod
    def of(cls, inner: Tensor, held: _Held) -> "CardTensor":
        """Return the tensor on the device; `held` are the bytes of its storage."""
        made: CardTensor = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
        )
        made.inner, made.held = inner, held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"CardTensor({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        card = next(value.held._card for value in tree_leaves((args, kwargs)) if isinstance(value, CardTensor))
        return card.run(func, args, kwargs or {})


@contextmanager
def simulated_card(gib: float = 80, others_gib: float = 0, *, float64: bool = True) -> Iterator[Card]:
    """Let this process have a CUDA device while the block runs.

    Args:
        gib: of its memory.
        others_gib: of it that another process has.
        float64: whether it has double precision.
    """
    card = Card(int(gib * GIB), int(others_gib * GIB), float64=float64)

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return card.run(func, args, dict(kwargs or {}))

    attention = torch.nn.functional.scaled_dot_product_attention

    class Fused(TorchFunctionMode):
        """Attention in one kernel, as CUDA has it: a device that PyTorch does not know would hold all scores."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is not attention or not card._checked(func, args, kwargs):
                return func(*args, **kwargs)
            args, kwargs = tree_map(lambda value: getattr(value, "inner", value), (args, kwargs))
            return card.wrapped(func(*args, **kwargs))

    torch._C._ensureCUDADeviceGuardSet()
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    _forget()
    gc.freeze()  # memory is given back by collecting garbage, which takes a second with all that was imported
    try:
        with pytest.MonkeyPatch.context() as patch, Mode(), Fused():  # type: ignore[no-untyped-call]
            for name, value in _answers(card).items():
                patch.setattr(torch.cuda, name, value)
            if not float64:
                _know_apple(patch)
            patch.setattr(torch, "Generator", _generator(card))
            yield card
    finally:
        gc.unfreeze()
        _forget()
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def _answers(card: Card) -> dict[str, Callable[..., Any]]:
    """Return what `torch.cuda` says and does, by the function's name."""

    def reset(device: Any = None) -> None:
        card.peak = card.live

    about = SimpleNamespace(name=NAME, total_memory=card.total, major=9, minor=0)
    return {
        "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "empty_cache": lambda: None,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: NAME,
        "get_device_properties": lambda device=None: about,
        "ipc_collect": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "max_memory_allocated": lambda device=None: card.peak,
        "mem_get_info": lambda device=None: (card.total - card.others - card.live, card.total),
        "memory_allocated": lambda device=None: card.live,
        "memory_reserved": lambda device=None: card.live,
        "reset_peak_memory_stats": reset,
        "set_device": lambda device: None,
        "synchronize": lambda device=None: None,
    }


def _generator(card: Card) -> type[torch.Generator]:
    """Return `torch.Generator` with the device among those that it knows."""
    own = torch.Generator

    class Generator(own):  # type: ignore[misc, valid-type]
        def __new__(cls, device: Any = "cpu") -> Any:
            if torch.device(device).type != "cuda":
                return own(device)
            made = own.__new__(cls, "cpu")
            card.generators.add(made._cdata)
            return made

        def __init__(self, device: Any = "cpu") -> None:
            pass

        @property
        def device(self) -> torch.device:
            return DEVICE

    return Generator


def _know_apple(patch: pytest.MonkeyPatch) -> None:
    """Have diffusers take the device for one of Apple's, which it knows by a name that a CPU build cannot give."""
    name = "maybe_adjust_dtype_for_device"
    for module in [module for key, module in sys.modules.items() if key.startswith("diffusers.")]:
        if name in vars(module):
            patch.setattr(module, name, lambda dtype, device: torch.float32 if dtype == torch.float64 else dtype)


def _forget() -> None:
    """Forget what processes remember of a device: another card has its own."""
    from generators import sampler
    from generators.families import described

    sampler.LEARNED.clear()
    described._described.cache_clear()
