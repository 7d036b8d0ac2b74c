"""Our Stable Diffusion is diffusers' Stable Diffusion, bit for bit."""

import json
import logging
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from stock_noise import StockNoise
from tiny_stable_diffusion import save_tiny_stable_diffusion
from torch import Tensor

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import Execution, decode_images, execute
from generators.families.base import get_family
from generators.families.stable import ENCODE_BATCH
from generators.families.stable_diffusion import StableDiffusion
from generators.model_entry import embedded_path
from generators.noise import node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, baseline_plan

PROMPTS = ["a red fox", "a blue cat, asleep", "nine dogs", "a red fox", "a tree by a lake"]
KEYS = [f"{prompt}#{PROMPTS[:i].count(prompt)}" for i, prompt in enumerate(PROMPTS)]
NEGATIVE = "a grey fog"
# DDPM and ancestral Euler draw noise at every step; PNDM, DPM-Solver++, UniPC and Heun remember earlier steps.
SCHEDULERS = (
    "default",
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "HeunDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def family(folder: Path) -> StableDiffusion:
    entry = model(str(folder))
    return get_family(entry.family).load(entry, "cpu", "fp32")


@pytest.fixture(scope="module")
def stock(folder: Path) -> StableDiffusionPipeline:
    return loaded(folder)


@pytest.fixture(scope="module")
def conditioning(family: StableDiffusion) -> Conditioning:
    return family.encode(PROMPTS, KEYS, settings_of(family))


def loaded(folder: Path, **parts) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def settings_of(family: StableDiffusion, **asked) -> GenerationSettings:
    fixed = {"steps": 4, "guidance": 3.0, "dtype": "fp32", "negative_prompt": NEGATIVE}
    return family.settings_type.resolve(family.entry.defaults, {**fixed, **asked})


def ours(family: StableDiffusion, conditioning: Conditioning, settings, batch_size: int) -> tuple[Tensor, np.ndarray]:
    noise, plan = StockNoise(), baseline_plan(len(conditioning), family.sampler(settings).K)
    done = execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=batch_size)
    images = decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(batch_size))
    return done.latents, np.concatenate(list(images))


def theirs(stock, conditioning: Conditioning, settings, batch_size: int) -> tuple[Tensor, np.ndarray]:
    """The stock pipeline's own call, a batch at a time, fed what `StockNoise` feeds ours."""
    own = stock.scheduler
    if settings.scheduler != "default":
        stock.scheduler = getattr(diffusers, settings.scheduler).from_config(own.config)
    try:
        parts = [
            stock_call(stock, conditioning, settings, slice(i, i + batch_size)) for i in range(0, len(KEYS), batch_size)
        ]
    finally:
        stock.scheduler = own
    latents, images = zip(*parts, strict=True)
    return torch.cat(latents), np.concatenate(images)


def stock_call(stock, conditioning: Conditioning, settings, rows: slice) -> tuple[Tensor, np.ndarray]:
    noise, nodes, last = StockNoise(), [node_key([key]) for key in KEYS[rows]], {}
    generators = [noise.generator(0, 0, node) for node in nodes]

    def reseed(pipeline, k, timestep, tensors):
        for generator, node in zip(generators, nodes, strict=True):
            generator.manual_seed(noise.generator(k + 1, 0, node).initial_seed())
        last.update(tensors)
        return tensors

    side = 2 ** (len(stock.vae.config.block_out_channels) - 1)
    dtype, device = stock.unet.dtype, stock.unet.device
    shape = (stock.unet.config.in_channels, settings.height // side, settings.width // side)
    images = stock(
        prompt_embeds=conditioning.tensors["text_states"][rows].to(device, dtype),
        negative_prompt_embeds=conditioning.tensors["negative_text_states"][rows].to(device, dtype),
        height=settings.height,
        width=settings.width,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        latents=noise.initial(nodes, shape).to(device, dtype),
        generator=generators,
        callback_on_step_end=reseed,
        output_type="pil",
    ).images
    return last["latents"].cpu(), np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_standard_is_stock_bit_for_bit_in_the_same_batches(family, stock, conditioning, scheduler, guidance):
    settings = settings_of(family, scheduler=scheduler, guidance=guidance)
    latents, images = ours(family, conditioning, settings, 2)
    stock_latents, stock_images = theirs(stock, conditioning, settings, 2)
    assert latents.isfinite().all()
    assert images.std() > 1
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)


@pytest.mark.parametrize("scheduler", ["default", "DPMSolverMultistepScheduler"])
def test_the_embedded_checkpoint_is_stock_bit_for_bit(scheduler):
    family = StableDiffusion.load(model("mini-sd"), "cpu", "fp32")
    conditioning = family.encode(PROMPTS, KEYS, settings_of(family))
    borrowed = {name: getattr(family.encoder, name) for name in ("tokenizer", "text_encoder")}
    stock, settings = loaded(embedded_path("stable-diffusion"), **borrowed), settings_of(family, scheduler=scheduler)
    (latents, images), (expected, stock_images) = (
        call(which, conditioning, settings, 5) for call, which in ((ours, family), (theirs, stock))
    )
    assert torch.equal(latents, expected)
    assert np.array_equal(images, stock_images)
    assert np.abs(images[0].astype(int) - images[2]).mean() > 5, "it paints"


@pytest.mark.parametrize("scheduler", ["default", "DDPMScheduler"])
def test_batch_size_changes_no_more_than_twice_what_it_changes_in_stock(family, stock, conditioning, scheduler):
    settings = settings_of(family, scheduler=scheduler)
    (latents, images), (alone, images_alone) = (ours(family, conditioning, settings, size) for size in (5, 1))
    (expected, stock_images), (stock_alone, stock_images_alone) = (
        theirs(stock, conditioning, settings, size) for size in (5, 1)
    )
    assert (latents - alone).abs().max() <= 2 * (expected - stock_alone).abs().max()
    apart, stock_apart = (
        np.abs(a.astype(int) - b).max() for a, b in ((images, images_alone), (stock_images, stock_images_alone))
    )
    assert apart <= 2 * stock_apart


def all_then_each(conditioning: Conditioning, steps: int) -> SharingPlan:
    """All prompts as one cluster for one step, then each alone."""
    n = len(conditioning)
    return SharingPlan(
        n_prompts=n,
        steps=steps,
        first=[1] * n + [0],
        stop=[steps] * n + [1],
        source=[n] * n + [-1],
        order=list(range(n)),
        lo=[*range(n), 0],
        hi=[*range(1, n + 1), n],
        output=list(range(n)),
        combiner="mean",
    )


def test_a_clusters_text_states_are_means_and_its_unconditional_row_everyones(conditioning: Conditioning):
    n = len(conditioning)
    rows = conditioning.rows(all_then_each(conditioning, 4), [n, 0])
    mean = conditioning.tensors["text_states"].double().mean(0).float()
    assert torch.allclose(rows["text_states"][0], mean, rtol=0, atol=1e-6)
    for negative in rows["negative_text_states"]:
        assert torch.equal(negative, conditioning.tensors["negative_text_states"][0])


@pytest.mark.parametrize("scheduler", ["default", "DPMSolverMultistepScheduler"])
def test_a_split_hands_the_schedulers_memory_to_every_child(family, stock, conditioning, scheduler):
    """Each prompt's path, its cluster's first step included, through a fresh scheduler of the stock pipeline."""
    settings, noise = settings_of(family, scheduler=scheduler), StockNoise()
    sampler = family.sampler(settings)
    plan = all_then_each(conditioning, sampler.K)
    done = execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=1)
    cluster = conditioning.rows(plan, [len(KEYS)])
    for prompt in (0, len(KEYS) - 1):
        name = type(stock.scheduler).__name__ if scheduler == "default" else scheduler
        fresh = getattr(diffusers, name).from_config(stock.scheduler.config)
        fresh.set_timesteps(settings.steps)
        latent = noise.initial([node_key(KEYS)], family.latent_shape(settings)) * fresh.init_noise_sigma
        for k, t in enumerate(fresh.timesteps):
            rows = cluster if k == 0 else {name: rows[prompt, None] for name, rows in conditioning.tensors.items()}
            with torch.no_grad():
                both = torch.cat([rows["negative_text_states"], rows["text_states"]])
                negative, positive = stock.unet(torch.cat([latent] * 2), t, both).sample.chunk(2)
            latent = fresh.step(negative + settings.guidance * (positive - negative), t, latent).prev_sample
        assert torch.equal(done.latents[prompt], latent[0])


def test_encoder_and_denoiser_are_loaded_apart_and_the_encoder_is_given_back(folder):
    family = StableDiffusion.load(model(str(folder)), "cpu", "fp32")
    family.encode(PROMPTS[:1], KEYS[:1], settings_of(family))
    assert family.encoder.unet is None
    assert family.encoder.vae is None
    family.release_encoders()
    assert family._encoders is None
    assert family.denoiser.text_encoder is None


def test_the_safety_checker_of_a_checkpoint_is_left_where_it_is(folder, tmp_path, caplog, monkeypatch):
    """Public checkpoints list one; here its weights are not even there."""
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    copy = shutil.copytree(folder, tmp_path / "listed")
    index = json.loads((copy / "model_index.json").read_text())
    del index["requires_safety_checker"], index["image_encoder"]
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (copy / "model_index.json").write_text(json.dumps(index))
    family = StableDiffusion.load(model(str(copy)), "cpu", "fp32")
    assert family.encoder.safety_checker is None
    assert family.denoiser.safety_checker is None
    assert not caplog.messages


@pytest.mark.parametrize("scheduler", ["default", "DDIMScheduler", "EulerDiscreteScheduler"])
def test_outdated_scheduler_configurations_are_mended_as_stock_mends_them(folder, tmp_path, conditioning, scheduler):
    copy = shutil.copytree(folder, tmp_path / "outdated")
    config = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "clip_sample": True}
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    index = (copy / "model_index.json").read_text()
    (copy / "model_index.json").write_text(index.replace("PNDMScheduler", "DDIMScheduler"))
    family = StableDiffusion.load(model(str(copy)), "cpu", "fp32")
    with pytest.warns(FutureWarning, match="steps_offset"):
        stock = loaded(copy)
    settings = settings_of(family, scheduler=scheduler)
    assert torch.equal(ours(family, conditioning, settings, 5)[0], theirs(stock, conditioning, settings, 5)[0])


def test_a_unet_distilled_with_its_guidance_is_given_it_as_stock_gives_it(tmp_path, conditioning):
    folder = save_tiny_stable_diffusion(tmp_path / "distilled", time_cond_proj_dim=8)
    family, stock = StableDiffusion.load(model(str(folder)), "cpu", "fp32"), loaded(folder)
    settings = settings_of(family)
    assert torch.equal(ours(family, conditioning, settings, 5)[0], theirs(stock, conditioning, settings, 5)[0])
    denoiser = next(part for part in family.components(settings) if part.name == "denoiser")
    assert denoiser.calls == 1
    with torch.device("meta"):
        module = denoiser.build()
        args, kwargs = denoiser.inputs(module)
        module(*args, **kwargs)
    assert kwargs["timestep_cond"].shape == (1, 8)


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


@pytest.mark.parametrize(
    ("device", "dtype"),
    [("cpu", "bf16"), pytest.param("cuda", "fp16", marks=CUDA), pytest.param("cuda", "bf16", marks=CUDA)],
)
def test_half_precision_is_stocks_half_precision(folder, family, device, dtype):
    """With PNDM, whose steps draw nothing: stock noise is drawn in half precision, ours in float32."""
    half = StableDiffusion.load(family.entry, device, dtype)
    settings = settings_of(half, dtype=dtype)
    conditioning = half.encode(PROMPTS, KEYS, settings)
    latents, images = ours(half, conditioning, settings, 5)
    assert latents.dtype == half.dtype
    expected, stock_images = theirs(loaded(folder, torch_dtype=half.dtype).to(device), conditioning, settings, 5)
    if device == "cpu":
        assert torch.equal(latents, expected)
        assert np.array_equal(images, stock_images)
    else:  # CUDA kernels may differ from one call to the next
        assert torch.allclose(latents.float(), expected.float(), rtol=0.05, atol=0.05 * float(expected.std()))


def test_another_familys_checkpoint_is_named_for_what_it_is(folder, tmp_path, tiny_kandinsky):
    assert StableDiffusion.recognise(tmp_path) is None
    assert StableDiffusion.recognise(tiny_kandinsky / "decoder") is None
    other = model(str(folder)).model_copy(update={"sources": {"pipeline": str(tiny_kandinsky / "decoder")}})
    with pytest.raises(UserError, match=r"is a KandinskyV22Pipeline, not a StableDiffusionPipeline"):
        StableDiffusion.load(other, "cpu", "fp32")
    with pytest.raises(UserError, match="nowhere does not exist"):
        StableDiffusion.load(other.model_copy(update={"sources": {"pipeline": "/nowhere"}}), "cpu", "fp32")


def test_a_checkpoint_can_be_named_with_its_family(folder):
    named, found = model(f"stable-diffusion:{folder}"), model(str(folder))
    assert named.family == "stable-diffusion"
    assert (named.sources, named.defaults) == (found.sources, found.defaults)


def test_missing_weights_are_one_line(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "damaged")
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    family = StableDiffusion.load(model(str(copy)), "cpu", "fp32")
    with pytest.raises(UserError, match="cannot load the weights"):
        _ = family.denoiser


def test_components_are_what_a_full_batch_of_prompts_computes(family):
    """Module calls x rows; one of the batch's pictures is made."""
    prompts, keys = PROMPTS[:1] * ENCODE_BATCH, [f"{PROMPTS[0]}#{number}" for number in range(ENCODE_BATCH)]
    for asked in ({}, {"guidance": 1.0}, {"negative_prompt": "", "scheduler": "HeunDiscreteScheduler"}):
        settings = settings_of(family, **asked)
        modules = {
            "text encoder": family.encoder.text_encoder,
            "denoiser": family.denoiser.unet,
            "decoder": family.denoiser.vae.decoder,
        }
        rows = dict.fromkeys(modules, 0)

        def counter(name, rows=rows):
            def count(module, args):
                rows[name] += len(args[0])

            return count

        hooks = [module.register_forward_pre_hook(counter(name)) for name, module in modules.items()]
        encoded = family.encode(prompts, keys, settings)
        one = Conditioning({name: tensor[:1] for name, tensor in encoded.tensors.items()})
        plan = baseline_plan(1, family.sampler(settings).K)
        done: Execution = execute(plan, family, one, keys[:1], settings, noise=StockNoise(), batch_size=1)
        list(decode_images(family, done, keys[:1], settings, noise=StockNoise(), batches=Batches(1)))
        for hook in hooks:
            hook.remove()
        per_unit = {"prompt": ENCODE_BATCH, "node_step": plan.node_steps, "image": 1}
        described = {part.name: part.calls * per_unit[part.unit] for part in family.components(settings)}
        assert described == rows
