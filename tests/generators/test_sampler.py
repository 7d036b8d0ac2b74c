import json

import diffusers
import pytest
import torch
from diffusers.schedulers import scheduling_ddpm

from common.errors import UserError
from generators.predicted_x0 import noise_level
from generators.sampler import Sampler

LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
OUTPUT = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def config(**changes) -> dict:
    return dict(diffusers.DDPMScheduler(clip_sample=False, **changes).config) | {"_class_name": "DDPMScheduler"}


def refuse(shape, draw):
    raise AssertionError("no noise was to be drawn")


def test_ddpm_step_is_the_stock_step_with_our_noise():
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    sampler = Sampler(config(), "default", 10)
    asked = []
    ours, x0, _ = sampler.step(OUTPUT, 3, LATENTS, lambda shape, draw: asked.append((shape, draw)) or noise)
    stock = diffusers.DDPMScheduler(clip_sample=False)
    stock.set_timesteps(10)
    # the stock draw, from the generator that drew `noise`
    expected = stock.step(OUTPUT, stock.timesteps[3], LATENTS, generator=torch.Generator().manual_seed(2))
    assert torch.equal(ours, expected.prev_sample)
    assert torch.equal(x0, expected.pred_original_sample)
    assert asked == [((2, 4, 8, 8), 0)]


def test_stock_randn_tensor_is_restored_even_after_an_error():
    stock = scheduling_ddpm.randn_tensor
    with pytest.raises(AssertionError):
        Sampler(config(), "default", 10).step(OUTPUT, 3, LATENTS, refuse)
    assert scheduling_ddpm.randn_tensor is stock


def test_last_ddpm_step_and_ddim_draw_nothing():
    Sampler(config(), "default", 10).step(OUTPUT, 9, LATENTS, refuse)
    Sampler(config(), "DDIMScheduler", 10).step(OUTPUT, 3, LATENTS, refuse)


def test_noise_is_cast_to_what_the_scheduler_works_in():
    sampler = Sampler(config(), "default", 10)
    ours, _, _ = sampler.step(OUTPUT.bfloat16(), 3, LATENTS.bfloat16(), lambda shape, draw: torch.zeros(shape))
    assert ours.dtype == torch.bfloat16


def test_k_is_what_the_scheduler_answers():
    sampler = Sampler(config(timestep_spacing="trailing"), "default", 7)
    assert (sampler.requested_steps, sampler.K) == (7, len(sampler.timesteps))
    assert Sampler(config(), "DDIMScheduler", 50).K == 50


def test_learned_variance_only_where_the_step_takes_it():
    learned = config(variance_type="learned_range")
    assert Sampler(learned, "default", 5).learned_variance
    assert not Sampler(learned, "DDIMScheduler", 5).learned_variance
    assert not Sampler(config(), "default", 5).learned_variance


def test_identity_names_class_and_configuration():
    identity = Sampler(config(), "DDIMScheduler", 5).identity
    assert identity["class"] == "DDIMScheduler"
    assert identity["clip_sample"] is False
    assert json.loads(json.dumps(identity, allow_nan=False)) == identity


@pytest.mark.parametrize("name", ["DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"])
def test_brownian_schedulers_are_refused_by_name(name: str):
    with pytest.raises(UserError, match=f"{name} cannot be used: its noise is one Brownian path"):
        Sampler(config(), name, 5)


@pytest.mark.parametrize("name", ["ScoreSdeVeScheduler", "VQDiffusionScheduler", "RePaintScheduler"])
def test_schedulers_of_other_kinds_of_model_are_refused_in_a_line(name: str):
    with pytest.raises(UserError, match=f"{name} cannot .+: .+") as error:
        Sampler(config(), name, 5)
    assert "\n" not in str(error.value)


def test_learning_a_scheduler_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    Sampler(config(), "EulerAncestralDiscreteScheduler", 5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["DDMPScheduler", "StableDiffusionPipeline", "torch"])
def test_unknown_scheduler_gets_a_hint(name: str):
    with pytest.raises(UserError, match="unknown scheduler") as error:
        Sampler(config(), name, 5)
    assert "Scheduler" in error.value.hint


@pytest.mark.parametrize("name", ["DDPMScheduler", "UnCLIPScheduler"])
def test_too_many_steps(name: str):
    with pytest.raises(UserError, match="2000 steps are more than the 1000"):
        Sampler({"num_train_timesteps": 1000}, name, 2000)


def test_too_few_steps():
    with pytest.raises(UserError, match="UnCLIPScheduler cannot take 1 steps"):
        Sampler({}, "UnCLIPScheduler", 1)


def test_schedulers_that_use_no_predicted_variance_are_not_told_of_one():
    """DPMSolverMultistepScheduler would cut every model output to three channels."""
    sampler = Sampler(config(variance_type="learned_range"), "DPMSolverMultistepScheduler", 5)
    assert not sampler.learned_variance
    assert sampler.step(OUTPUT, 0, LATENTS, refuse).latents.shape == LATENTS.shape


def test_samplers_of_the_same_settings_remember_nothing_of_each_other():
    """What is learned of a scheduler is kept; where one run stands is its own."""

    def run(sampler: Sampler, steps: int) -> torch.Tensor:
        latents, memory = LATENTS, ()
        for k in range(steps):
            latents, _, memory = sampler.step(OUTPUT * (k + 1), k, latents, refuse, memory)
        return latents

    first = Sampler(config(), "DPMSolverMultistepScheduler", 5)
    expected = run(first, 5)
    half, other = Sampler(config(), "DPMSolverMultistepScheduler", 5), Sampler(config(), "default", 5)
    run(half, 3)
    assert other.K == half.K
    assert torch.equal(run(Sampler(config(), "DPMSolverMultistepScheduler", 5), 5), expected)
    assert torch.equal(run(first, 5), expected)
    assert half.remembered > other.remembered == 0


def test_other_settings_are_learned_anew():
    few, many = (Sampler(config(), "DDIMScheduler", steps) for steps in (5, 6))
    assert (few.K, many.K) == (5, 6)
    clipped = Sampler(config() | {"clip_sample": True}, "default", 5)
    assert clipped.identity["clip_sample"] != Sampler(config(), "default", 5).identity["clip_sample"]


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("DDIMScheduler", [1, 2, 3, 4]),
        ("HeunDiscreteScheduler", [2, 4, 6, 8]),
        ("PNDMScheduler", []),
        ("LMSDiscreteScheduler", []),
    ],
)
def test_where_a_path_may_begin_from_a_picture(name: str, steps: list[int]):
    """Heun's not between a step's two evaluations; PNDM's and LMS' nowhere but in the last steps, which are plain."""
    sampler = Sampler(config(), name, 5)
    allowed = []
    for k in range(1, sampler.K):
        try:
            allowed.append(sampler.begun_at(k) and k)
        except UserError as error:
            assert name in error.message
    late = sampler.K - 2
    assert [k for k in allowed if k < late] == [k for k in steps if k < late]


def test_what_begins_later_leaves_the_sampler_as_it_was():
    """A multistep solver from step 0 and one that begins at step 2 learn of the same scheduler, each for itself."""

    def run(sampler: Sampler, first: int) -> torch.Tensor:
        latents, memory = LATENTS, ()
        for k in range(first, sampler.K):
            latents, _, memory = sampler.step(OUTPUT * (k + 1), k, latents, refuse, memory)
        return latents

    whole = Sampler(config(), "DPMSolverMultistepScheduler", 5)
    expected = run(whole, 0)
    later = whole.begun_at(2)
    begun = run(later, 2)
    assert whole.begun_at(0) is whole
    assert torch.equal(run(whole, 0), expected)
    assert torch.equal(run(Sampler(config(), "DPMSolverMultistepScheduler", 5).begun_at(2), 2), begun)
    clean, noise = LATENTS, torch.ones_like(LATENTS)
    level = noise_level(later._scheduler, 2)
    assert torch.allclose(later.noised(2, clean, noise), level.alpha * clean + level.sigma * noise)
