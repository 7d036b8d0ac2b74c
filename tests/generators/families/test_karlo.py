"""Our Karlo is diffusers' UnCLIPPipeline, bit for bit."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import UnCLIPPipeline
from flop_checks import count_the_same_on_meta_as_on_real_tensors
from stock_noise import StockNoise
from tiny_karlo import save_tiny_karlo
from torch import Tensor
from torch.nn import functional

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import Execution, decode_images, execute
from generators.families.base import ENCODE_BATCH, get_family, resolve_settings
from generators.families.karlo import Karlo
from generators.families.unclip import text_projection_class
from generators.model_entry import embedded_path
from generators.noise import node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree

PROMPTS = ["a red fox", "a blue cat, asleep", "nine dogs", "a red fox", "a tree by a lake"]
KEYS = [f"{prompt}#{PROMPTS[:i].count(prompt)}" for i, prompt in enumerate(PROMPTS)]
STEPS, PRIOR_STEPS, SUPER_RES_STEPS = 4, 3, 3
TOKENS, SMALL, LARGE = 24, 16, 32


NOISE = StockNoise()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_karlo(tmp_path_factory.mktemp("karlo"))


@pytest.fixture(scope="module")
def stock(folder: Path) -> UnCLIPPipeline:
    return stock_of(folder)


def stock_of(folder: Path, **parts) -> UnCLIPPipeline:
    """Of the same files as ours, since how numbers lie in memory changes their sums."""
    pipeline = UnCLIPPipeline.from_pretrained(folder, use_safetensors=True, text_proj=None, **parts)
    pipeline.register_modules(text_proj=text_projection_class().from_pretrained(folder, subfolder="text_proj"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Karlo:
    entry = model(str(folder))
    return get_family(entry.family).load(entry, "cpu", "fp32")


def settings_of(family: Karlo, **asked) -> GenerationSettings:
    fixed = {"steps": STEPS, "prior_steps": PRIOR_STEPS, "super_res_steps": SUPER_RES_STEPS, "dtype": "fp32"}
    return family.settings_type.resolve(family.entry.defaults, {**fixed, **asked})


def pictures(family: Karlo, done: Execution, keys: list[str], settings: GenerationSettings, batch_size: int):
    batches = Batches(batch_size)
    return np.concatenate(list(decode_images(family, done, keys, settings, noise=NOISE, batches=batches)))


@dataclass
class Case:
    """One scheduler of the decoder, ours and stock."""

    family: Karlo
    stock: UnCLIPPipeline
    scheduler: str

    def ours(self, batch_size: int, **asked) -> tuple[Tensor, np.ndarray]:
        settings = settings_of(self.family, scheduler=self.scheduler, **asked)
        conditioning = self.family.encode(PROMPTS, KEYS, settings, Batches(batch_size))
        plan = baseline_plan(len(PROMPTS), STEPS)
        done = execute(plan, self.family, conditioning, KEYS, settings, noise=NOISE, batch_size=batch_size)
        return done.latents, pictures(self.family, done, KEYS, settings, batch_size)

    def theirs(self, batch_size: int, **asked) -> tuple[Tensor, np.ndarray]:
        settings = settings_of(self.family, **asked)
        cuts = [slice(start, start + batch_size) for start in range(0, len(PROMPTS), batch_size)]
        parts = [stock_call(self.stock, PROMPTS[rows], KEYS[rows], settings) for rows in cuts]
        latents, images = zip(*parts, strict=True)
        return torch.cat(latents), np.concatenate(images)


def stock_call(
    stock: UnCLIPPipeline, prompts: list[str], keys: list[str], settings: GenerationSettings
) -> tuple[Tensor, np.ndarray]:
    """The decoder's last latents and the pictures, from the noise that ours has."""
    nodes = [node_key([key]) for key in keys]
    generators = [torch.Generator().manual_seed(NOISE.seed(settings.embedding_seed, "prior", key)) for key in keys]
    decoder, super_res = stock.decoder_scheduler, stock.super_res_scheduler
    small, large = stock.decoder.config.sample_size, stock.super_res_first.config.sample_size
    with (
        noise_fed(decoder, generators, nodes, lambda k: (k, 0)) as latents,
        noise_fed(super_res, generators, nodes, lambda k: (STEPS, k + 1)),
    ):
        images = stock(
            prompts,
            prior_num_inference_steps=settings.prior_steps,
            decoder_num_inference_steps=settings.steps,
            super_res_num_inference_steps=settings.super_res_steps,
            generator=generators,
            decoder_latents=NOISE.initial(nodes, (3, small, small)).to(stock.dtype),
            super_res_latents=NOISE.step(nodes, STEPS, (3, large, large)).to(stock.dtype),
            prior_guidance_scale=settings.prior_guidance,
            decoder_guidance_scale=settings.guidance,
            output_type="pil",
        ).images
    return latents[-1], np.stack([np.asarray(image) for image in images])


@contextmanager
def noise_fed(scheduler, generators, nodes, noise_of) -> Iterator[list[Tensor]]:
    """The scheduler's steps, each from freshly seeded generators; gives the samples they end with.

    Schedulers that the stock pipeline does not know get what they take of the arguments it passes.
    """
    steps, samples, step = count(), [], scheduler.step
    takes = inspect.signature(step).parameters
    learned = vars(scheduler).get("variance_type") == "learned_range"

    def fed(model_output, timestep, sample, prev_timestep, generator):
        k = next(steps)
        for each, node in zip(generators, nodes, strict=True):
            each.manual_seed(NOISE.seed(*noise_of(k), node))
        further = {"prev_timestep": prev_timestep, "generator": generator}
        output = model_output if learned else model_output[:, : sample.shape[1]]
        after = step(output, timestep, sample, **{name: given for name, given in further.items() if name in takes})
        samples.append(after.prev_sample)
        return after

    scheduler.step = fed
    try:
        yield samples
    finally:
        del scheduler.step


SCHEDULERS = ("default", "DDPMScheduler", "DDIMScheduler", "UniPCMultistepScheduler")


@pytest.fixture(scope="module", params=SCHEDULERS)
def case(request, tiny: Karlo, stock: UnCLIPPipeline) -> Iterator[Case]:
    own = stock.decoder_scheduler
    if request.param != "default":
        stock.decoder_scheduler = getattr(diffusers, request.param).from_config(own.config)
    yield Case(tiny, stock, request.param)
    stock.decoder_scheduler = own


@pytest.mark.parametrize(("prior_guidance", "guidance"), [(4.0, 3.0), (4.0, 1.0), (1.0, 1.0)])
def test_standard_is_stock_bit_for_bit_in_the_same_batches(
    tiny: Karlo, stock: UnCLIPPipeline, prior_guidance: float, guidance: float
):
    case, asked = Case(tiny, stock, "default"), {"prior_guidance": prior_guidance, "guidance": guidance}
    latents, images = case.ours(2, **asked)
    stock_latents, stock_images = case.theirs(2, **asked)
    assert latents.isfinite().all()
    assert images.std() > 1
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)


def test_the_embedded_checkpoint_is_stock_bit_for_bit():
    family = Karlo.load(model("mini-karlo"), "cpu", "fp32")
    borrowed = {name: getattr(family.encoders, name) for name in ("tokenizer", "text_encoder", "prior")}
    case = Case(family, stock_of(embedded_path("karlo"), **borrowed), "default")
    (latents, images), (expected, stock_images) = case.ours(5), case.theirs(5)
    assert torch.equal(latents, expected)
    assert np.array_equal(images, stock_images)
    assert np.abs(images[0].astype(int) - images[2]).mean() > 5, "it paints"


def test_every_scheduler_is_stock_and_batch_size_changes_no_more_than_twice_what_it_does_in_stock(case: Case):
    (ours, our_images), (ours_alone, our_images_alone) = case.ours(5), case.ours(1)
    (stock, stock_images), (stock_alone, stock_images_alone) = case.theirs(5), case.theirs(1)
    assert ours.isfinite().all()
    assert torch.equal(ours, stock)
    assert np.array_equal(our_images, stock_images)
    assert (ours - ours_alone).abs().max() <= 2 * (stock - stock_alone).abs().max()
    ours_apart = np.abs(our_images.astype(int) - our_images_alone).max()
    assert ours_apart <= 2 * np.abs(stock_images.astype(int) - stock_images_alone).max()


@contextmanager
def inputs_of(module: torch.nn.Module) -> Iterator[list[dict]]:
    """The keyword arguments of every call."""
    calls = []
    hook = module.register_forward_pre_hook(lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


@pytest.mark.parametrize(("prior_guidance", "guidance"), [(4.0, 8.0), (4.0, 1.0), (1.0, 1.0)])
def test_conditioning_is_stock_bit_for_bit(tiny: Karlo, stock: UnCLIPPipeline, prior_guidance: float, guidance: float):
    settings = settings_of(tiny, prior_guidance=prior_guidance, guidance=guidance)
    ours = tiny.encode(PROMPTS, KEYS, settings, Batches(3)).tensors
    for rows in (slice(0, 3), slice(3, 5)):
        with inputs_of(stock.text_proj) as projected, inputs_of(stock.decoder) as decoded:
            stock_call(stock, PROMPTS[rows], KEYS[rows], settings)
        expected = {
            "image_embeds": projected[0]["image_embeddings"],
            "text_embeds": projected[0]["prompt_embeds"],
            "text_states": projected[0]["text_encoder_hidden_states"],
            "text_states.mask": decoded[0]["attention_mask"][:, -TOKENS:].float(),
        }
        for name, tensor in expected.items():
            if len(tensor) > len(PROMPTS[rows]):  # unconditional rows come first
                negative, tensor = tensor.chunk(2)
                assert torch.equal(ours[f"negative_{name}"][rows], negative), name
            assert torch.equal(ours[name][rows], tensor), name


def test_embedding_does_not_depend_on_its_batch_nor_on_the_decoders_guidance(tiny: Karlo):
    heard = []
    together = tiny.encode(PROMPTS, KEYS, settings_of(tiny), on_progress=heard.append).tensors["image_embeds"]
    assert heard == [len(PROMPTS)]
    alone = tiny.encode(PROMPTS[::-1], KEYS[::-1], settings_of(tiny), Batches(1)).tensors["image_embeds"].flip(0)
    assert torch.allclose(together, alone, atol=1e-5)
    # equal prompts are other occurrences: other noise, another embedding
    assert not torch.allclose(together[0], together[3], atol=1e-2)
    for prior_guidance in (1.0, 4.0):
        on, off = (
            tiny.encode(PROMPTS, KEYS, settings_of(tiny, guidance=guidance, prior_guidance=prior_guidance)).tensors
            for guidance in (8.0, 1.0)
        )
        assert on.keys() == off.keys()
        assert all(torch.equal(on[name], off[name]) for name in on)


def test_embedding_follows_the_prior_seed_not_the_picture_seed(tiny: Karlo):
    def embeds(**asked) -> Tensor:
        return tiny.encode(PROMPTS, KEYS, settings_of(tiny, **asked)).tensors["image_embeds"]

    assert torch.equal(embeds(seed=1, prior_seed=5), embeds(seed=2, prior_seed=5))
    assert not torch.allclose(embeds(seed=1), embeds(seed=2))


def sharing_plan() -> SharingPlan:
    """All five prompts together at first, the last two of them longest, then each alone."""
    tree = Tree(np.array([7, 7, 6, 5, 5, 6, 7, -1]), np.array([0, 0, 0, 0, 0, 0.2, 0.45, 0.7]), len(PROMPTS))
    return build_plan(tree, get_schedule("eq7"), 1.0, STEPS)


def test_a_cluster_is_conditioned_on_its_prompts_means_before_the_text_projection(tiny: Karlo):
    settings = settings_of(tiny)
    conditioning = tiny.encode(PROMPTS, KEYS, settings)
    plan = sharing_plan()
    with inputs_of(tiny.denoisers.text_proj) as projected, inputs_of(tiny.denoisers.decoder) as decoded:
        done = execute(plan, tiny, conditioning, KEYS, settings, noise=NOISE, batch_size=5)
    assert done.latents.isfinite().all()
    assert done.rows == plan.node_steps < STEPS * len(PROMPTS)
    first, mask = projected[0], conditioning.tensors["text_states.mask"]
    assert len(first["image_embeddings"]) == 1, "one cluster of all prompts"
    for name, given in (("image_embeds", "image_embeddings"), ("text_embeds", "prompt_embeds")):
        assert torch.allclose(first[given][-1], conditioning.tensors[name].mean(dim=0), atol=1e-6)
    states = conditioning.tensors["text_states"]
    holding = torch.stack([states[mask[:, i] > 0, i].mean(dim=0) for i in range(int(mask.sum(dim=1).max()))])
    assert torch.allclose(first["text_encoder_hidden_states"][-1, : len(holding)], holding, atol=1e-6)
    unconditional, conditional = decoded[0]["attention_mask"]
    extra = tiny.denoisers.text_proj.clip_extra_context_tokens
    assert unconditional.sum() == extra + 2, "the empty prompt is a start and an end"
    assert conditional[: extra + len(holding)].all()
    assert not conditional[extra + len(holding) :].any()


def test_super_resolution_draws_a_prompts_own_noise(tiny: Karlo):
    settings = settings_of(tiny)
    latents = torch.zeros(len(PROMPTS), 3, SMALL, SMALL)
    done = Execution(latents, np.arange(len(PROMPTS)), calls=0, rows=0, batch_size_used=5, notes=())
    together, alone = (pictures(tiny, done, KEYS, settings, batch_size).astype(int) for batch_size in (5, 1))
    assert np.abs(together - alone).max() <= 1
    assert np.abs(together[0] - together[3]).mean() > 1, "other occurrences of a prompt have other noise"


def test_features_are_the_embeddings_in_double(tiny: Karlo):
    conditioning = tiny.encode(PROMPTS, KEYS, settings_of(tiny))
    assert tiny.features_options == ("image_embeds", "text_embeds")
    for option in tiny.features_options:
        features = tiny.features(conditioning, option)
        assert features.dtype == np.float64
        assert np.array_equal(features, conditioning.tensors[option].numpy())
    with pytest.raises(UserError, match="text_states"):
        tiny.features(conditioning, "text_states")


def test_cut_prompts_are_counted_and_not_dumped(
    tiny: Karlo, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    batches = Batches(2)
    tiny.encode(["a fox", "a " * 30], KEYS[:2], settings_of(tiny), batches)
    assert batches.notes == ["1 of 2 prompts cut to the 24 tokens the text encoder reads, first prompt 2 with 32"]
    assert not caplog.messages


def test_what_karlo_cannot_do_is_refused_in_a_line(tiny: Karlo):
    assert tiny.latent_shape(settings_of(tiny)) == (3, SMALL, SMALL)
    with pytest.raises(UserError, match=r"makes pictures of 32x32 only, not 64x32 \(use --height 32"):
        tiny.latent_shape(settings_of(tiny, width=64))
    foggy = settings_of(tiny, negative_prompt="fog")
    for refusing in (tiny.sampler, lambda settings: tiny.encode(PROMPTS, KEYS, settings)):
        with pytest.raises(UserError, match="no negative prompt"):
            refusing(foggy)


def test_folder_is_a_model_of_its_own_size_with_karlos_settings(folder: Path):
    entry, karlo = model(str(folder)), model("karlo")
    assert (entry.family, entry.defaults["height"], entry.defaults["width"]) == ("karlo", LARGE, LARGE)
    settings = resolve_settings(karlo, device="cuda")
    assert (settings.steps, settings.prior_steps, settings.super_res_steps) == (25, 25, 7)
    assert (settings.guidance, settings.prior_guidance, settings.dtype) == (8.0, 4.0, "fp16")
    assert (settings.height, settings.width) == (256, 256)


def test_components_are_what_a_full_batch_of_prompts_computes(tiny: Karlo):
    """Module calls x rows; one of the batch's pictures is made."""
    prompts, keys = PROMPTS[:1] * ENCODE_BATCH, [f"{PROMPTS[0]}#{number}" for number in range(ENCODE_BATCH)]
    for prior_guidance, guidance in ((4.0, 8.0), (4.0, 1.0), (1.0, 1.0)):
        settings = settings_of(tiny, prior_guidance=prior_guidance, guidance=guidance)
        modules = {  # encoders left when it denoised, and are loaded again
            "text encoder": tiny.encoders.text_encoder,
            "prior": tiny.encoders.prior,
            "text projection": tiny.denoisers.text_proj,
            "denoiser": tiny.denoisers.decoder,
            "super-resolution": tiny.denoisers.super_res_first,
            "super-resolution, last step": tiny.denoisers.super_res_last,
        }
        rows = dict.fromkeys(modules, 0)

        def counter(name, rows=rows):
            def tally(module, args, kwargs):
                rows[name] += len(args[0] if args else kwargs.get("sample", kwargs.get("prompt_embeds")))

            return tally

        hooks = [module.register_forward_pre_hook(counter(name), with_kwargs=True) for name, module in modules.items()]
        encoded = tiny.encode(prompts, keys, settings)
        conditioning = Conditioning({name: tensor[:1] for name, tensor in encoded.tensors.items()})
        plan = baseline_plan(1, STEPS)
        done = execute(plan, tiny, conditioning, keys[:1], settings, noise=NOISE, batch_size=1)
        pictures(tiny, done, keys[:1], settings, 1)
        for hook in hooks:
            hook.remove()
        per_unit = {"prompt": ENCODE_BATCH, "node_step": plan.node_steps, "image": 1}
        parts = tiny.components(settings)
        assert {part.name: part.calls * per_unit[part.unit] for part in parts} == rows
        assert {part.phase for part in parts if part.name.startswith("super-resolution")} == {"decode"}


def test_components_count_the_same_on_meta_as_on_real_tensors(tiny: Karlo):
    count_the_same_on_meta_as_on_real_tensors(tiny.components(settings_of(tiny)))


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


@pytest.mark.parametrize(
    ("device", "dtype"),
    [("cpu", "bf16"), pytest.param("cuda", "fp16", marks=CUDA), pytest.param("cuda", "bf16", marks=CUDA)],
)
def test_half_precision_is_stocks_half_precision(
    tiny: Karlo, stock: UnCLIPPipeline, monkeypatch: pytest.MonkeyPatch, device: str, dtype: str
):
    """Up to super-resolution, with DDIM, whose steps draw nothing: stock draws in half precision, we in float32."""
    family = Karlo.load(tiny.entry, device, dtype)
    settings = settings_of(family, dtype=dtype, scheduler="DDIMScheduler")
    conditioning = family.encode(PROMPTS, KEYS, settings)
    done = execute(baseline_plan(5, STEPS), family, conditioning, KEYS, settings, noise=NOISE, batch_size=5)
    assert done.latents.dtype == family.dtype
    assert pictures(family, done, KEYS, settings, 5).std() > 1

    half = deepcopy(stock).to(device, family.dtype)
    half.set_progress_bar_config(disable=True)
    half.decoder_scheduler = diffusers.DDIMScheduler.from_config(stock.decoder_scheduler.config)
    interpolate = functional.interpolate

    def interpolate_anywhere(pictures, *args, **kwargs):  # the stock call fails in half precision on the CPU
        return interpolate(pictures.float(), *args, **kwargs).to(pictures.dtype)

    monkeypatch.setattr(functional, "interpolate", interpolate_anywhere)
    expected, _ = stock_call(half, PROMPTS, KEYS, settings)
    if device == "cpu":
        assert torch.equal(done.latents, expected)
    else:  # CUDA kernels may differ from one call to the next
        assert torch.allclose(done.latents.float(), expected.cpu().float(), rtol=0.05, atol=0.05)
