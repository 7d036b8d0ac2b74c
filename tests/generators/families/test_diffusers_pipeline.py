"""Any pipeline of diffusers, run by our executor, is that pipeline's own call, bit for bit."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stock_noise import StockNoise
from stock_pipelines import KEYS, PROMPTS, Case, stock_of
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import default_collate

from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import execute
from generators.families.base import get_family, resolve_settings
from generators.families.diffusers_pipeline import DiffusersPipeline
from generators.families.pipeline_classes import PROVED
from generators.families.prompt_returns import unpacked
from generators.noise import node_key
from generators.sharing.plan import SharingPlan

every_class = pytest.mark.parametrize("name", PROVED)
OTHERS = [(name, other) for name, (_, *others) in PROVED.items() for other in others]
# Classes of a kind each, for what is the same code for all.
KINDS = pytest.mark.parametrize("name", ["StableDiffusionPipeline", "FluxPipeline"])


@every_class
def test_tau_zero_is_stock_bit_for_bit(case, name: str):
    """Latents and pictures, with guidance where the model has it."""
    one = case(name)
    assert type(one.stock.scheduler).__name__ == PROVED[name][0]
    settings = one.settings()
    (latents, images), (stock_latents, stock_images) = one.ours(settings), one.theirs(settings)
    assert latents.shape == stock_latents.shape
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)
    assert images.shape == (len(PROMPTS), settings.height, settings.width, 3)
    assert float(latents.std()) > 0.01  # nothing died on the way
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize(("name", "scheduler"), OTHERS)
def test_another_scheduler_and_a_negative_prompt_are_stock_bit_for_bit_too(case, name: str, scheduler: str):
    one = case(name)
    asked: dict[str, Any] = {"scheduler": scheduler}
    if "negative_prompt" in inspect.signature(type(one.stock).__call__).parameters:
        asked["negative_prompt"] = "fog"
    if name == "FluxPipeline":  # without it stock passes over a negative prompt
        asked["arguments"] = {"true_cfg_scale": 2.0}
    settings = one.settings(**asked)
    (latents, images), (stock_latents, stock_images) = one.ours(settings), one.theirs(settings)
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)


@pytest.mark.parametrize(("name", "guidance"), [("StableDiffusionPipeline", 1.0), ("FluxPipeline", 0.0)])
def test_without_guidance_it_is_stock_bit_for_bit_too(case, name: str, guidance: float):
    one = case(name)
    settings = one.settings(guidance=guidance)
    (latents, images), (stock_latents, stock_images) = one.ours(settings), one.theirs(settings)
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)


@KINDS
def test_batch_size_changes_no_more_than_twice_what_it_changes_in_stock(case, name: str):
    one = case(name)
    (latents, _), (alone, _) = (one.ours(one.settings(), size) for size in (3, 1))
    (stock, _), (stock_alone, _) = (one.theirs(one.settings(), size) for size in (3, 1))
    assert (latents - alone).abs().max() <= 2 * (stock - stock_alone).abs().max()


@every_class
def test_half_precision_is_stocks_half_precision(case, name: str):
    """Weights and latents in bf16, on the CPU."""
    one = case(name).halved()
    # whose initial latents are noise as it is: times a number, stock and we round at other moments
    scheduler = "DPMSolverMultistepScheduler" if name == "StableDiffusionXLPipeline" else "default"
    settings = one.settings(dtype="bf16", steps=2, scheduler=scheduler)
    (latents, images), (stock_latents, stock_images) = one.ours(settings), one.theirs(settings)
    assert torch.equal(latents.float(), stock_latents.float())
    assert np.array_equal(images, stock_images)


@pytest.mark.parametrize("name", ["mini-sd", "mini-flux"])
def test_the_embedded_checkpoint_is_stock_bit_for_bit(name: str):
    """With components from elsewhere, pictures and all."""
    entry = model(name)
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    parts = {part: getattr(family.encoders, part) for part in entry.borrowed if part != "vae"}
    parts |= {"vae": family.denoiser.vae} if "vae" in entry.borrowed else {}
    one = Case.of(family, stock_of(Path(entry.source("pipeline")), **parts))
    settings = resolve_settings(entry, {"steps": 4})
    (latents, images), (stock_latents, stock_images) = one.ours(settings), one.theirs(settings)
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)
    assert np.abs(images[0].astype(int) - images[1]).mean() > 5, "it paints"


@every_class
def test_encoding_is_what_stock_encodes_together_or_alone(case, name: str):
    """Taken apart into rows and put together again, all of it; alone, without what longer prompts would add."""
    one = case(name)
    settings = one.settings()

    for size, groups in ((3, [[0, 1, 2]]), (1, [[0], [1], [2]])):
        rows = one.family.encode(PROMPTS, KEYS, settings, Batches(size)).tensors
        for group in groups:
            ours = unpacked({key: tensor[group] for key, tensor in rows.items()}, torch.device("cpu"))
            assert same(ours, one.encodings(settings, [PROMPTS[place] for place in group]))


def same(ours: Any, theirs: Any) -> bool:
    """Whether two trees of tensors are equal, types, forms and bits."""
    pairs = list(zip(tree_leaves(ours), tree_leaves(theirs), strict=True))
    return bool(pairs) and all(
        torch.equal(one, other) and one.dtype == other.dtype if isinstance(one, Tensor) else one == other
        for one, other in pairs
    )


@every_class
def test_paths_through_a_split_are_each_path_alone(case, name: str):
    """Prompts 0 and 1 share two of four steps; node after node, so that no batch rounds otherwise."""
    one = case(name)
    family, settings = one.family, one.settings()
    conditioning = family.encode(PROMPTS, KEYS, settings, Batches(one.batch))
    k = family.sampler(settings).K
    plan = SharingPlan(
        n_prompts=3,
        steps=k,
        first=[2, 2, 0, 0],
        stop=[k, k, k, 2],
        source=[3, 3, -1, -1],
        order=[0, 1, 2],
        lo=[0, 1, 2, 0],
        hi=[1, 2, 3, 2],
        output=[0, 1, 2],
        combiner="mean",
    )
    latents = execute(plan, family, conditioning, KEYS, settings, noise=StockNoise(), batch_size=1).latents
    for prompt, path in ((0, [3, 3, *[0] * (k - 2)]), (1, [3, 3, *[1] * (k - 2)]), (2, [2] * k)):
        assert torch.equal(latents[prompt : prompt + 1], path_alone(family, settings, conditioning, plan, path))
    assert (latents[0] - latents[1]).abs().max() > 1e-5


def path_alone(
    family: DiffusersPipeline, settings: Any, conditioning: Conditioning, plan: SharingPlan, path: list[int]
) -> Tensor:
    sampler, noise = family.sampler(settings), StockNoise()
    key = node_key([KEYS[prompt] for prompt in plan.members(path[0])])
    latents, memory = noise.initial([key], family.latent_shape(settings)) * sampler.init_sigma, ()
    for k, node in enumerate(path):
        row = default_collate(conditioning.rows(plan, [node]))
        output = family.predict(latents, k, sampler, row, settings)
        _, _, memory = step = sampler.step(output, k, latents, lambda shape, _: torch.zeros(shape), memory)
        latents = step.latents
    return latents
