"""Options that make a denoiser faster and change its numbers by rounding only: layout, compiler, bf16, threads.

They are no part of a cell's identity, as its batch size is none; a record says which held.
"""

import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from common.errors import UserError

if TYPE_CHECKING:
    from torch import device as Device
    from torch import dtype as Dtype
    from torch.nn import Module

    from generators.settings import GenerationSettings

SHAPES = 4096  # that one piece of code may be compiled for: blocks x batch sizes; PyTorch gives up at 8
Compilation = Literal["no", "regional", "full"]


@dataclass(frozen=True)
class Within:
    """The distance that an option may move results: |with it - without it| / |without it|, Euclidean, of the worst row.

    Attributes:
        output: of what the denoiser predicts in one call, guided.
        latents: of a whole plan, sampled to the end; guidance makes more of what each step leaves.
    """

    output: float
    latents: float


ROUNDING = Within(output=1e-5, latents=1e-4)  # the order of sums in fp32


class Acceleration(BaseModel):
    """The way in which a denoiser computes.

    Attributes:
        channels_last: convolutions' weights in the memory order that tensor cores want; nothing to do where a model
            has none (FLUX).
        compilation: by `torch.compile`, for fixed shapes: ``regional`` of the blocks that the denoiser repeats, where
            diffusers names them (one compilation serves all of a kind), else ``full``, as of all of it.
        autocast: products of fp32 weights in bf16, sums in fp32; on CPUs by oneDNN. Weights and latents stay fp32,
            unlike with a dtype of bf16, which is another model.
        reuse_unconditional: at a split, where all children have one latent, what is predicted without a prompt is
            predicted once (`generators.row_reuse`).
        threads: of one operation on the CPU, for everything that this process computes; None: PyTorch's choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels_last: Annotated[bool, ROUNDING] = False
    compilation: Annotated[Compilation, ROUNDING] = "no"
    autocast: Annotated[bool, Within(output=0.05, latents=0.5)] = False
    reuse_unconditional: Annotated[bool, ROUNDING] = False
    threads: Annotated[int | None, Field(ge=1), ROUNDING] = None

    @model_serializer(mode="wrap")
    def _as_always(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later and is not on: what was measured and recorded before holds."""
        written: dict[str, Any] = serialise(self)
        return {name: value for name, value in written.items() if name != "reuse_unconditional" or value}

    @classmethod
    def chosen(cls, device: str, **asked: Any) -> Self:
        """Return the options asked for, with this device's defaults where they are None.

        CPU: nothing. There channels-last gains less than a run's noise, compiling takes a minute a shape, and autocast
        moves latents by hundredths, Karlo's by tenths.
        CUDA: channels-last, which tensor cores' convolutions want (PyTorch, "Channels Last Memory Format in PyTorch":
        8% to 35% in half precision; not measured here). No compiling: a minute a shape is lost on short runs.
        """
        defaults = {"channels_last": device.startswith("cuda")}
        return cls(**{**defaults, **{name: value for name, value in asked.items() if value is not None}})

    @classmethod
    def within(cls, name: str) -> Within:
        """Return the distance that the option of that name may move results."""
        return next(entry for entry in cls.model_fields[name].metadata if isinstance(entry, Within))

    @property
    def compiled(self) -> bool:
        """True where every new shape costs a compilation."""
        return self.compilation != "no"

    def begin(self) -> None:
        """Set what concerns the whole process, from now on."""
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)

    def check(self, settings: "GenerationSettings", device: str) -> None:
        """Refuse what these settings or this machine cannot do.

        Raises:
            UserError: what cannot be, and what can.
        """
        if self.compiled and (reason := uncompilable(device)):
            raise UserError(f"--compile {self.compilation} cannot run here: {reason}", "install it, or leave it out")
        if self.autocast and settings.dtype != "fp32":
            raise _no_autocast(settings.dtype)
        if self.compiled and self.reuse_unconditional:
            raise UserError(
                f"--compile {self.compilation} is for fixed shapes, and --reuse-unconditional leaves rows out of calls",
                "use one of them",
            )

    def apply(self, network: "Module | None", device: "Device", dtype: "Dtype", name: str) -> dict[str, Any]:
        """Change a denoiser so that these options hold; to be called once.

        Args:
            name: the model's, for errors.

        Returns:
            The options that hold, by name, for records.

        Raises:
            UserError: what cannot be, and what can.
        """
        import torch

        held: dict[str, Any] = {**self.model_dump(), "threads": torch.get_num_threads()}
        if network is None:
            if self.compiled or self.autocast or self.reuse_unconditional:
                raise _no_network(name)
            return held | {"channels_last": False}
        held["channels_last"] = self.channels_last and _has_convolutions(network)
        if held["channels_last"]:
            network.to(memory_format=torch.channels_last)
        if self.autocast:
            if dtype != torch.float32:
                raise _no_autocast(str(dtype).removeprefix("torch."))
            network.forward = _in_bf16(network.forward, device.type)  # type: ignore[method-assign]
        if self.compiled:
            held["compilation"] = _compile(network, self.compilation)
        return held


def uncompilable(device: str) -> str | None:
    """Return what `torch.compile` lacks for this device; None where it can run."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"it needs a C++ compiler, and there is no {compiler}"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return "it needs Python's headers (Python.h)"
    if device.startswith("cuda") and find_spec("triton") is None:
        return "it needs Triton (pip install triton)"
    return None


def _compile(network: Any, how: Compilation) -> Compilation:
    """Compile in place what was asked for, as far as this model has it."""
    import torch._dynamo

    limits = torch._dynamo.config
    # in a UNet's levels one block has several shapes, and batches come in several sizes
    limits.recompile_limit = max(limits.recompile_limit, SHAPES)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, SHAPES)
    repeated = set(getattr(network, "_repeated_blocks", None) or ())
    if how == "regional" and any(type(module).__name__ in repeated for module in network.modules()):
        network.compile_repeated_blocks(dynamic=False)
        return "regional"
    network.compile(dynamic=False)
    return "full"


def _in_bf16(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Return the forward under autocast, its output in fp32 again: guidance and the scheduler's step lose nothing."""
    import torch
    from accelerate.utils.operations import convert_outputs_to_fp32

    wrapped: Callable[..., Any] = convert_outputs_to_fp32(torch.autocast(device, torch.bfloat16)(forward))
    return wrapped


def _has_convolutions(network: "Module") -> bool:
    """Return whether any weights can be channels-last; none can while accelerate's sequential offload keeps them."""
    return any(weight.dim() == 4 and not weight.is_meta for weight in network.parameters())


def _no_autocast(dtype: str) -> UserError:
    return UserError(f"--autocast is of fp32 weights, and these are {dtype}", "leave it out, or use --dtype fp32")


def _no_network(name: str) -> UserError:
    hint = "leave --compile, --autocast and --reuse-unconditional out"
    return UserError(f"{name} does not say which module denoises", hint)
