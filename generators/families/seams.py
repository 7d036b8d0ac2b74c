"""A stock pipeline's own `__call__`, stopped and entered at four places that every classic pipeline has.

`encode_prompt`, whose returns are the conditioning; `prepare_latents`, whose first output is the latents; the
scheduler, whose `step` is given the guided prediction; and the loop's ``enumerate(timesteps)``. All four are replaced
on the pipeline's instance, or in its module, while one call runs.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from generators.sampler import Sampler, instead, noise_served


class _Stopped(BaseException):
    """Ends a call where all that is wanted of it is there."""


class Encoding:
    """Lets `encode_prompt` run, and remembers what it returns.

    Attributes:
        returns: of every call.
    """

    def __init__(self) -> None:
        self.returns: list[Any] = []

    def around(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """Return what runs in its place."""

        @wraps(own)
        def heard(*args: Any, **kwargs: Any) -> Any:
            self.returns.append(own(*args, **kwargs))
            return self.returns[-1]

        return heard


def placed(pipeline: Any, device: torch.device) -> Any:
    """Return the pipeline, which from now on knows that it computes on this device.

    It looks through all its modules for hooks otherwise, at every call, which here is every step.
    """
    kind = type(pipeline)
    members = {"_execution_device": property(lambda _: device), "__module__": kind.__module__}
    pipeline.__class__ = type(kind.__name__, (kind,), members)
    return pipeline


def encoded(pipeline: Any, arguments: Mapping[str, Any]) -> list[Any]:
    """Return what `encode_prompt` returns, call by call, for a pipeline's arguments; nothing is denoised."""
    encoding = Encoding()
    _run(
        pipeline,
        arguments,
        encode_prompt=encoding.around(pipeline.encode_prompt),
        prepare_latents=_stop,
        scheduler=_deaf(pipeline.scheduler),
    )
    return encoding.returns


def prepared(pipeline: Any, arguments: Mapping[str, Any], returns: Sequence[Any]) -> tuple[Tensor, dict[str, Any]]:
    """Return the latents that `prepare_latents` makes, [b, ...], and the arguments that it was called with, by name."""
    found: list[Any] = []
    own = pipeline.prepare_latents

    def heard(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(own).bind(*args, **kwargs)
        bound.apply_defaults()
        found.extend((_first(own(*args, **kwargs)), dict(bound.arguments)))
        raise _Stopped

    double = copy(pipeline.scheduler)
    _run(pipeline, arguments, encode_prompt=_answers(returns), prepare_latents=heard, scheduler=double)
    if not found:
        raise UserError("its call ends before it has prepared latents")
    return found[0], found[1]


def timing(pipeline: Any, arguments: Mapping[str, Any], returns: Sequence[Any], scheduler: Any) -> dict[str, Any]:
    """Return the arguments, without the device, that a pipeline's call gives the scheduler's `set_timesteps`."""
    found: list[dict[str, Any]] = []
    double = copy(scheduler)

    @wraps(scheduler.set_timesteps)
    def heard(*args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(scheduler.set_timesteps).bind(*args, **kwargs).arguments
        found.append({name: value for name, value in bound.items() if name != "device"})
        raise _Stopped

    double.set_timesteps = heard
    _run(pipeline, arguments, encode_prompt=_answers(returns), scheduler=double)
    if not found:
        raise UserError("its call sets no timesteps")
    named = dict(found[0].pop("kwargs", {}))
    return {name: value for name, value in {**found[0], **named}.items() if value is not None}


def predicted(
    pipeline: Any, arguments: Mapping[str, Any], returns: Sequence[Any], latents: Tensor, k: int, sampler: Sampler
) -> Tensor:
    """Return the guided prediction that a pipeline's call gives the scheduler's `step` at step k of these latents."""
    found: list[Tensor] = []
    scheduler = sampler.double(k)

    def heard(*args: Any, **kwargs: Any) -> None:
        found.append(args[0] if args else kwargs["model_output"])
        raise _Stopped

    vars(scheduler)["step"] = instead(scheduler, "step", heard)
    with _loop(pipeline, [k]):
        _run(
            pipeline,
            arguments,
            encode_prompt=_answers(returns),
            prepare_latents=_giving(pipeline.prepare_latents, latents),
            scheduler=scheduler,
        )
    if not found:
        raise UserError("its call takes no step of its scheduler")
    return found[0]


def decoded(
    pipeline: Any, arguments: Mapping[str, Any], returns: Sequence[Any], latents: Tensor, sampler: Sampler
) -> Any:
    """Return what a pipeline's call makes of finished latents: that of a call whose loop is empty."""
    with _loop(pipeline, []):
        return _run(
            pipeline,
            arguments,
            encode_prompt=_answers(returns),
            prepare_latents=_giving(pipeline.prepare_latents, latents),
            scheduler=sampler.double(sampler.K - 1),
            denoise=lambda state: None,  # a modular pipeline's loop
        )


@torch.no_grad()
def _run(pipeline: Any, arguments: Mapping[str, Any], **members: Any) -> Any:
    """Call the pipeline with these members in place of its own; return its pictures, or None where it was stopped."""
    # hooks that offload stay as they are; taking them off and on would undo what was put over them
    members["maybe_free_model_hooks"] = lambda: None
    before = {name: vars(pipeline)[name] for name in members if name in vars(pipeline)}
    vars(pipeline).update(members)
    try:
        output = pipeline(**arguments, return_dict=False)
    except _Stopped:
        return None
    finally:
        for name in members:
            vars(pipeline).pop(name, None)
        vars(pipeline).update(before)
    return output[0]


def _stop(*args: Any, **kwargs: Any) -> None:
    raise _Stopped


def _deaf(scheduler: Any) -> Any:
    """Return a copy of the scheduler that ends the call where its timesteps would be set."""
    double = copy(scheduler)
    double.set_timesteps = instead(scheduler, "set_timesteps", lambda *args, **kwargs: _stop())
    return double


def _answers(returns: Sequence[Any]) -> Callable[..., Any]:
    """Return an `encode_prompt` that returns these, one a call."""
    left = iter(returns)

    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return next(left)
        except StopIteration:
            raise UserError(
                "its call encodes more than when the prompts were encoded", "encode them again with these settings"
            ) from None

    return answer


def _giving(own: Callable[..., Any], latents: Tensor) -> Callable[..., Any]:
    """Return a `prepare_latents` whose first output is these; the rest (ids, say) is what the pipeline makes.

    Noise that is replaced anyway is not drawn: for a picture of a million pixels that takes milliseconds.
    """
    module = sys.modules[inspect.unwrap(own).__module__]

    @wraps(own)
    def prepare(*args: Any, **kwargs: Any) -> Any:
        with noise_served(module, lambda shape, _: torch.zeros(shape)):
            output = own(*args, **kwargs)
        first = latents.to(_first(output))
        return (first, *output[1:]) if isinstance(output, tuple) else first

    return prepare


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _loop(pipeline: Any, steps: Sequence[int]) -> Iterator[None]:
    """Let the loop over the timesteps run these steps only, as if they were its turn."""
    names: dict[str, Any] = inspect.unwrap(type(pipeline).__call__).__globals__

    def served(items: Any, start: int = 0) -> Any:
        if isinstance(items, Tensor) and torch.equal(items, pipeline.scheduler.timesteps):
            return iter([(k, items[k]) for k in steps])
        return enumerate(items, start)

    names["enumerate"] = served
    try:
        yield
    finally:
        del names["enumerate"]
