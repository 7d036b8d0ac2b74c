"""x0 in closed form: a model that knows the one picture there is predicts it at every step of every scheduler."""

import diffusers
import pytest
import torch
from torch import Tensor

from generators.predicted_x0 import predicted_x0
from generators.sampler import Sampler

STEPS = 8
TRUTH = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
NOISE = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
# Of latents whose variance is kept: what is kept of x0 after t training steps, from the betas alone.
KEPT = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
FLOWS = ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler"]
SOLVERS = [
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
]
SILENT = ["PNDMScheduler", "LCMScheduler", "TCDScheduler", *SOLVERS]
SPEAKING = ["DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler"]


def answer(kind: str, alpha: float, sigma: float) -> Tensor:
    """What a model says that knows the truth."""
    answers = {
        "epsilon": NOISE,
        "sample": TRUTH,
        "v_prediction": alpha * NOISE - sigma * TRUTH,
        "flow_prediction": NOISE - TRUTH,
    }
    return answers[kind].float()


def sampler_of(name: str, **config: object) -> Sampler:
    kind = getattr(diffusers, name)
    own = {**BETAS, "clip_sample": False, **config}
    return Sampler({"_class_name": name, **{k: v for k, v in own.items() if k in kind().config}}, "default", STEPS)


def step(sampler: Sampler, k: int, latents: Tensor, output: Tensor) -> Tensor | None:
    """x0 at step k, with no step before it: x0 needs no memory."""
    return predicted_x0(sampler._scheduler, k, output, latents)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", [*SILENT, "DDPMScheduler", "DDIMScheduler"])
def test_x0_where_variance_is_kept(name: str, kind: str):
    if name == "PNDMScheduler" and kind == "sample":
        pytest.skip("it takes no such model")
    sampler = sampler_of(name, prediction_type=kind)
    assert sampler.K >= STEPS
    for k, t in enumerate(sampler.timesteps):
        alpha, sigma = float(KEPT[int(t)]) ** 0.5, float(1 - KEPT[int(t)]) ** 0.5
        x0 = step(sampler, k, (alpha * TRUTH + sigma * NOISE).float(), answer(kind, alpha, sigma))
        assert torch.allclose(x0.double(), TRUTH, atol=2e-4)


@pytest.mark.parametrize("name", FLOWS)
def test_x0_along_a_flow(name: str):
    sampler = sampler_of(name)
    for k, t in enumerate(sampler.timesteps):
        sigma = float(t) / 1000
        x0 = step(sampler, k, ((1 - sigma) * TRUTH + sigma * NOISE).float(), answer("flow_prediction", 0, 0))
        assert torch.allclose(x0.double(), TRUTH, atol=1e-3)


@pytest.mark.parametrize("name", SOLVERS)
def test_x0_along_a_flow_that_another_solver_follows(name: str):
    sampler = sampler_of(name, use_flow_sigmas=True, prediction_type="flow_prediction")
    for k in range(sampler.K):
        sigma = float(sampler._scheduler.sigmas[k])
        x0 = step(sampler, k, ((1 - sigma) * TRUTH + sigma * NOISE).float(), answer("flow_prediction", 0, 0))
        assert torch.allclose(x0.double(), TRUTH, atol=1e-4)


@pytest.mark.parametrize("name", SPEAKING)
@pytest.mark.parametrize("config", [{}, {"clip_sample": True}])
def test_it_is_what_schedulers_say_that_say_it(name: str, config: dict):
    """Whole runs of a wrong model: what ours computes from outside is what the scheduler computed inside."""
    if config and "clip_sample" not in getattr(diffusers, name)().config:
        pytest.skip("it does not clip")
    sampler, generator = sampler_of(name, **config), torch.Generator().manual_seed(2)
    latents, memory = TRUTH.float() * sampler.init_sigma, ()
    for k in range(sampler.K):
        output = torch.randn(latents.shape, generator=generator)
        ours = predicted_x0(sampler._scheduler, k, output, latents)
        latents, theirs, memory = sampler.step(output, k, latents, lambda shape, _: torch.zeros(shape), memory)
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*SILENT, *FLOWS])
def test_a_step_says_it_and_takes_the_step_it_took(name: str):
    sampler = sampler_of(name)
    output, latents = NOISE.float(), TRUTH.float()
    ours = sampler.step(output, 0, latents, lambda shape, _: torch.ones(shape))
    kind = getattr(diffusers, name)
    stock = kind.from_config(sampler._scheduler.config)
    stock.set_timesteps(STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{kind.__module__}.randn_tensor", lambda shape, **_: torch.ones(shape), raising=False)
        expected = stock.step(output, stock.timesteps[0], latents).prev_sample
    assert torch.equal(ours.latents, expected)
    assert ours.x0.shape == latents.shape


def test_the_variance_that_a_model_predicts_is_no_part_of_x0():
    sampler = sampler_of("PNDMScheduler")
    both = torch.cat([NOISE, TRUTH], dim=1).float()
    assert torch.equal(step(sampler, 0, TRUTH.float(), both), step(sampler, 0, TRUTH.float(), NOISE.float()))


def test_what_another_scheduler_left_in_a_configuration_is_not_followed():
    """DDPM clips by default; PNDM, made of its configuration, has no such setting."""
    config = {**diffusers.DDPMScheduler(clip_sample=True).config, "_class_name": "DDPMScheduler"}
    x0 = step(Sampler(config, "PNDMScheduler", STEPS), 0, TRUTH.float(), NOISE.float())
    assert x0.abs().max() > 1


@pytest.mark.parametrize("name", ["EDMDPMSolverMultistepScheduler", "IPNDMScheduler"])
def test_none_where_the_parametrisation_does_not_tell(name: str):
    assert step(sampler_of(name), 1, TRUTH.float(), NOISE.float()) is None


def test_half_precision_stays_half():
    x0 = step(sampler_of("PNDMScheduler"), 3, TRUTH.half(), NOISE.half())
    assert x0.dtype == torch.float16
