"""A diffusers scheduler whose noise is ours and whose steps remember nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError, nearest

# A step of these is a function of (model output, timestep, latent) alone, so that a cluster's latent
# is all its children need.
MEMORYLESS = ("DDIMScheduler", "DDPMScheduler")

Draw = Callable[[tuple[int, ...], int], Tensor]


class Sampler:
    """The timesteps of one generation and the step between them.

    Args:
        config: a diffusers scheduler's configuration, as in scheduler_config.json.
        name: ``"default"`` for the class that the configuration names, or another diffusers class name.
        steps: what the scheduler is asked for; `K` is the number of denoiser evaluations it answers with.

    Raises:
        UserError: no such scheduler, one that is not memoryless, or a step count it refuses.
    """

    def __init__(self, config: dict[str, Any], name: str, steps: int, device: torch.device | str = "cpu") -> None:
        scheduler_class = _scheduler_class(str(config.get("_class_name")) if name == "default" else name)
        self._scheduler = scheduler_class.from_config(config)
        try:
            self._scheduler.set_timesteps(steps, device=device)
        except ValueError:
            most = self._scheduler.config.num_train_timesteps
            raise UserError(
                f"{steps} steps are more than the {most} this model was trained with", f"use --steps {most} or fewer"
            ) from None
        self.requested_steps = steps
        self.timesteps: Tensor = self._scheduler.timesteps

    @property
    def K(self) -> int:  # noqa: N802 - the paper's symbol
        """Denoiser evaluations of one picture."""
        return len(self.timesteps)

    @property
    def init_sigma(self) -> float:
        """What unit noise is multiplied by to be an initial latent."""
        return float(self._scheduler.init_noise_sigma)

    @property
    def learned_variance(self) -> bool:
        """Whether a step takes the variance channels of the model output as well."""
        return vars(self._scheduler).get("variance_type") in ("learned", "learned_range")

    @property
    def identity(self) -> dict[str, Any]:
        """The scheduler's class and configuration, plain enough for JSON."""
        public = {key: value for key, value in self._scheduler.config.items() if not key.startswith("_")}
        return {"class": type(self._scheduler).__name__, **public}

    def scale_input(self, latents: Tensor, k: int) -> Tensor:
        """The denoiser's input at step k."""
        scaled: Tensor = self._scheduler.scale_model_input(latents, self.timesteps[k])
        return scaled

    def step(self, model_output: Tensor, k: int, latents: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """The latents after step k and the predicted x0, both shaped as `latents`.

        Every time the scheduler asks for noise it gets `draw(shape, i)`, i counting from 0 within
        this step, cast to the dtype and device it asked for.
        """
        with _noise_served(sys.modules[type(self._scheduler).__module__], draw):
            output = self._scheduler.step(model_output, self.timesteps[k], latents)
        return output.prev_sample, getattr(output, "pred_original_sample", None)


def _scheduler_class(name: str) -> Any:
    import diffusers

    if name in MEMORYLESS:
        return getattr(diffusers, name)
    if name.endswith("Scheduler") and hasattr(diffusers, name):
        raise UserError(
            f"{name} cannot be used yet: a step may depend on the steps before it, which a cluster's children lack",
            f"use --scheduler {' or '.join(MEMORYLESS)}; schedulers that carry a history come later",
        )
    raise UserError(f"unknown scheduler {name!r}", nearest(name, MEMORYLESS))


@contextmanager
def _noise_served(module: ModuleType, draw: Draw) -> Iterator[None]:
    """The module's `randn_tensor` answered by `draw` while the block runs."""
    draws = count()

    def served(
        shape: tuple[int, ...],
        generator: object = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        layout: object = None,
    ) -> Tensor:
        return draw(tuple(shape), next(draws)).to(device=device, dtype=dtype)

    stock = module.randn_tensor
    module.randn_tensor = served  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.randn_tensor = stock  # type: ignore[attr-defined]
