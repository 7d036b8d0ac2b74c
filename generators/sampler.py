"""A diffusers scheduler whose noise is ours and whose memory belongs to the rows."""

import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import cache, cached_property
from itertools import count, repeat
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError, nearest
from generators.predicted_x0 import Level, answer_to_noise, answer_to_x0, noise_level, predicted_x0
from generators.scheduler_state import Rows, Template, snapshot, templates

Draw = Callable[[tuple[int, ...], int], Tensor]

# Their noise is one Brownian path over all steps, which cannot be drawn a step and a node at a time.
BROWNIAN = ("CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler")
PROBE_SIZES, PROBED = (2, 3), (4, 2, 2)
INEXACT = 0.5  # of a noise level, the most that a step may miss it by: an inverse scheduler's goes the other way
BEGUN = 0.02  # the same where a scheduler begins later: some are then a step behind, or in the middle of one
# Schedulers before their first step and what `Sampler` learned of them, by class and settings: to prepare one and to
# learn takes as long as some steps of a small denoiser.
LEARNED: dict[str, tuple[Any, list[Template], float]] = {}


class Step(NamedTuple):
    """The result of one step.

    Attributes:
        latents: after the step.
        x0: the predicted clean latents: the scheduler's own or, where it says none, what its parametrisation gives;
            None where that does not tell. Shaped as `latents`.
        memory: what the next step needs to know of each row, each [b, ...].
    """

    latents: Tensor
    x0: Tensor | None
    memory: Rows


class Sampler:
    """The timesteps of one generation and the step between them, for any diffusers scheduler.

    Args:
        config: a diffusers scheduler's configuration, as in scheduler_config.json.
        name: ``"default"`` for the class that the configuration names, or another diffusers class name.
        steps: what the scheduler is asked for; `K` is the number of denoiser evaluations it answers with.
        timing: further arguments of the scheduler's `set_timesteps` (sigmas, timesteps, mu); with either of the first
            two, `steps` is not passed.

    Attributes:
        remembered: what its memory holds of a row, at most, in numbers for each number of a latent.

    Raises:
        UserError: no such scheduler, one whose memory or noise cannot be told apart by rows, or a step count it
            refuses.
    """

    def __init__(
        self, config: dict[str, Any], name: str, steps: int, device: torch.device | str = "cpu", **timing: Any
    ) -> None:
        scheduler_class = _scheduler_class(str(config.get("_class_name")) if name == "default" else name)
        listed = any(timing.get(name) is not None for name in ("sigmas", "timesteps"))
        asked = timing if listed else {"num_inference_steps": steps, **timing}
        asked = {**asked, "device": device}
        known = repr((scheduler_class, sorted(config.items()), steps, {k: _plain(v) for k, v in asked.items()}))
        self.requested_steps = steps
        self._takes = _parameters(scheduler_class)
        self._known, self._first = known, 0
        self._prepared = lambda: _prepared(scheduler_class, config, steps, {**asked, "device": "cpu"})
        self._recalled(known, lambda: _prepared(scheduler_class, config, steps, asked))
        self.timesteps: Tensor = self._scheduler.timesteps
        # what unit noise is multiplied by to be an initial latent
        self.init_sigma = float(self._scheduler.init_noise_sigma) if hasattr(self._scheduler, "init_noise_sigma") else 1

    def _recalled(self, known: str, scheduler: Callable[[], Any]) -> None:
        """Take what was learned of the scheduler that is known by this, after learning it the first time."""
        if known not in LEARNED:
            self._scheduler, self.remembered = scheduler(), 0.0
            self._templates = self._learn(self._prepared)
            LEARNED[known] = self._scheduler, self._templates, self.remembered
        found, self._templates, self.remembered = LEARNED[known]
        self._scheduler = copy(found)  # what no step changes is everybody's

    def begun_at(self, k: int) -> "Sampler":
        """Return the sampler of paths that begin before step k: the scheduler remembers nothing of those before.

        That is how diffusers' image-to-image pipelines begin; a multistep solver takes its first step there at order 1.
        Earlier steps are not to be taken with it.

        Raises:
            UserError: the scheduler does not tell how noisy latents are before its steps, or cannot begin there: its
                steps lead elsewhere than to the noise levels that it tells.
        """
        if not k:
            return self
        begun = copy(self)
        begun._first = k
        vars(begun).pop("_noise_in_memory", None)
        begun._recalled(f"{self._known} begun at {k}", lambda: _begun(copy(self._scheduler), k))
        if self.log_snr is None or any(answer_to_noise(self._scheduler, at) is None for at in range(self.K)):
            name, hint = type(self._scheduler).__name__, "choose another --scheduler, or a strategy without pictures"
            raise UserError(f"{name} does not tell how noisy a picture is to be before step {k + 1}", hint)
        between = k % getattr(self._scheduler, "order", 1)  # of the evaluations of one step
        if between or self._noise_in_memory is None or begun._noise_in_memory is None:
            name, hint = type(self._scheduler).__name__, "choose another --scheduler, as DDIMScheduler"
            raise UserError(f"{name} cannot begin with a picture before step {k + 1} of {self.K}", hint)
        return begun

    def noised(self, k: int, clean: Tensor, noise: Tensor) -> Tensor:
        """Return finished latents with the noise that there is before step k.

        Args:
            k: counted from 0; the scheduler must tell its noise level (`begun_at`).
            clean: [b, ...]; latents after the last step.
            noise: N(0, I), as `clean`.
        """
        level = noise_level(self._scheduler, k)
        assert level is not None  # `begun_at` comes before
        x0, fresh = clean.float(), noise.to(clean.device).float()
        return (level.alpha * x0 + level.sigma * fresh).to(clean.dtype)

    @property
    def K(self) -> int:  # noqa: N802 - the paper's symbol
        """Denoiser evaluations of one picture."""
        return len(self.timesteps)

    @property
    def log_snr(self) -> tuple[float, ...] | None:
        """The logarithm of alpha^2 / sigma^2 before each of the K steps, -inf for noise alone.

        None where the scheduler does not say how noisy its latents are.
        """
        levels = [level for k in range(self.K) if (level := noise_level(self._scheduler, k)) is not None]
        if len(levels) < self.K or not all(level.sigma > 0 for level in levels):
            return None
        return tuple(2 * math.log(level.alpha / level.sigma) if level.alpha > 0 else -math.inf for level in levels)

    @property
    def learned_variance(self) -> bool:
        """True where a step takes the variance channels of the model output as well."""
        return vars(self._scheduler).get("variance_type") in ("learned", "learned_range")

    @property
    def identity(self) -> dict[str, Any]:
        """The scheduler's class and configuration, plain enough for JSON."""
        public = {key: value for key, value in self._scheduler.config.items() if not key.startswith("_")}
        return {"class": type(self._scheduler).__name__, **public}

    def scale_input(self, latents: Tensor, k: int) -> Tensor:
        """Return the denoiser's input at step k, [b, ...]."""
        if not hasattr(self._scheduler, "scale_model_input"):
            return latents
        # two-stage schedulers tell by what they remember in which stage they are, and look no closer
        self._templates[k].fill(self._scheduler, repeat(latents))
        scaled: Tensor = self._scheduler.scale_model_input(latents, self.timesteps[k])
        return scaled

    def double(self, k: int) -> Any:
        """Return the scheduler as a pipeline's own loop may ask it at step k: its timesteps are set already.

        It scales inputs as `scale_input` does, and is of the scheduler's class.
        """
        double = copy(self._scheduler)
        double.set_timesteps = instead(double, "set_timesteps", lambda *args, **kwargs: None)
        double.scale_model_input = lambda latents, *args, **kwargs: self.scale_input(latents, k)
        double.set_begin_index = lambda *args, **kwargs: None
        double._begin_index = double._step_index = k
        return double

    def step(self, model_output: Tensor, k: int, latents: Tensor, draw: Draw, memory: Rows = ()) -> Step:
        """Take the latents [b, ...] before step k to those after it.

        Every time the scheduler asks for noise it gets `draw(shape, i)`, i counting from 0 within
        this step, cast to the dtype and device it asked for.

        Args:
            memory: of the step before, its rows in the order of `latents`; empty at the first step.
        """
        self._templates[k].fill(self._scheduler, memory)
        output = _step(self._scheduler, self._takes, self.timesteps, k, model_output, latents, draw)
        after = self._templates[k + 1].rows_of(self._scheduler)
        x0 = getattr(output, "pred_original_sample", None)
        if x0 is None:
            x0 = predicted_x0(self._scheduler, k, model_output, latents)
        return Step(output.prev_sample, x0, after)

    def check_renoise(self) -> None:
        """Refuse a scheduler whose latents cannot be taken apart into x0 and noise, as `renoised` does.

        Raises:
            UserError: it does not tell how noisy they are or what its model predicts, or a step of it leads elsewhere
                than it tells.
        """
        known = self.log_snr is not None and all(answer_to_noise(self._scheduler, k) is not None for k in range(self.K))
        if not known or self._noise_in_memory is None:
            name = type(self._scheduler).__name__
            raise UserError(
                f"{name} does not tell the clean latents that copies of a prompt keep where they part",
                "leave out renoise: --noise per-root, or choose another --scheduler",
            )

    def renoised(
        self, k: int, latents: Tensor, x0: Tensor, memory: Rows, noise: Tensor, strength: float
    ) -> tuple[Tensor, Rows]:
        """Return latents before step k with a part of their noise replaced, and the memory that belongs to them.

        Of the noise n = x - alpha x0 the share sqrt(1 - strength^2) stays, and fresh noise is added so that the
        variance stays what it is. That is more than strength * sigma: the x0 that a model predicts is a mean, n is less
        than the noise that there is, and what is missing is the variance of x0 given x (Bao et al. 2022, Analytic-DPM).

        What the scheduler remembers of former steps is kept, moved as far as if that noise had been there all along:
        former latents by their own sigma, former outputs by what a model would have said. A solver of a higher order
        would otherwise go back to the old noise; to forget it would take a step of another order.

        Args:
            latents: [b, ...].
            x0: predicted in the step before, as `latents`.
            memory: of the step before.
            noise: N(0, I), as `latents`.
            strength: from 0, nothing changes, to 1, only x0 stays.
        """
        level, remembered = noise_level(self._scheduler, k), self._noise_in_memory
        assert level is not None
        assert remembered is not None  # `check_renoise` comes before
        x, clean, fresh = latents.float(), x0.to(latents.device).float(), noise.to(latents.device).float()
        old, kept = x - level.alpha * clean, (1 - strength**2) ** 0.5
        explained = old.square().flatten(1).mean(1).reshape(-1, *[1] * (old.ndim - 1))
        missing = (level.sigma**2 - explained).clamp(min=0)
        change = (kept - 1) * old + ((strength * level.sigma) ** 2 + (1 - kept) ** 2 * missing).sqrt() * fresh
        shares = (share / level.sigma for share in remembered[k])
        moved = [
            (leaf.float() + share * change).to(leaf.dtype) if share else leaf
            for leaf, share in zip(memory, shares, strict=True)
        ]
        return (x + change).to(latents.dtype), tuple(moved)

    def check_own_x0(self) -> None:
        """Refuse a scheduler whose latents cannot be taken apart into x0 and noise, as `with_own_x0` does.

        Raises:
            UserError: it does not tell how noisy they are or what its model predicts, or a step of it leads elsewhere
                than it tells.
        """
        known = self.log_snr is not None and all(answer_to_x0(self._scheduler, k) is not None for k in range(self.K))
        if not known or self._x0_in_memory is None or self._noise_in_memory is None:
            name = type(self._scheduler).__name__
            raise UserError(
                f"{name} does not tell the clean latents that a prompt takes for its cluster's after a split",
                "leave out own_x0: --noise per-root, or choose another --scheduler",
            )

    def with_own_x0(
        self, k: int, output: Tensor, latents: Tensor, x0: Tensor, memory: Rows, strength: float
    ) -> tuple[Tensor, Tensor, Rows]:
        """Return the model output at step k, the latents and the memory, as if another x0 had been in them all along.

        Latents before step k are alpha x0 + sigma n. After a split their x0 is the cluster's, and the model predicts
        another one for the node's own prompts. The noise n stays, and x0 + strength (own x0 - x0) takes the place of
        x0 in the latents and in what the scheduler remembers of former steps; the output is what belongs to these
        latents and the node's own x0. No further call of the denoiser is needed.

        Args:
            k: the step that is taken.
            output: of the model for the node's own prompts, [b, ...], with or without channels of a predicted variance.
            latents: [b, ...], before step k.
            x0: predicted for the cluster in the step before, as `latents`.
            memory: of the step before.
            strength: from 0, nothing changes, to 1.
        """
        own, level, remembered = predicted_x0(self._scheduler, k, output, latents), self._level(k), self._x0_in_memory
        of_x0, of_noise = answer_to_x0(self._scheduler, k), answer_to_noise(self._scheduler, k)
        assert own is not None  # `check_own_x0` comes before
        assert remembered is not None
        assert of_x0 is not None
        assert of_noise is not None
        x, before = latents.float(), x0.to(latents.device).float()
        change = strength * (own.float() - before)
        moved_x = x + level.alpha * change
        answer = of_x0 * own.float() + of_noise * (moved_x - level.alpha * own.float()) / level.sigma
        whole = torch.cat([answer.to(output.dtype), output[:, latents.shape[1] :]], dim=1)
        moved = [
            (leaf.float() + share * change).to(leaf.dtype) if share else leaf
            for leaf, share in zip(memory, remembered[k], strict=True)
        ]
        return whole, moved_x.to(latents.dtype), tuple(moved)

    def _level(self, k: int) -> Level:
        """Return the noise level before step k of a scheduler that tells it."""
        level = noise_level(self._scheduler, k)
        assert level is not None
        return level

    @cached_property
    def _x0_in_memory(self) -> list[tuple[float, ...]] | None:
        """Of each row tensor in the memory before each step, what it holds of an x0 that is 1 everywhere."""
        return self._in_memory(x0=1, noise=0)

    @cached_property
    def _noise_in_memory(self) -> list[tuple[float, ...]] | None:
        """Of each row tensor in the memory before each step, what it holds of a noise that is 1 everywhere."""
        return self._in_memory(x0=0, noise=1)

    def _in_memory(self, *, x0: float, noise: float) -> list[tuple[float, ...]] | None:
        """Return of each row tensor in the memory before each step what it holds, where x0 and noise are these.

        None where a step without a draw takes such latents elsewhere than to the next step's noise level: what is told
        of their noise is then not so.
        """
        memory: Rows = ()
        found: list[tuple[float, ...]] = [()] * (self._first + 1)
        drawn: list[int] = []

        def nothing(shape: tuple[int, ...], draw: int) -> Tensor:
            drawn.append(draw)
            return torch.zeros(shape)

        for k in range(self._first, self.K):
            level = self._level(k)
            of_x0, of_noise = answer_to_x0(self._scheduler, k), answer_to_noise(self._scheduler, k)
            assert of_x0 is not None
            assert of_noise is not None
            latents = torch.full((1, *PROBED), level.alpha * x0 + level.sigma * noise, device=self.timesteps.device)
            output = torch.full_like(latents, of_x0 * x0 + of_noise * noise)
            if self.learned_variance:
                output = torch.cat([output, torch.zeros_like(output)], dim=1)
            after = self.step(output, k, latents, nothing, memory)
            memory = after.memory
            if k + 1 < self.K and not drawn:
                ahead = self._level(k + 1)
                inexact = BEGUN if self._first else INEXACT
                told = ahead.alpha * x0 + ahead.sigma * noise
                if (after.latents - told).abs().max() > inexact * max(told, ahead.sigma):
                    return None
            found.append(tuple(float(leaf.double().mean()) if leaf.is_floating_point() else 0.0 for leaf in memory))
        return found

    def _learn(self, prepared: Callable[[], Any]) -> list[Template]:
        """Learn which of the scheduler's memory belongs to the rows, by running it on small batches of two sizes."""
        name, generator = type(self._scheduler).__name__, torch.Generator().manual_seed(0)

        def run(size: int) -> list[dict[str, Any]]:
            scheduler = _begun(prepared(), self._first)
            latents = torch.randn(size, *PROBED, generator=generator)
            states: list[dict[str, Any]] = []
            for k, t in enumerate(scheduler.timesteps):
                if k < self._first:
                    states.append(snapshot(scheduler))  # of no step that is taken
                    continue
                if hasattr(scheduler, "scale_model_input"):
                    scheduler.scale_model_input(latents, t)
                states.append(snapshot(scheduler))
                output = torch.randn(size, 8 if self.learned_variance else 4, 2, 2, generator=generator)
                latents = _step(
                    scheduler, self._takes, scheduler.timesteps, k, output, latents, lambda shape, _: torch.zeros(shape)
                ).prev_sample
            return [*states, snapshot(scheduler)]

        before = torch.get_rng_state()
        try:
            first, second = (run(size) for size in PROBE_SIZES)
            learned = templates(first, second, PROBE_SIZES)
        except Exception as error:
            raise _refused(name, str(error).strip().partition("\n")[0] or type(error).__name__) from error
        if not torch.equal(before, torch.get_rng_state()):
            torch.set_rng_state(before)
            raise _refused(name, "it draws noise that belongs to no row")
        kept = (template.rows_in(state) for template, state in zip(learned, first, strict=True))
        self.remembered = max(sum(leaf[0].numel() for leaf in rows) for rows in kept) / math.prod(PROBED)
        return learned


def _begun(scheduler: Any, k: int) -> Any:
    """Return a prepared scheduler whose first step is to be step k, as pipelines tell it."""
    if k and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(k)
    return scheduler


def instead(scheduler: Any, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the signature of a scheduler's method, by which pipelines see what they may give it."""
    scheduler_class: type = type(scheduler)
    function.__signature__ = _signature(scheduler_class, method)  # type: ignore[attr-defined]
    return function


@cache
def _signature(scheduler_class: Any, method: str) -> inspect.Signature:
    """Return a method's signature without `self`."""
    signature = inspect.signature(getattr(scheduler_class, method))
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _plain(value: Any) -> Any:
    """Return the value in a form whose `repr` is all of it."""
    return value.tolist() if isinstance(value, np.ndarray | Tensor) else value


@cache
def _parameters(scheduler_class: Any) -> frozenset[str]:
    """Return the names of a step's parameters."""
    return frozenset(inspect.signature(scheduler_class.step).parameters)


def _prepared(scheduler_class: Any, config: dict[str, Any], steps: int, timing: dict[str, Any]) -> Any:
    """Return a scheduler before its first step."""
    try:
        scheduler = scheduler_class.from_config(config)
        if "variance_type" not in vars(scheduler):
            # families split predicted variances off for schedulers that do not use them; some would do it again
            scheduler = scheduler_class.from_config({k: v for k, v in config.items() if k != "variance_type"})
        most = scheduler.config.get("num_train_timesteps", steps)
        if steps > most:
            raise UserError(
                f"{steps} steps are more than the {most} this model was trained with", f"use --steps {most} or fewer"
            )
        scheduler.set_timesteps(**timing)
    except UserError:
        raise
    except Exception as error:  # schedulers of other kinds of model fail in ways of their own
        name, reason = scheduler_class.__name__, str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{name} cannot take {steps} steps: {reason}", "choose other --steps or another --scheduler"
        ) from error
    return scheduler


def _step(
    scheduler: Any, takes: frozenset[str], timesteps: Tensor, k: int, model_output: Tensor, latents: Tensor, draw: Draw
) -> Any:
    further = {}
    if "prev_timestep" in takes:  # UnCLIPScheduler's, as UnCLIPPipeline gives it
        further["prev_timestep"] = timesteps[k + 1] if k + 1 < len(timesteps) else None
    with noise_served(sys.modules[type(scheduler).__module__], draw):
        return scheduler.step(model_output, timesteps[k], latents, **further)


def _refused(name: str, reason: str) -> UserError:
    return UserError(f"{name} cannot be used: {reason}", "choose another with --scheduler")


def _scheduler_class(name: str) -> Any:
    import diffusers

    if name in BROWNIAN:
        raise _refused(name, "its noise is one Brownian path over all steps, which a cluster's children cannot inherit")
    known = [other for other in dir(diffusers) if other.endswith("Scheduler")]
    if name not in known:
        raise UserError(f"unknown scheduler {name!r}", nearest(name, known))
    scheduler_class = getattr(diffusers, name)
    if not hasattr(scheduler_class, "step"):
        raise _refused(name, "it has no single kind of step")
    return scheduler_class


@contextmanager
def noise_served(module: ModuleType, draw: Draw) -> Iterator[None]:
    """Let `draw` answer the module's `randn_tensor`, if it has one, while the block runs."""
    draws = count()

    def served(
        shape: tuple[int, ...],
        generator: object = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        layout: object = None,
    ) -> Tensor:
        return draw(tuple(shape), next(draws)).to(device=device, dtype=dtype)

    stock = getattr(module, "randn_tensor", None)
    if stock is None:
        yield
        return
    module.randn_tensor = served  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.randn_tensor = stock  # type: ignore[attr-defined]
