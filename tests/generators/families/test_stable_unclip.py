"""Our Stable unCLIP is diffusers' Stable unCLIP, bit for bit."""

import functools
import logging
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, PriorTransformer, StableUnCLIPPipeline, UnCLIPScheduler
from flop_checks import count_the_same_on_meta_as_on_real_tensors
from stock_noise import StockNoise
from tiny_stable_unclip import as_published, save_tiny_stable_unclip
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import decode_images, execute
from generators.families.base import ENCODE_BATCH, get_family
from generators.families.stable_unclip import StableUnCLIP
from generators.model_entry import models
from generators.noise import derived_key, node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import baseline_plan

PROMPTS = ["a red fox", "a blue cat, asleep", "nine dogs", "a red fox", "a tree by a lake"]
KEYS = [f"{prompt}#{PROMPTS[:i].count(prompt)}" for i, prompt in enumerate(PROMPTS)]
# The second draws noise at every step, the last two remember earlier steps.
SCHEDULERS = ("default", "DDPMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_stable_unclip(tmp_path_factory.mktemp("unclip"))


@pytest.fixture(scope="module")
def published(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return as_published(folder, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def family(folder: Path) -> StableUnCLIP:
    entry = model(str(folder))
    return get_family(entry.family).load(entry, "cpu", "fp32")


@pytest.fixture(scope="module")
def stock(folder: Path) -> StableUnCLIPPipeline:
    pipeline = StableUnCLIPPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def settings_of(family: StableUnCLIP, **asked) -> GenerationSettings:
    fixed = {"steps": 4, "guidance": 3.0, "prior_steps": 3, "dtype": "fp32", "negative_prompt": "a grey fog"}
    return family.settings_type.resolve(family.entry.defaults, {**fixed, **asked})


def ours(family: StableUnCLIP, settings, batch_size: int) -> tuple[Conditioning, Tensor, np.ndarray]:
    conditioning = family.encode(PROMPTS, KEYS, settings, Batches(batch_size))
    noise, plan = StockNoise(), baseline_plan(len(KEYS), family.sampler(settings).K)
    done = execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=batch_size)
    images = decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(batch_size))
    return conditioning, done.latents, np.concatenate(list(images))


def theirs(stock, conditioning: Conditioning, settings, batch_size: int) -> tuple[Tensor, np.ndarray, Tensor]:
    """Final latents, pictures and class labels of the stock pipeline's own call from the prompts, batch by batch."""
    starts = range(0, len(KEYS), batch_size)
    parts = [stock_call(stock, conditioning, settings, slice(i, i + batch_size)) for i in starts]
    latents, images, labels = zip(*parts, strict=True)
    return torch.cat(latents), np.concatenate(images), torch.cat(labels)


def stock_call(stock, conditioning: Conditioning, settings, rows: slice) -> tuple[Tensor, np.ndarray, Tensor]:
    """The generators that the prior and the noise level draw from are ours; every step draws `StockNoise`'s."""
    noise, nodes, last = StockNoise(), [node_key([key]) for key in KEYS[rows]], []
    seeds = [derived_key(settings.embedding_seed, "prior", key) % 2**63 for key in KEYS[rows]]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    name = type(stock.scheduler).__name__ if settings.scheduler == "default" else settings.scheduler
    scheduler = getattr(diffusers, name).from_config(stock.scheduler.config)
    step, labels = scheduler.step, []

    @functools.wraps(step)
    def reseeded(*args, **kwargs):
        for generator, node in zip(generators, nodes, strict=True):
            generator.manual_seed(noise.generator(len(last), 0, node).initial_seed())
        output = step(*args, **kwargs)
        last.append(output[0])
        return output

    scheduler.step = reseeded
    hook = stock.unet.register_forward_pre_hook(
        lambda module, args, kwargs: labels.append(kwargs["class_labels"]), with_kwargs=True
    )
    own, stock.scheduler = stock.scheduler, scheduler
    try:
        images = stock(
            PROMPTS[rows],
            negative_prompt_embeds=conditioning.tensors["negative_text_states"][rows].to(stock.unet.dtype),
            height=settings.height,
            width=settings.width,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            prior_num_inference_steps=settings.prior_steps,
            prior_guidance_scale=settings.prior_guidance,
            noise_level=settings.noise_level,
            latents=noise.initial(nodes, (4, settings.height // 2, settings.width // 2)).to(stock.unet.dtype),
            generator=generators,
            output_type="pil",
        ).images
    finally:
        hook.remove()
        stock.scheduler = own
    return last[-1], np.stack([np.asarray(image) for image in images]), labels[0][-len(nodes) :]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("asked", [{}, {"guidance": 1.0, "prior_guidance": 1.0, "noise_level": 500}])
def test_standard_is_stock_bit_for_bit_from_the_prompts_in_the_same_batches(family, stock, scheduler, asked):
    settings = settings_of(family, scheduler=scheduler, **asked)
    conditioning, latents, images = ours(family, settings, 2)
    stock_latents, stock_images, class_labels = theirs(stock, conditioning, settings, 2)
    assert torch.equal(conditioning.tensors["image_embeds"], class_labels)
    assert latents.isfinite().all()
    assert images.std() > 1
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)


def test_batch_size_changes_no_more_than_twice_what_it_changes_in_stock(family, stock):
    settings = settings_of(family)
    (conditioning, latents, images), (_, alone, images_alone) = (ours(family, settings, size) for size in (5, 1))
    (expected, stock_images, _), (stock_alone, stock_images_alone, _) = (
        theirs(stock, conditioning, settings, size) for size in (5, 1)
    )
    assert (latents - alone).abs().max() <= 2 * (expected - stock_alone).abs().max()
    apart, stock_apart = (
        np.abs(a.astype(int) - b).max() for a, b in ((images, images_alone), (stock_images, stock_images_alone))
    )
    assert apart <= 2 * stock_apart


@pytest.mark.parametrize("negative", ["", "a grey fog"])
def test_text_states_are_stock_bit_for_bit(family, stock, negative):
    encoded = family.encode(PROMPTS, KEYS, settings_of(family, negative_prompt=negative), Batches(3)).tensors
    for rows in (slice(0, 3), slice(3, 5)):
        states, _ = stock.encode_prompt(PROMPTS[rows], "cpu", 1, False)
        assert torch.equal(encoded["text_states"][rows], states)
    _, alone = stock.encode_prompt(PROMPTS[:1], "cpu", 1, True, [negative])
    assert torch.equal(encoded["negative_text_states"], alone.expand(len(PROMPTS), -1, -1))


@pytest.mark.parametrize("noise_level", [0, 900])
def test_an_embedding_and_its_noise_do_not_depend_on_the_batch(family, noise_level):
    settings, heard = settings_of(family, noise_level=noise_level), []
    together = family.encode(PROMPTS, KEYS, settings, on_progress=heard.append).tensors["image_embeds"]
    alone = family.encode(PROMPTS[::-1], KEYS[::-1], settings, Batches(1)).tensors["image_embeds"].flip(0)
    assert torch.allclose(together, alone, atol=1e-5)
    assert heard == [len(PROMPTS)]
    # equal prompts are other occurrences: other noise, another embedding
    assert not torch.allclose(together[0], together[3], atol=1e-2)


def test_the_noise_level_and_the_prior_seed_change_the_embedding_and_the_picture_seed_does_not(family):
    def embeds(**asked) -> Tensor:
        return family.encode(PROMPTS, KEYS, settings_of(family, **asked)).tensors["image_embeds"]

    assert torch.equal(embeds(seed=1, prior_seed=5), embeds(seed=2, prior_seed=5))
    assert not torch.allclose(embeds(seed=1), embeds(seed=2))
    assert not torch.allclose(embeds(), embeds(noise_level=1))


def test_a_noise_level_that_stock_refuses_is_refused_before_anything_runs(family, stock):
    with pytest.raises(ValueError, match="noise_level"):
        stock("a fox", noise_level=1000)
    for act in (family.sampler, lambda settings: family.encode(PROMPTS, KEYS, settings)):
        with pytest.raises(UserError, match=r"noise level of 1000 is too high \(use at most 999"):
            act(settings_of(family, noise_level=1000))


def test_features_options(family, stock):
    conditioning = family.encode(PROMPTS, KEYS, settings_of(family))
    width = conditioning.tensors["pooled"].shape[1]
    assert family.features_options[:2] == ("image_embeds", "pooled")
    features = {option: family.features(conditioning, option) for option in family.features_options}
    assert all(rows.dtype == np.float64 and len(rows) == len(PROMPTS) for rows in features.values())
    # the rest of the conditioning is the noise level's embedding, the same for all
    assert np.array_equal(features["image_embeds"], conditioning.tensors["image_embeds"][:, :width].numpy())
    assert len(conditioning.tensors["image_embeds"][:, width:].unique(dim=0)) == 1
    assert np.array_equal(features["pooled"], conditioning.tensors["pooled"].numpy())
    tokens = stock.tokenizer(PROMPTS, padding="max_length", max_length=24, return_tensors="pt")
    with torch.no_grad():
        read = stock.text_encoder(tokens.input_ids)
    assert np.array_equal(features["pooled"], read.pooler_output.double().numpy())
    for row, states, mask in zip(features["mean_token"], read.last_hidden_state, tokens.attention_mask, strict=True):
        assert np.allclose(row, states[mask.bool()].double().mean(0), rtol=1e-6)
    with pytest.raises(UserError, match="no features 'image_embed'"):
        family.features(conditioning, "image_embed")


def test_published_checkpoints_are_put_together_as_in_diffusers_documentation(folder, published, caplog, monkeypatch):
    """Karlo's prior before a checkpoint of image variations, with a DDPM scheduler of the same noise schedule."""
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    without_prior, karlo = published
    family = StableUnCLIP.load(model(f"stable-unclip:{without_prior}+{karlo}"), "cpu", "fp32")
    settings = settings_of(family)
    conditioning, latents, images = ours(family, settings, 5)
    assert not caplog.messages
    stock = StableUnCLIPPipeline.from_pretrained(
        without_prior,
        prior_tokenizer=CLIPTokenizer.from_pretrained(karlo / "tokenizer"),
        prior_text_encoder=CLIPTextModelWithProjection.from_pretrained(karlo / "text_encoder"),
        prior=PriorTransformer.from_pretrained(karlo / "prior"),
        prior_scheduler=DDPMScheduler.from_config(
            UnCLIPScheduler.from_pretrained(karlo / "prior_scheduler").config, beta_schedule="squaredcos_cap_v2"
        ),
        use_safetensors=True,
    )
    stock.set_progress_bar_config(disable=True)
    expected, stock_images, class_labels = theirs(stock, conditioning, settings, 5)
    assert torch.equal(conditioning.tensors["image_embeds"], class_labels)
    assert torch.equal(latents, expected)
    assert np.array_equal(images, stock_images)
    # which is what the complete checkpoint of the same weights gives
    complete = StableUnCLIP.load(model(str(folder)), "cpu", "fp32")
    assert torch.equal(latents, ours(complete, settings, 5)[1])
    assert [part.name for part in family.components(settings)] == [part.name for part in complete.components(settings)]


def test_a_folder_without_a_prior_gets_the_catalogues(published):
    entry = model(str(published[0]))
    assert entry.family == "stable-unclip"
    assert entry.sources == {"pipeline": str(published[0]), "prior": models()["stable-unclip"].sources["prior"]}


def test_encoders_and_denoiser_are_loaded_apart_and_the_encoders_are_given_back(folder):
    family = StableUnCLIP.load(model(str(folder)), "cpu", "fp32")
    family.encode(PROMPTS[:1], KEYS[:1], settings_of(family))
    assert family.encoder.unet is None
    assert family.encoder.vae is None
    family.release_encoders()
    assert family._encoders is None
    assert family.denoiser.text_encoder is None
    assert family.denoiser.prior is None


def test_half_precision_is_stocks_half_precision(folder, family):
    half = StableUnCLIP.load(family.entry, "cpu", "bf16")
    settings = settings_of(half, dtype="bf16")
    conditioning, latents, images = ours(half, settings, 5)
    assert latents.dtype == torch.bfloat16
    stock = StableUnCLIPPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16, use_safetensors=True)
    stock.set_progress_bar_config(disable=True)
    expected, stock_images, _ = theirs(stock, conditioning, settings, 5)
    assert torch.equal(latents, expected)
    assert np.array_equal(images, stock_images)


def test_prompts_that_the_text_encoders_cut_are_counted_once_and_not_dumped(family, caplog, monkeypatch):
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    too_long, batches = "a " * 30, Batches(2)
    family.encode(["a fox", too_long], KEYS[:2], settings_of(family, negative_prompt=too_long), batches)
    assert batches.notes == [
        "1 of 2 prompts cut to the 24 tokens the text encoder reads, first prompt 2 with 32",
        "1 of 1 negative prompts cut to the 24 tokens the text encoder reads, first negative prompt 1 with 32",
    ]
    assert not caplog.messages


def test_what_does_not_belong_together_is_one_clear_error(folder, family, published, tiny_kandinsky, tmp_path):
    def load(pipeline: Path, prior: Path) -> StableUnCLIP:
        sources = {"pipeline": str(pipeline), "prior": str(prior)}
        return StableUnCLIP.load(family.entry.model_copy(update={"sources": sources}), "cpu", "fp32")

    without_prior, karlo = published
    assert StableUnCLIP.recognise(tmp_path) is None
    assert StableUnCLIP.recognise(karlo) is None
    with pytest.raises(UserError, match="KandinskyV22Pipeline, not a StableUnCLIPPipeline or StableUnCLIPImg2Img"):
        load(tiny_kandinsky / "decoder", karlo)
    with pytest.raises(UserError, match="StableUnCLIPImg2ImgPipeline, not a StableUnCLIPPipeline or UnCLIPPipeline"):
        load(without_prior, without_prior)
    config = karlo / "prior" / "config.json"
    written = config.read_text()
    config.write_text(written.replace('"embedding_dim": 32', '"embedding_dim": 48'))
    try:
        with pytest.raises(UserError, match=r"makes image embeddings of 48 numbers, .* takes 32"):
            load(without_prior, karlo)
    finally:
        config.write_text(written)


def test_size_that_the_stock_pipeline_refuses_is_refused(family):
    defaults = family.entry.defaults
    assert (defaults["height"], defaults["width"]) == (16, 16)
    assert family.latent_shape(settings_of(family, height=16, width=40)) == (4, 8, 20)
    with pytest.raises(UserError, match="width 44 is not a multiple of 8"):
        family.latent_shape(settings_of(family, width=44))


def test_components_are_what_a_full_batch_of_prompts_computes(family):
    """Module calls x rows; one of the batch's pictures is made."""
    prompts, keys = PROMPTS[:1] * ENCODE_BATCH, [f"{PROMPTS[0]}#{number}" for number in range(ENCODE_BATCH)]
    for asked in ({}, {"guidance": 1.0, "prior_guidance": 1.0}):
        settings = settings_of(family, **asked)
        modules = {
            "prior's text encoder": family.encoder.prior_text_encoder,
            "prior": family.encoder.prior,
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
        done = execute(plan, family, one, keys[:1], settings, noise=StockNoise(), batch_size=1)
        list(decode_images(family, done, keys[:1], settings, noise=StockNoise(), batches=Batches(1)))
        for hook in hooks:
            hook.remove()
        per_unit = {"prompt": ENCODE_BATCH, "node_step": plan.node_steps, "image": 1}
        described = {part.name: part.calls * per_unit[part.unit] for part in family.components(settings)}
        assert described == rows


def test_components_count_the_same_on_meta_as_on_real_tensors(family):
    count_the_same_on_meta_as_on_real_tensors(family.components(settings_of(family)))
