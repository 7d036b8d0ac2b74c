"""Guidance in a part of the steps: as stock pipelines compute it where a user switches it off, else refused."""

from typing import Any

import pytest
import torch
from diffusers.guiders import ClassifierFreeGuidance
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.errors import UserError
from generators.catalogue import model
from generators.checkpoints import load_pipeline
from generators.executor import execute
from generators.families.base import Family, get_family, resolve_settings
from generators.guidance import WHOLE, GuidanceInterval, guidance_interval
from generators.noise import KeyedNoise, node_key
from generators.sharing.plan import baseline_plan
from sweeps.grid import sources
from sweeps.record import EVERYWHERE
from sweeps.spec import SweepSpec

PROMPTS = ["a red circle", "a blue square"]
GUIDED = ("mini-kandinsky", "mini-karlo", "mini-sd", "mini-z-image")


def loaded(name: str, **asked: Any) -> tuple[Family, Any]:
    entry = model(name)
    known = get_family(entry.family).settings_type.model_fields
    asked = {"steps": 6, "prior_steps": 2, "super_res_steps": 2, **asked}
    settings = resolve_settings(entry, {key: value for key, value in asked.items() if key in known})
    return get_family(entry.family).load(entry, "cpu", "fp32"), settings


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 60))
def test_the_steps_are_those_of_diffusers_own_guider(start: float, stop: float, steps: int):
    if not round(start, 3) < round(stop, 3):
        return
    interval = GuidanceInterval(round(start, 3), round(stop, 3))
    assert guidance_interval(interval.text) == interval
    guider = ClassifierFreeGuidance(guidance_scale=7.5, start=interval.start, stop=interval.stop)
    on = []
    for k in range(steps):
        guider.set_state(step=k, num_inference_steps=steps, timestep=torch.tensor(k))
        on.append(guider.num_conditions == 2)
    assert [k in interval.steps(steps) for k in range(steps)] == on


@pytest.mark.parametrize("text", ["0.5", "0.5..0.5", "0.7..0.2", "-0.1..1", "0..1.1", "a..b", "nan..1"])
def test_what_is_no_interval_is_refused(text: str):
    with pytest.raises(UserError, match="is no interval from 0 to 1"):
        guidance_interval(text)


def test_nothing_is_said_of_guidance_all_the_way():
    _, settings = loaded("mini-sd")
    assert settings.guidance_interval == WHOLE == EVERYWHERE
    assert "guidance_interval" not in settings.model_dump()
    assert "guidance_interval" not in settings.model_dump_json()
    part = settings.model_copy(update={"guidance_interval": "0.25..1"})
    assert part.model_dump()["guidance_interval"] == "0.25..1"
    assert type(settings).model_validate(part.model_dump()) == part


def test_stable_diffusion_is_as_stock_where_a_callback_ends_guidance():
    """As diffusers' documentation of "dynamic classifier-free guidance" does it."""
    family, settings = loaded("mini-sd", guidance=4)
    plan = baseline_plan(len(PROMPTS), family.sampler(settings).K)
    settings = settings.model_copy(update={"guidance_interval": "0..0.5"})
    noise = KeyedNoise(settings.seed)
    conditioning = family.encode(PROMPTS, PROMPTS, settings)
    ours = execute(plan, family, conditioning, PROMPTS, settings, noise=noise, batch_size=4).latents

    entry = model("mini-sd")
    stock = load_pipeline(
        "StableDiffusionPipeline", entry.source("pipeline"), torch.float32, torch.device("cpu"), dict(entry.borrowed)
    )
    stock.set_progress_bar_config(disable=True)

    def ended(pipeline: Any, k: int, timestep: Tensor, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if k + 1 == int(0.5 * pipeline.num_timesteps):
            pipeline._guidance_scale = 0.0
            given["prompt_embeds"] = given["prompt_embeds"].chunk(2)[1]
        return given

    theirs = stock(
        PROMPTS,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        height=settings.height,
        width=settings.width,
        latents=noise.initial([node_key([prompt]) for prompt in PROMPTS], family.latent_shape(settings)),
        callback_on_step_end=ended,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        output_type="latent",
    ).images
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", GUIDED)
@torch.no_grad()
def test_outside_it_the_prediction_is_that_for_the_prompt_alone(name: str):
    """Guided predictions lie on a line through it: what they are at two guidances tells what it is without."""
    family, settings = loaded(name)
    conditioning = family.encode(PROMPTS, PROMPTS, settings)
    family.accelerate()
    sampler, latents = family.sampler(settings), KeyedNoise(0).initial(PROMPTS, family.latent_shape(settings))

    def predicted(of: Any) -> Tensor:
        return family.predict(latents, 1, sampler, conditioning.tensors, of)

    two, three = (predicted(settings.model_copy(update={"guidance": guidance})) for guidance in (2.0, 3.0))
    off = family.unguided(family.entry, settings)
    extrapolated = two + (off.guidance - 2) * (three - two)
    assert torch.allclose(predicted(off), extrapolated, atol=2e-4)
    assert not torch.allclose(predicted(off), two, atol=2e-3)


@pytest.mark.parametrize("name", GUIDED)
def test_with_guidance_all_the_way_nothing_changes_and_with_a_part_of_it_something_does(name: str):
    family, settings = loaded(name)
    plan = baseline_plan(len(PROMPTS), family.sampler(settings).K)
    conditioning = family.encode(PROMPTS, PROMPTS, settings)

    def latents(interval: str | None) -> Tensor:
        asked = settings if interval is None else settings.model_copy(update={"guidance_interval": interval})
        noise = KeyedNoise(settings.seed)
        return execute(plan, family, conditioning, PROMPTS, asked, noise=noise, batch_size=2).latents

    plain = latents(None)
    assert torch.equal(plain, latents("0..1"))
    assert not torch.allclose(plain, latents("0.5..1"), atol=1e-3)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"model": "mini-flux"}, "at guidance 0 its denoiser evaluates one row"),
        ({"model": "mini-sd", "guidance": "1"}, "at guidance 1 its denoiser evaluates one row"),
        ({"model": "mini-sd", "steps": "3", "guidance_interval": "0.4..0.45"}, "holds none of"),
    ],
)
def test_where_it_would_change_nothing_it_is_refused(asked: dict[str, str], why: str):
    spec = SweepSpec(**{"guidance_interval": "0.25..1", "prompt": PROMPTS, **asked})
    with pytest.raises(UserError, match=why):
        list(sources(spec, "cpu"))


def test_denoiser_caches_keep_every_rows_state_and_refuse_it():
    with pytest.raises(UserError, match="a guidance interval changes their number"):
        SweepSpec(guidance_interval="0.25..1", denoiser_cache="first-block", prompt=PROMPTS)
