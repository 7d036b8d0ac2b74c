"""Modules that are their configuration alone: a pipeline of them runs without weights, and answers with zeros.

Shapes are computed on the meta device by a module of the same class. So a pipeline's own code can be asked, on any
machine, for the form of what it encodes, its latents, its timesteps, and the calls of its modules.
"""

import inspect
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from generators.checkpoints import load_config, load_index, packaged
from generators.families.modular import REWRITING
from generators.families.word_tokenizer import word_tokenizer

# What no call computes with that begins with a text as it is and ends with a picture that nobody judges.
UNUSED = ("safety_checker", "image_encoder", "feature_extractor", *REWRITING)


class Call(NamedTuple):
    """A call of a module.

    Attributes:
        name: of the module, in its pipeline.
        method: ``forward``, or ``decode``.
        args, kwargs: with tensors on the meta device.
    """

    name: str
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Shells:
    """The modules of a pipeline, from its configurations.

    Args:
        source: a folder or hub id.
        borrowed: by a component's name, the folder that it is taken from instead.

    Attributes:
        names: of the modules.
        without: None for each component that a pipeline is loaded without, by name.
        packaged: whether a public model's configurations in this package are all that is here.
        calls: of all of them, in order.
        running: the module that was called last.
    """

    def __init__(self, source: str, borrowed: dict[str, str]) -> None:
        self._source, self._borrowed = source, borrowed
        self._index = load_index(source)
        self.without = {name: None for name in self._index if name in UNUSED}
        self.packaged = Path(source).is_relative_to(packaged())
        self._classes = {name: kind for name, kind in self._components().items() if issubclass(kind, nn.Module)}
        self.names = sorted(self._classes)
        self.calls: list[Call] = []
        self.running = ""

    def config(self, name: str, filename: str = "config.json") -> dict[str, Any]:
        """Return a component's configuration."""
        place = self._borrowed.get(name)
        return load_config(place, "", filename) if place else load_config(self._source, name, filename)

    def others(self) -> dict[str, Any]:
        """Return what the pipeline of a public model has besides modules, from the configurations in this package.

        That is schedulers, the values in its index, and tokenizers of words; what it can do without is None.
        """
        parts: dict[str, Any] = {
            name: value for name, value in self._index.items() if not (name.startswith("_") or isinstance(value, list))
        }
        for name, kind in self._components().items():
            if "tokenizer" in name:
                parts[name] = word_tokenizer(self.config(name, "tokenizer_config.json"))
            elif name.endswith("scheduler"):
                parts[name] = kind.from_config(self.config(name, "scheduler_config.json"))
            elif name not in self.names:
                parts[name] = None
        return {**parts, **self.without}

    def _components(self) -> dict[str, Any]:
        """Return the classes of the components that the pipeline's index names."""
        known = {name: value for name, value in self._index.items() if name not in UNUSED}
        pairs = {name: value for name, value in known.items() if isinstance(value, list) and len(value) == 2}
        return {name: kind for name, value in pairs.items() if (kind := _class(*value))}

    def build(self, name: str) -> nn.Module:
        """Return a module of that configuration, its weights as the device in force makes them.

        A FLOP counter sees its attention on the meta device, where fused kernels are matrix products.
        """
        kind, config = self._classes[name], self.config(name)
        if hasattr(kind, "from_config") and not hasattr(kind, "config_class"):
            from_config: nn.Module = kind.from_config(config).eval()
            return from_config
        config = {
            key: value for key, value in config.items() if key not in ("attn_implementation", "dtype", "torch_dtype")
        }
        settings = kind.config_class(**config, attn_implementation="eager")
        if kind.__name__ == "T5GemmaEncoder":  # PRX's, which diffusers gives the encoder's half
            settings = settings.encoder
        module: nn.Module = kind(settings).eval()
        return module

    def called(self, name: str, method: str) -> nn.Module:
        """Return a module as `build` does whose forward is that method, and which runs on the meta device.

        There are no values there, and modules ask for some. Whole numbers that they have written down themselves are
        known. Text encoders look whether their mask holds everywhere: it does not, they are told, and no shape follows
        it. A mixture of experts looks how many rows each gets: one gets all, which costs what it would cost several.
        """
        module = self.build(name)
        own = getattr(module, method)

        def forward(*args: Any, **kwargs: Any) -> Any:
            known = WeakTensorKeyDictionary()
            with _Written(known), _Asked(known), warnings.catch_warnings():  # type: ignore[no-untyped-call]
                warnings.simplefilter("ignore", UserWarning)  # of kernels that are slow: nothing is computed here
                return own(*args, **kwargs)

        module.forward = forward
        return module

    def shell(self, name: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return a module without weights that says it is on this device and in this dtype."""
        with torch.device("meta"):
            module = self.build(name)
        for part in module.modules():
            part._parameters = {}
            part._buffers = {key: _zeros(value, device) for key, value in part._buffers.items() if value is not None}
        kind = type(module)
        answering = _Answering(self, name, device, dtype)
        members: dict[str, Any] = {
            "device": property(lambda _: device),
            "dtype": property(lambda _: dtype),
            "forward": answering.method("forward", kind),
            "__module__": kind.__module__,
        }
        if hasattr(kind, "decode") and hasattr(kind, "encode"):
            members["decode"] = answering.method("decode", kind)
        module.__class__ = type(kind.__name__, (kind,), members)
        return module


class _Written(TorchFunctionMode):
    """Keeps the whole numbers that a module writes into tensors on the meta device, on the CPU."""

    def __init__(self, known: WeakTensorKeyDictionary) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.tensor and made.device.type == "meta" and not made.is_floating_point():
            self._known[made] = func(*args, **{**(kwargs or {}), "device": "cpu"})
        return made


class _Asked(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers questions for the value of a tensor on the meta device: as it is known, else with no, or nought."""

    def __init__(self, known: WeakTensorKeyDictionary) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, first = kwargs or {}, args[0] if args else None
        if isinstance(first, Tensor) and first.device.type == "meta":
            if func is torch.ops.aten._local_scalar_dense.default:
                nothing = False if first.dtype == torch.bool else 0
                return self._known[first].item() if first in self._known else nothing
            if func is torch.ops.aten.bincount.default:
                return torch.tensor([first.numel()], device="cpu")
        made = func(*args, **kwargs)
        if not self._known:
            return made
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if given and all(leaf in self._known for leaf in given):  # what follows from what is known is known
            twins = tree_map(lambda leaf: self._known[leaf] if isinstance(leaf, Tensor) else leaf, (args, kwargs))
            for leaf, twin in zip(tree_leaves(made), tree_leaves(func(*twins[0], **twins[1])), strict=True):
                if twin.device.type == "cpu":
                    self._known[leaf] = twin
        return made


class _Answering:
    """Answers the calls of one shell."""

    def __init__(self, shells: Shells, name: str, device: torch.device, dtype: torch.dtype) -> None:
        self._shells, self._name, self._device, self._dtype = shells, name, device, dtype
        self._modules: dict[str, nn.Module] = {}
        self._answers: dict[str, Any] = {}  # on the meta device, by the shapes of a call

    def _inner(self, method: str) -> nn.Module:
        """Return the module that computes shapes, as it is called by that method."""
        if method not in self._modules:
            with torch.device("meta"):
                self._modules[method] = self._shells.called(self._name, method)
        return self._modules[method]

    def method(self, name: str, kind: type) -> Callable[..., Any]:
        """Return the method of that name with the parameters that the module's class gives it, which some ask for."""

        def answer(_: nn.Module, *args: Any, **kwargs: Any) -> Any:
            args, kwargs = tree_map(_on_meta, (args, kwargs))
            self._shells.running = self._name
            self._shells.calls.append(Call(self._name, name, args, kwargs))
            form = repr(
                tree_map(lambda value: value.shape if isinstance(value, Tensor) else value, (name, args, kwargs))
            )
            if form not in self._answers:
                with torch.device("meta"), torch.no_grad():
                    self._answers[form] = self._inner(name)(*args, **kwargs)
            return tree_map(self._answer, self._answers[form])

        answer.__signature__ = inspect.signature(getattr(kind, name))  # type: ignore[attr-defined]
        return answer

    def _answer(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        dtype = self._dtype if value.is_floating_point() else value.dtype
        return torch.zeros((), dtype=dtype, device=self._device).expand(value.shape)


def _on_meta(value: Any) -> Any:
    """Return a tensor of that shape on the meta device, in single precision if it is no whole number."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_like(value, device="meta", dtype=torch.float32 if value.is_floating_point() else value.dtype)


def _zeros(value: Tensor, device: torch.device) -> Tensor:
    return torch.zeros(value.shape, dtype=value.dtype, device=device)


def _class(library: str | None, name: str | None) -> Any:
    """Return the class that a pipeline's index names; None where there is none."""
    import diffusers

    if library is None or name is None:
        return None
    module = getattr(diffusers.pipelines, library, None) or import_module(library)
    return getattr(module, name, None)


def one_row(one: Any, two: Any) -> tuple[Any, int]:
    """Return a call's arguments for a single row, and how many rows a prompt has in it.

    Args:
        one, two: its arguments for one prompt and for two: what grows from one to the other belongs to the rows.

    Examples:
        >>> shapes = [{"states": torch.zeros(4, rows, 7), "ids": torch.zeros(7, 3)} for rows in (2, 4)]
        >>> call, rows = one_row(*shapes)
        >>> tuple(call["states"].shape), tuple(call["ids"].shape), rows
        ((4, 1, 7), (7, 3), 2)
    """
    if isinstance(one, Tensor):
        for axis, (size, larger) in enumerate(zip(one.shape, two.shape, strict=True)):
            if size != larger:
                return one.narrow(axis, 0, 1), size
        return one, 1
    if isinstance(one, dict):
        parts = {key: one_row(value, two[key]) for key, value in one.items()}
        return {key: value for key, (value, _) in parts.items()}, max([1, *(rows for _, rows in parts.values())])
    if isinstance(one, list | tuple):
        if len(one) != len(two):
            return one[:1], len(one)
        items = [one_row(*pair) for pair in zip(one, two, strict=True)]
        return type(one)(value for value, _ in items), max([1, *(rows for _, rows in items)])
    return one, 1
