"""Our FLUX is diffusers' FLUX, bit for bit."""

import inspect
import json
import logging
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from diffusers.models.attention_dispatch import attention_backend
from flop_checks import count_the_same_on_meta_as_on_real_tensors
from stock_noise import StockNoise
from tiny_flux import save_tiny_flux
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import decode_images, execute
from generators.families.base import get_family
from generators.families.flux import Flux
from generators.model_entry import embedded_path
from generators.noise import node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, baseline_plan

PROMPTS = ["a red fox", "a blue cat, asleep", "nine dogs", "a red fox", "a tree by a lake"]
KEYS = [f"{prompt}#{PROMPTS[:i].count(prompt)}" for i, prompt in enumerate(PROMPTS)]
STEPS, LENGTH = 4, 28
# As diffusers has them, each with a memory of its own: Euler's flow, and multistep solvers told to follow one.
SCHEDULERS = {
    "dev": (
        "default",
        "UniPCMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "DEISMultistepScheduler",
    ),
    "schnell": ("default", "UniPCMultistepScheduler"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints like FLUX.1-dev and FLUX.1-schnell."""
    place = tmp_path_factory.mktemp("flux")
    return {kind: save_tiny_flux(place / kind, guidance_embeds=kind == "dev") for kind in ("dev", "schnell")}


@pytest.fixture(scope="module")
def families(folders: dict[str, Path]) -> dict[str, Flux]:
    return {kind: loaded(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def stocks(folders: dict[str, Path]) -> dict[str, FluxPipeline]:
    return {kind: stock_of(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def dev(families: dict[str, Flux]) -> Flux:
    return families["dev"]


@pytest.fixture(scope="module")
def conditioning(dev: Flux) -> Conditioning:
    return dev.encode(PROMPTS, KEYS, settings_of(dev))


def loaded(folder: Path, device: str = "cpu", dtype: str = "fp32") -> Flux:
    entry = model(str(folder))
    return get_family(entry.family).load(entry, device, dtype)


def stock_of(folder: Path, **parts) -> FluxPipeline:
    pipeline = FluxPipeline.from_pretrained(folder, use_safetensors=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def settings_of(family: Flux, **asked) -> GenerationSettings:
    fixed = {"steps": STEPS, "dtype": "fp32", "max_sequence_length": LENGTH}
    return family.settings_type.resolve(family.entry.defaults, {**fixed, **asked})


def ours(family: Flux, conditioning: Conditioning, settings, batch_size: int) -> tuple[Tensor, np.ndarray]:
    noise, plan = StockNoise(), baseline_plan(len(conditioning), family.sampler(settings).K)
    done = execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=batch_size)
    images = decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(batch_size))
    return done.latents, np.concatenate(list(images))


def theirs(stock, conditioning: Conditioning, settings, batch_size: int) -> tuple[Tensor, np.ndarray]:
    """The stock pipeline's own call, a batch at a time, fed what `StockNoise` feeds ours."""
    own = stock.scheduler
    if settings.scheduler != "default":
        flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": own.config.shift}
        stock.scheduler = getattr(diffusers, settings.scheduler).from_config(own.config, **flow)
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

    def heard(pipeline, k, timestep, tensors):
        last.update(tensors)
        return tensors

    unit = 2 * stock.vae_scale_factor
    shape = (settings.height // unit * (settings.width // unit), stock.transformer.config.in_channels)
    dtype, device = stock.transformer.dtype, stock.transformer.device
    images = stock(
        prompt_embeds=conditioning.tensors["text_states"][rows].to(device, dtype),
        pooled_prompt_embeds=conditioning.tensors["pooled"][rows].to(device, dtype),
        height=settings.height,
        width=settings.width,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        latents=noise.initial(nodes, shape).to(device, dtype),
        callback_on_step_end=heard,
    ).images
    return last["latents"].cpu(), np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize(
    ("kind", "scheduler"), [(kind, scheduler) for kind, known in SCHEDULERS.items() for scheduler in known]
)
def test_standard_is_stock_bit_for_bit_in_the_same_batches(families, stocks, conditioning, kind: str, scheduler: str):
    stocks_own = getattr(diffusers, scheduler, diffusers.FlowMatchEulerDiscreteScheduler)
    if kind == "schnell" and "sigmas" not in inspect.signature(stocks_own.set_timesteps).parameters:
        pytest.skip(f"this diffusers' {scheduler} takes no sigmas: refused, as a test of refusals shows")
    family = families[kind]
    settings = settings_of(family, scheduler=scheduler, height=16, width=24)
    for batch_size in (2, 5):
        latents, images = ours(family, conditioning, settings, batch_size)
        stock_latents, stock_images = theirs(stocks[kind], conditioning, settings, batch_size)
        assert latents.isfinite().all()
        assert images.shape == (5, 16, 24, 3)
        assert images.std() > 1
        assert torch.equal(latents, stock_latents)
        assert np.array_equal(images, stock_images)


def test_the_embedded_checkpoint_is_stock_bit_for_bit():
    family = Flux.load(model("mini-flux"), "cpu", "fp32")
    settings = settings_of(family)
    conditioning = family.encode(PROMPTS, KEYS, settings)
    borrowed = {name: getattr(family.encoders, name) for name in ("tokenizer", "text_encoder")}
    stock = stock_of(embedded_path("flux"), **borrowed, vae=family.denoiser.vae)
    (latents, images), (expected, stock_images) = (
        call(which, conditioning, settings, 5) for call, which in ((ours, family), (theirs, stock))
    )
    assert torch.equal(latents, expected)
    assert np.array_equal(images, stock_images)
    assert np.abs(images[0].astype(int) - images[2]).mean() > 5, "it paints"


def test_schedulers_differ(dev: Flux, conditioning: Conditioning):
    """That every one of them follows stock would say little if they were one."""
    ends = [ours(dev, conditioning, settings_of(dev, scheduler=name), 5)[0] for name in SCHEDULERS["dev"]]
    assert all(not torch.allclose(ends[0], end, atol=1e-4) for end in ends[1:])


def test_checkpoint_with_a_flow_scheduler_of_its_own(folders, tmp_path: Path, conditioning: Conditioning):
    """`use_flow_sigmas` in its configuration: the stock pipeline lets such a scheduler choose its own sigmas."""
    folder = Path(shutil.copytree(folders["dev"], tmp_path / "own"))
    asked = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_dynamic_shifting": True}
    known = inspect.signature(diffusers.UniPCMultistepScheduler).parameters
    own = diffusers.UniPCMultistepScheduler(**asked, **({"shift_terminal": 0.1} if "shift_terminal" in known else {}))
    own.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "UniPCMultistepScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    family = loaded(folder)
    settings = settings_of(family)
    assert torch.equal(
        ours(family, conditioning, settings, 5)[0], theirs(stock_of(folder), conditioning, settings, 5)[0]
    )


def test_batch_size_changes_no_more_than_twice_what_it_changes_in_stock(dev: Flux, stocks, conditioning: Conditioning):
    settings = settings_of(dev)
    (latents, images), (alone, images_alone) = (ours(dev, conditioning, settings, size) for size in (5, 1))
    (stock, stock_images), (stock_alone, stock_images_alone) = (
        theirs(stocks["dev"], conditioning, settings, size) for size in (5, 1)
    )
    assert (latents - alone).abs().max() <= 2 * (stock - stock_alone).abs().max()
    apart = np.abs(images.astype(int) - images_alone).max()
    assert apart <= 2 * np.abs(stock_images.astype(int) - stock_images_alone).max()


def test_guidance_is_an_input_of_dev_and_refused_by_schnell(families, conditioning: Conditioning):
    weak, strong = (
        ours(families["dev"], conditioning, settings_of(families["dev"], guidance=scale), 5)[0] for scale in (0.0, 7.0)
    )
    assert not torch.allclose(weak, strong, atol=1e-4)
    assert settings_of(families["schnell"]).guidance == 0
    with pytest.raises(UserError, match=r"takes no guidance.*--guidance 0"):
        families["schnell"].sampler(settings_of(families["schnell"], guidance=3.5))


def test_encoding_is_stock_bit_for_bit(dev: Flux, stocks):
    for length in (LENGTH, 8):
        done = dev.encode(PROMPTS, KEYS, settings_of(dev, max_sequence_length=length), Batches(3)).tensors
        for rows in (slice(0, 3), slice(3, 5)):
            with torch.no_grad():
                states, pooled, _ = stocks["dev"].encode_prompt(PROMPTS[rows], max_sequence_length=length)
            assert done["text_states"].shape == (5, length, 40)
            assert torch.equal(done["text_states"][rows], states)
            assert torch.equal(done["pooled"][rows], pooled)


def test_split_children_part_by_conditioning_alone(dev: Flux, conditioning: Conditioning):
    """All as one cluster for two of four steps: prompts 0 and 3 are the same text, and no noise parts them."""
    n, settings = len(PROMPTS), settings_of(dev)
    plan = SharingPlan(
        n_prompts=n,
        steps=STEPS,
        first=[2] * n + [0],
        stop=[STEPS] * n + [2],
        source=[n] * n + [-1],
        order=list(range(n)),
        lo=[*range(n), 0],
        hi=[*range(1, n + 1), n],
        output=list(range(n)),
        combiner="mean",
    )
    latents = execute(plan, dev, conditioning, KEYS, settings, noise=StockNoise(), batch_size=n).latents
    assert torch.allclose(latents[0], latents[3], atol=1e-6)
    assert not torch.allclose(latents[0], latents[1], atol=1e-3)


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_half_precision_is_stocks_half_precision(folders, conditioning: Conditioning, device: str):
    family, stock = loaded(folders["dev"], device, "bf16"), stock_of(folders["dev"])
    settings = settings_of(family, dtype="bf16")
    latents, _ = ours(family, conditioning, settings, 5)
    assert latents.dtype == torch.bfloat16
    expected, _ = theirs(stock.to(device, torch.bfloat16), conditioning, settings, 5)
    if device == "cpu":
        assert torch.equal(latents, expected)
    else:  # CUDA kernels may differ from one call to the next
        assert torch.allclose(latents.float(), expected.float(), rtol=0.05, atol=0.05 * float(expected.std()))


def test_features(dev: Flux, conditioning: Conditioning, stocks):
    assert dev.features_options[0] == "pooled"
    tensors = conditioning.tensors
    assert np.array_equal(dev.features(conditioning, "pooled"), tensors["pooled"].numpy())
    assert np.array_equal(dev.features(conditioning, "flattened"), tensors["text_states"].reshape(5, -1).numpy())
    means = dev.features(conditioning, "mean_token")
    assert means.dtype == np.float64
    for prompt, states, mean in zip(PROMPTS, tensors["text_states"], means, strict=True):
        tokens = len(stocks["dev"].tokenizer_2(prompt).input_ids)
        assert tokens < LENGTH
        assert np.allclose(mean, states[:tokens].mean(0), atol=1e-6)
    with pytest.raises(UserError, match="has no features 'text'"):
        dev.features(conditioning, "text")


def test_cut_prompts_are_counted_by_either_encoder_and_not_dumped(
    dev: Flux, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    batches = Batches(2)
    dev.encode(["fits", "a " * 30, "a " * 22], KEYS[:3], settings_of(dev), batches)
    assert batches.notes == [
        "1 of 3 prompts cut to the 24 tokens CLIP reads, first prompt 2 with 32",
        "2 of 3 prompts cut to the 28 tokens T5 reads, first prompt 2 with 61",
    ]
    assert not caplog.messages


def test_encoders_and_denoiser_are_loaded_apart(folders):
    family = loaded(folders["dev"])
    heard = []
    family.encode(PROMPTS, KEYS, settings_of(family), Batches(3), heard.append)
    assert heard == [3, 2]
    assert family.encoders.transformer is None
    assert family.encoders.vae is None
    family.release_encoders()
    assert family._encoders is None
    assert family.denoiser.text_encoder is None
    assert family.denoiser.text_encoder_2 is None


def test_folder_is_read_as_dev_or_schnell(families):
    dev, schnell = families["dev"].entry.defaults, families["schnell"].entry.defaults
    assert (dev["steps"], dev["guidance"], dev["max_sequence_length"]) == (28, 3.5, 512)
    assert (schnell["steps"], schnell["guidance"], schnell["max_sequence_length"]) == (4, 0, 256)
    assert (dev["height"], dev["width"], dev["dtype"]) == (16, 16, "bf16")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 34}, r"width 34 is not a multiple of 4, which this model needs \(use 3[26]\)"),
        ({"max_sequence_length": 513}, "max_sequence_length = 513 .*use 512 or fewer"),
        ({"negative_prompt": "fog"}, "takes no negative prompt"),
        ({"scheduler": "DDIMScheduler"}, "DDIMScheduler cannot be used: .*FlowMatchEulerDiscreteScheduler"),
        ({"scheduler": "FlowMatchHeunDiscreteScheduler"}, "FlowMatchHeunDiscreteScheduler cannot be used"),
        ({"scheduler": "FlowMatchLCMScheduler"}, "FlowMatchLCMScheduler cannot be used"),
        ({"scheduler": "FlowEulerScheduler"}, "unknown scheduler 'FlowEulerScheduler'"),
    ],
)
def test_what_stock_refuses_or_passes_over_is_one_clear_line(dev: Flux, asked: dict, message: str):
    with pytest.raises(UserError, match=message) as error:
        dev.sampler(settings_of(dev, **asked))
    assert "\n" not in str(error.value)


def test_what_cannot_be_encoded_is_refused_as_well(dev: Flux):
    for asked in ({"max_sequence_length": 513}, {"negative_prompt": "fog"}):
        with pytest.raises(UserError):
            dev.encode(PROMPTS, KEYS, settings_of(dev, **asked))
        with pytest.raises(UserError):
            dev.components(settings_of(dev, **asked))


def test_scheduler_that_only_shifts_by_size_needs_a_checkpoint_that_does(families):
    with pytest.raises(UserError, match=r"DPMSolverMultistepScheduler cannot be used: .*this checkpoint does not"):
        families["schnell"].sampler(settings_of(families["schnell"], scheduler="DPMSolverMultistepScheduler"))


def test_other_pipelines_are_refused(folders, tmp_path: Path, tiny_kandinsky: Path):
    entry = model(str(folders["dev"]))
    swapped = entry.model_copy(update={"sources": {"pipeline": str(tiny_kandinsky / "decoder")}})
    with pytest.raises(UserError, match="is a KandinskyV22Pipeline, not a FluxPipeline"):
        Flux.load(swapped, "cpu", "fp32")
    assert Flux.recognise(tiny_kandinsky) is None
    assert Flux.recognise(tiny_kandinsky / "decoder") is None
    with pytest.raises(UserError, match="flux: a diffusers FluxPipeline"):
        model(str(tmp_path))


@pytest.mark.parametrize("kind", ["dev", "schnell"])
def test_components_are_what_a_run_computes(families, kind: str):
    family = families[kind]
    settings = settings_of(family)
    modules = {
        "text encoder": family.encoders.text_encoder,
        "text encoder 2": family.encoders.text_encoder_2,
        "denoiser": family.denoiser.transformer,
        "decoder": family.denoiser.vae.decoder,
    }
    rows = dict.fromkeys(modules, 0)

    def counter(name):
        def count(module, args, kwargs):
            rows[name] += len(args[0] if args else kwargs.get("hidden_states", kwargs.get("input_ids")))

        return count

    hooks = [module.register_forward_pre_hook(counter(name), with_kwargs=True) for name, module in modules.items()]
    encoded = family.encode(PROMPTS, KEYS, settings, Batches(2))
    ours(family, encoded, settings, 3)
    for hook in hooks:
        hook.remove()
    per_unit = {"prompt": 5, "node_step": 5 * STEPS, "image": 5}
    assert {part.name: part.calls * per_unit[part.unit] for part in family.components(settings)} == rows


@pytest.mark.parametrize("kind", ["dev", "schnell"])
def test_components_count_the_same_on_meta_as_on_real_tensors(families, kind: str):
    count_the_same_on_meta_as_on_real_tensors(families[kind].components(settings_of(families[kind])))


def test_describing_one_model_leaves_the_attention_of_others(dev: Flux):
    """diffusers' own `set_attention_backend` changes the default of every model that is there."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as registry

    before = registry.get_active_backend()[0]
    with torch.device("meta"):
        next(part for part in dev.components(settings_of(dev)) if part.name == "denoiser").build()
    assert registry.get_active_backend()[0] == before


def test_described_denoiser_costs_what_the_real_one_does(dev: Flux, conditioning: Conditioning, stocks):
    """Counted while the stock transformer runs with matrix products for attention."""
    settings = settings_of(dev)
    described = next(part for part in dev.components(settings) if part.name == "denoiser")
    with torch.device("meta"):
        module = described.build()
        args, kwargs = described.inputs(module)
    with FlopCounterMode(display=False) as expected:
        module(*args, **kwargs)
    family, sampler = loaded(Path(dev.entry.name)), dev.sampler(settings)
    rows = {name: tensor[:1] for name, tensor in conditioning.tensors.items()}
    with attention_backend("_native_math"), FlopCounterMode(display=False) as counted:
        family.predict(torch.zeros(1, *dev.latent_shape(settings)), 0, sampler, rows, settings)
    assert counted.get_total_flops() == expected.get_total_flops()
