"""Schedulers whose latents can be taken apart into x0 and noise, at a few steps."""

import diffusers

from generators.sampler import Sampler

STEPS = 8
TOLD = [
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "LMSDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
]
BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "skip_prk_steps": True,
}


def sampler_of(name: str, **config: object) -> Sampler:
    """Return a sampler of that scheduler with these parts of a configuration that it knows."""
    known = getattr(diffusers, name)().config
    own = {**BETAS, **config}
    return Sampler({"_class_name": name, **{k: v for k, v in own.items() if k in known}}, "default", STEPS)
