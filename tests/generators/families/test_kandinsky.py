"""Our Kandinsky 2.2 is diffusers' Kandinsky 2.2, bit for bit."""

import logging
from dataclasses import dataclass
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import KandinskyV22Pipeline, KandinskyV22PriorPipeline
from flop_checks import count_the_same_on_meta_as_on_real_tensors
from stock_noise import StockNoise
from torch import Tensor

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import decode_images, execute
from generators.families.base import ENCODE_BATCH, get_family, resolve_settings
from generators.families.kandinsky import Kandinsky
from generators.model_entry import ModelEntry
from generators.noise import derived_key, node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import baseline_plan

PROMPTS = ["a red fox", "a blue cat, sleeping", "nine dogs", "a red fox", "a tree by a lake"]
KEYS = [f"{prompt}#{PROMPTS[:i].count(prompt)}" for i, prompt in enumerate(PROMPTS)]
STEPS = 4


@dataclass
class Case:
    """One checkpoint and scheduler, ours and stock."""

    entry: ModelEntry
    family: Kandinsky
    stock: KandinskyV22Pipeline
    conditioning: Conditioning
    scheduler: str

    def settings(self, **asked) -> GenerationSettings:
        fixed = {"steps": STEPS, "guidance": 3.0, "dtype": "fp32", "scheduler": self.scheduler, "prior_steps": 3}
        return resolve_settings(self.entry, {**fixed, **asked})

    def ours(self, batch_size: int, **asked) -> tuple[Tensor, np.ndarray]:
        settings = self.settings(**asked)
        plan = baseline_plan(len(PROMPTS), STEPS)
        noise = StockNoise()
        done = execute(plan, self.family, self.conditioning, KEYS, settings, noise=noise, batch_size=batch_size)
        images = decode_images(self.family, done, KEYS, settings, noise=noise, batches=Batches(batch_size))
        return done.latents, np.concatenate(list(images))

    def theirs(self, batch_size: int, **asked) -> tuple[Tensor, np.ndarray]:
        parts = [self._stock_call(KEYS[i : i + batch_size], i, **asked) for i in range(0, len(KEYS), batch_size)]
        latents, images = zip(*parts, strict=True)
        return torch.cat(latents), np.concatenate(images)

    def _stock_call(self, keys: list[str], start: int, **asked) -> tuple[Tensor, np.ndarray]:
        settings, noise = self.settings(**asked), StockNoise()
        nodes = [node_key([key]) for key in keys]
        generators = [noise.generator(0, 0, node) for node in nodes]
        last = {}

        def reseed(pipeline, k, timestep, tensors):
            for generator, node in zip(generators, nodes, strict=True):
                generator.manual_seed(noise.generator(k + 1, 0, node).initial_seed())
            last.update(tensors)
            return tensors

        embeds = {name: rows[start : start + len(keys)] for name, rows in self.conditioning.tensors.items()}
        images = self.stock(
            **embeds,
            height=settings.height,
            width=settings.width,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            latents=noise.initial(nodes, self.family.latent_shape(settings)),
            generator=generators,
            callback_on_step_end=reseed,
            output_type="pil",
        ).images
        return last["latents"], np.stack([np.asarray(image) for image in images])


@pytest.fixture(scope="module", params=["tiny, learned variance", "tiny, fixed variance", "embedded"])
def folder(request, tmp_path_factory, tiny_kandinsky: Path, tiny_fixed_variance: Path) -> Path:
    if request.param == "embedded":
        return Path(__file__).parents[3] / "miniature" / "checkpoints" / "kandinsky"
    return tiny_kandinsky if "learned" in request.param else tiny_fixed_variance


@pytest.fixture(scope="module", params=["DDPMScheduler", "DDIMScheduler"])
def case(request, folder: Path) -> Case:
    entry = model(str(folder))
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    stock = KandinskyV22Pipeline.from_pretrained(folder / "decoder", use_safetensors=True)
    stock.set_progress_bar_config(disable=True)
    config = dict(stock.scheduler.config)
    if request.param == "DDIMScheduler":
        config.pop("variance_type")  # else the stock pipeline hands the variance to a DDIM step, which takes none
    stock.scheduler = getattr(diffusers, request.param).from_config(config)
    case = Case(entry, family, stock, None, request.param)
    case.conditioning = family.encode(PROMPTS, KEYS, case.settings())
    return case


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_standard_is_stock_bit_for_bit_in_the_same_batches(case: Case, guidance: float):
    for batch_size in (2, 5):
        latents, images = case.ours(batch_size, guidance=guidance)
        stock_latents, stock_images = case.theirs(batch_size, guidance=guidance)
        assert latents.isfinite().all()
        assert images.std() > 1
        assert torch.equal(latents, stock_latents)
        assert np.array_equal(images, stock_images)


def test_batch_size_changes_no_more_than_twice_what_it_changes_in_stock(case: Case):
    (ours, our_images), (ours_alone, our_images_alone) = case.ours(5), case.ours(1)
    (stock, stock_images), (stock_alone, stock_images_alone) = case.theirs(5), case.theirs(1)
    assert (ours - ours_alone).abs().max() <= 2 * (stock - stock_alone).abs().max()
    ours_apart = np.abs(our_images.astype(int) - our_images_alone).max()
    assert ours_apart <= 2 * np.abs(stock_images.astype(int) - stock_images_alone).max()


@pytest.mark.parametrize("negative", ["", "a grey fog"])
@pytest.mark.parametrize("prior_guidance", [4.0, 1.0])
def test_embeddings_are_stock_bit_for_bit(folder: Path, negative: str, prior_guidance: float):
    entry = model(str(folder))
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    asked = {"prior_steps": 3, "prior_guidance": prior_guidance, "negative_prompt": negative, "dtype": "fp32"}
    settings = resolve_settings(entry, asked)
    ours = family.encode(PROMPTS, KEYS, settings, Batches(3)).tensors
    stock = KandinskyV22PriorPipeline.from_pretrained(folder / "prior", use_safetensors=True)
    stock.set_progress_bar_config(disable=True)
    for rows in (slice(0, 3), slice(3, 5)):
        sides = ["prior", "negative prior"] if negative else ["prior"]
        seeds = [derived_key(settings.seed, side, key) % 2**63 for side in sides for key in KEYS[rows]]
        expected = stock(
            PROMPTS[rows],
            negative_prompt=[negative] * len(PROMPTS[rows]) if negative else None,
            num_inference_steps=3,
            guidance_scale=prior_guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        )
        assert torch.equal(ours["image_embeds"][rows], expected.image_embeds)
        assert torch.equal(ours["negative_image_embeds"][rows], expected.negative_image_embeds)


@pytest.fixture(scope="module")
def tiny(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


def settings_of(family: Kandinsky, **asked) -> GenerationSettings:
    return family.settings_type.resolve(
        family.entry.defaults, {"steps": STEPS, "prior_steps": 3, "dtype": "fp32", **asked}
    )


def test_embedding_does_not_depend_on_its_batch(tiny: Kandinsky):
    settings = settings_of(tiny)
    heard = []
    together = tiny.encode(PROMPTS, KEYS, settings, on_progress=heard.append).tensors["image_embeds"]
    alone = tiny.encode(PROMPTS[::-1], KEYS[::-1], settings, Batches(1)).tensors["image_embeds"].flip(0)
    assert torch.allclose(together, alone, atol=1e-5)
    assert heard == [len(PROMPTS)]
    # equal prompts are other occurrences: other noise, another embedding
    assert not torch.allclose(together[0], together[3], atol=1e-2)


def test_embedding_follows_the_prior_seed_not_the_picture_seed(tiny: Kandinsky):
    def embeds(**asked) -> Tensor:
        return tiny.encode(PROMPTS, KEYS, settings_of(tiny, **asked)).tensors["image_embeds"]

    assert torch.equal(embeds(seed=1, prior_seed=5), embeds(seed=2, prior_seed=5))
    assert not torch.allclose(embeds(seed=1), embeds(seed=2))


def test_prompts_that_the_text_encoder_cuts_are_counted_and_not_dumped(
    tiny: Kandinsky, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    fits, too_long = "a " * 22, "a " * 30
    batches = Batches(2)
    tiny.encode([fits, too_long, too_long], KEYS[:3], settings_of(tiny, negative_prompt=too_long), batches)
    assert batches.notes == [
        "2 of 3 prompts cut to the 24 tokens the text encoder reads, first prompt 2 with 32",
        "1 of 1 negative prompts cut to the 24 tokens the text encoder reads, first negative prompt 1 with 32",
    ]
    assert not caplog.messages


def test_prior_is_loaded_only_to_encode_and_given_back(tiny_kandinsky: Path, tmp_path: Path):
    family = Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")
    assert family._encoders is None
    family.encode(PROMPTS[:1], KEYS[:1], settings_of(family))
    assert family._encoders is not None
    family.release_encoders()
    assert family._encoders is None


def test_features_are_the_embeddings_in_double(tiny: Kandinsky):
    conditioning = tiny.encode(PROMPTS, KEYS, settings_of(tiny))
    features = tiny.features(conditioning, tiny.features_options[0])
    assert features.dtype == np.float64
    assert np.array_equal(features, conditioning.tensors["image_embeds"].numpy())
    with pytest.raises(UserError, match="text"):
        tiny.features(conditioning, "text")


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


@pytest.mark.parametrize(
    ("device", "dtype"),
    [("cpu", "bf16"), pytest.param("cuda", "fp16", marks=CUDA), pytest.param("cuda", "bf16", marks=CUDA)],
)
def test_half_precision_is_stocks_half_precision(tiny_kandinsky: Path, tiny: Kandinsky, device: str, dtype: str):
    """With DDIM, whose steps draw nothing: stock noise is drawn in half precision, ours in float32."""
    family = Kandinsky.load(tiny.entry, device, dtype)
    settings = settings_of(family, dtype=dtype, scheduler="DDIMScheduler")
    conditioning = family.encode(PROMPTS, KEYS, settings)
    plan = baseline_plan(len(PROMPTS), STEPS)
    done = execute(plan, family, conditioning, KEYS, settings, noise=StockNoise(), batch_size=5)
    assert done.latents.dtype == family.dtype
    stock = KandinskyV22Pipeline.from_pretrained(tiny_kandinsky / "decoder", use_safetensors=True)
    stock.set_progress_bar_config(disable=True)
    config = {key: value for key, value in stock.scheduler.config.items() if key != "variance_type"}
    stock.scheduler = diffusers.DDIMScheduler.from_config(config)
    expected = stock.to(device, family.dtype)(
        **{name: rows.to(device, family.dtype) for name, rows in conditioning.tensors.items()},
        height=settings.height,
        width=settings.width,
        num_inference_steps=STEPS,
        guidance_scale=settings.guidance,
        latents=StockNoise().initial([node_key([key]) for key in KEYS], family.latent_shape(settings)).to(family.dtype),
        output_type="latent",
    ).images.cpu()
    if device == "cpu":
        assert torch.equal(done.latents, expected)
    else:  # CUDA kernels may differ from one call to the next
        assert torch.allclose(done.latents.float(), expected.float(), rtol=0.05, atol=0.05 * float(expected.std()))


def test_size_that_the_stock_pipeline_would_round_is_refused(tiny: Kandinsky):
    assert tiny.latent_shape(settings_of(tiny, height=16, width=40)) == (4, 8, 20)
    with pytest.raises(UserError, match="width 34 is not a multiple of 4"):
        tiny.latent_shape(settings_of(tiny, width=34))


def test_wrong_pipeline_names_both_classes(tiny_kandinsky: Path):
    entry = model(str(tiny_kandinsky))
    swapped = entry.model_copy(
        update={"sources": {"prior": entry.sources["decoder"], "decoder": entry.sources["prior"]}}
    )
    with pytest.raises(UserError, match=r"is a KandinskyV22Pipeline, not a KandinskyV22PriorPipeline"):
        Kandinsky.load(swapped, "cpu", "fp32")


def test_missing_device_is_named(tiny: Kandinsky):
    for device in ("warp", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(UserError, match=f"device '{device}' cannot be used"):
            Kandinsky.load(tiny.entry, device, "fp32")


def test_components_are_what_a_full_batch_of_prompts_computes(tiny: Kandinsky):
    """Module calls x rows of the stock pipelines; one of the batch's pictures is made."""
    prompts, keys = PROMPTS[:1] * ENCODE_BATCH, [f"{PROMPTS[0]}#{number}" for number in range(ENCODE_BATCH)]
    for asked in ({}, {"guidance": 1.0, "prior_guidance": 1.0}, {"negative_prompt": "fog"}):
        settings = settings_of(tiny, **asked)
        modules = {
            "text encoder": tiny.prior.text_encoder,
            "image encoder": tiny.prior.image_encoder,
            "prior": tiny.prior.prior,
            "denoiser": tiny.decoder.unet,
            "decoder": tiny.decoder.movq.decoder,
        }
        rows = dict.fromkeys(modules, 0)

        def counter(name, rows=rows):
            def count(module, args, kwargs):
                first = args[0] if args else kwargs.get("sample", kwargs.get("pixel_values", kwargs.get("input_ids")))
                rows[name] += len(first)

            return count

        hooks = [module.register_forward_pre_hook(counter(name), with_kwargs=True) for name, module in modules.items()]
        encoded = tiny.encode(prompts, keys, settings)
        conditioning = Conditioning({name: tensor[:1] for name, tensor in encoded.tensors.items()})
        plan = baseline_plan(1, STEPS)
        done = execute(plan, tiny, conditioning, keys[:1], settings, noise=StockNoise(), batch_size=1)
        list(decode_images(tiny, done, keys[:1], settings, noise=StockNoise(), batches=Batches(1)))
        for hook in hooks:
            hook.remove()
        per_unit = {"prompt": ENCODE_BATCH, "node_step": plan.node_steps, "image": 1}
        described = {part.name: part.calls * per_unit[part.unit] for part in tiny.components(settings)}
        assert described == rows


def test_components_count_the_same_on_meta_as_on_real_tensors(tiny: Kandinsky):
    count_the_same_on_meta_as_on_real_tensors(tiny.components(settings_of(tiny)))
