"""A pipeline's components, traced without weights, are what a run computes."""

import pytest
import torch
from stock_pipelines import KEYS, PROMPTS
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.errors import UserError
from generators.batching import Batches
from generators.families.pipeline_classes import PROVED
from generators.families.prompt_returns import LONG
from metrics.flops import count

# Whose negative prompts are as long as prompts, or that have none.
EVENLY = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline")


@pytest.mark.parametrize("name", PROVED)
def test_denoiser_costs_what_its_real_call_does(case, name: str):
    one = case(name)
    family, settings = one.family, one.settings()
    try:
        components = family.components(settings)
    except UserError as error:
        assert "looks at values" in str(error)
        pytest.skip(str(error))
    (denoiser,) = [part for part in components if part.unit == "node_step"]
    conditioning = family.encode([LONG], KEYS[:1], settings)
    latents = torch.zeros(1, *family.latent_shape(settings))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:  # what the meta device does
        family.predict(latents, 0, family.sampler(settings), conditioning.tensors, settings)
    expected = count(denoiser) * denoiser.calls
    if name in EVENLY:
        assert expected == counted.get_total_flops()
    else:
        assert 0.5 * expected < counted.get_total_flops() <= expected


@pytest.mark.parametrize(
    ("name", "asked", "calls"),
    [
        ("StableDiffusionPipeline", {}, {"text encoder": 2, "denoiser": 2, "decoder": 1}),
        ("StableDiffusionPipeline", {"guidance": 1.0}, {"text encoder": 1, "denoiser": 1, "decoder": 1}),
        ("FluxPipeline", {}, {"text encoder": 1, "text encoder 2": 1, "denoiser": 1, "decoder": 1}),
        (
            "StableDiffusion3Pipeline",
            {},
            {"text encoder": 2, "text encoder 2": 2, "text encoder 3": 2, "denoiser": 2, "decoder": 1},
        ),
    ],
)
def test_components_are_what_a_run_computes(case, name: str, asked: dict, calls: dict[str, int]):
    """As many rows as the real modules see."""
    one = case(name)
    family, settings = one.family, one.settings(**asked)
    components = {part.name: part for part in family.components(settings)}
    assert {part: components[part].calls for part in components} == calls
    modules = {
        part: getattr(family.encoders, part.replace(" ", "_")) for part in calls if part.startswith("text encoder")
    }
    modules |= {"denoiser": family.network, "decoder": family.denoiser.vae.decoder}
    rows = dict.fromkeys(modules, 0)

    def counter(part: str):
        def counted(module, args, kwargs):
            rows[part] += len(args[0] if args else kwargs.get("hidden_states", kwargs.get("input_ids")))

        return counted

    hooks = [module.register_forward_pre_hook(counter(part), with_kwargs=True) for part, module in modules.items()]
    conditioning = family.encode(PROMPTS, KEYS, settings, Batches(2))
    latents = torch.randn(3, *family.latent_shape(settings))
    family.predict(latents, 0, family.sampler(settings), conditioning.tensors, settings)
    family.decode(latents, settings, lambda shape, _: torch.zeros(shape))
    for hook in hooks:
        hook.remove()
    assert rows == {part: len(PROMPTS) * number for part, number in calls.items()}
