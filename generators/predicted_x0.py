"""The clean latents that a model output stands for, where a scheduler does not say them itself.

A model sees x = alpha x0 + sigma eps and answers with eps, with x0, with v = alpha eps - sigma x0 (Salimans and Ho
2022) or, along a flow (alpha = 1 - sigma), with eps - x0 (Lipman et al. 2023). Any of these and x give x0.
"""

import inspect
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor

FLOW = "FlowMatch"  # so begin the names of the schedulers whose models answer with a flow whatever they are told


class Level(NamedTuple):
    """The noise in latents: their share of x0 and of the noise, and whether these squared make 1."""

    alpha: float
    sigma: float
    preserving: bool


def predicted_x0(scheduler: Any, k: int, model_output: Tensor, latents: Tensor) -> Tensor | None:
    """Return x0 as the model sees it at step k; None where the scheduler's parametrisation does not tell.

    Args:
        scheduler: a diffusers scheduler whose timesteps are set.
        k: of which step; what the scheduler remembers is not looked at.
        model_output: [b, ...], with or without the channels of a predicted variance.
        latents: [b, ...], which the model was asked about, before `scale_model_input`.

    Returns:
        As `latents`, in their dtype, clipped as the scheduler clips it.
    """
    level = noise_level(scheduler, k)
    if level is None:
        return None
    x = latents.float()
    output = model_output[:, : latents.shape[1]].float()
    kind = _kind(scheduler)
    if kind == "epsilon":
        x0 = (x - level.sigma * output) / level.alpha
    elif kind == "sample":
        x0 = output
    elif kind == "v_prediction" and level.preserving:
        x0 = level.alpha * x - level.sigma * output
    elif kind == "flow_prediction":
        x0 = x - level.sigma * output
    else:
        return None
    return _clipped(scheduler, x0).to(latents.dtype)


def noise_level(scheduler: Any, k: int) -> Level | None:
    """Return the noise level before step k of a scheduler whose timesteps are set; None where it does not tell."""
    if hasattr(scheduler, "precondition_inputs") or _own(scheduler, "invert_sigmas"):
        return None  # EDM's latents are scaled in a third way; inverted, a flow runs from the picture to the noise
    steps, sigmas = scheduler.timesteps, getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        if len(sigmas) != len(steps) + 1:
            return None
        sigma = float(sigmas[k])
        if _flows(scheduler):
            return Level(1 - sigma, sigma, preserving=False)
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):  # of latents whose variance is kept, sigma / alpha
            alpha = (1 + sigma**2) ** -0.5
            return Level(alpha, sigma * alpha, preserving=True)
        return Level(1, sigma, preserving=False)
    if hasattr(scheduler, "alphas_cumprod") and not steps.is_floating_point():
        kept = float(scheduler.alphas_cumprod[int(steps[k])])
        return Level(kept**0.5, (1 - kept) ** 0.5, preserving=True)
    return None


def answer_to_noise(scheduler: Any, k: int) -> float | None:
    """Return what a model answers at step k where x0 is 0 and the noise 1; None where that is not known."""
    level, kind = noise_level(scheduler, k), _kind(scheduler)
    if level is None or (kind == "v_prediction" and not level.preserving):
        return None
    return {"epsilon": 1.0, "sample": 0.0, "v_prediction": level.alpha, "flow_prediction": 1.0}.get(str(kind))


def answer_to_x0(scheduler: Any, k: int) -> float | None:
    """Return what a model answers at step k where x0 is 1 and the noise 0; None where that is not known."""
    level, kind = noise_level(scheduler, k), _kind(scheduler)
    if level is None or (kind == "v_prediction" and not level.preserving):
        return None
    answers = {"epsilon": 0.0, "sample": 1.0, "v_prediction": -level.sigma, "flow_prediction": -1.0}
    return answers.get(str(kind))


def _kind(scheduler: Any) -> Any:
    return "flow_prediction" if _flows(scheduler) else _own(scheduler, "prediction_type")


def _flows(scheduler: Any) -> bool:
    return type(scheduler).__name__.startswith(FLOW) or bool(_own(scheduler, "use_flow_sigmas"))


def _own(scheduler: Any, name: str) -> Any:
    """Return a setting that the scheduler's class has; a configuration may also hold what another class left there."""
    kind: Any = type(scheduler)
    return scheduler.config.get(name) if name in _settings(kind) else None


@cache
def _settings(kind: Any) -> frozenset[str]:
    return frozenset(inspect.signature(kind).parameters)


def _clipped(scheduler: Any, x0: Tensor) -> Tensor:
    if _own(scheduler, "thresholding"):
        thresholded: Tensor = scheduler._threshold_sample(x0)
        return thresholded
    if _own(scheduler, "clip_sample"):
        most = _own(scheduler, "clip_sample_range") or 1
        return x0.clamp(-most, most)
    return x0
