"""Any pipeline of diffusers, run by our executor, is that pipeline's own call, bit for bit."""

import inspect
import json
import math
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from stock_noise import StockNoise
from tiny_pipelines import SMALLER, save_tiny_pipeline, shrink
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import decode_images, execute
from generators.families import seams
from generators.families.base import get_family, resolve_settings
from generators.families.diffusers_pipeline import PROVED, DiffusersPipeline
from generators.families.one_pipeline import following_a_flow
from generators.families.prompt_returns import unpacked
from generators.noise import node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, baseline_plan
from metrics.flops import count

PROMPTS = ["a red fox", "a blue cat asleep by an old lake in winter", "nine dogs"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]
STEPS = 4
# What a call needs to be small, or to be what a user has.
SMALL = {"height": 16, "width": 16}
ASKED: dict[str, dict[str, Any]] = {
    "FluxPipeline": {"arguments": {"max_sequence_length": 28}},
    "ZImagePipeline": {**SMALL, "arguments": {"max_sequence_length": 96}},
    "QwenImagePipeline": SMALL,
    "Flux2Pipeline": {**SMALL, "arguments": {"max_sequence_length": 96}},
    "Flux2KleinPipeline": {**SMALL, "arguments": {"max_sequence_length": 96}},
    "SanaPipeline": {
        "height": 32,
        "width": 32,
        "arguments": {
            "use_resolution_binning": False,
            "complex_human_instruction": None,
            "max_sequence_length": 64,
        },
    },
    "PixArtSigmaPipeline": {**SMALL, "arguments": {"use_resolution_binning": False, "max_sequence_length": 48}},
    "Lumina2Pipeline": {"height": 32, "width": 32},
    "CogView4Pipeline": SMALL,
    "ChromaPipeline": {**SMALL, "arguments": {"max_sequence_length": 48}},
    "HiDreamImagePipeline": SMALL,
    "HunyuanImagePipeline": SMALL,
    "AuraFlowPipeline": {**SMALL, "arguments": {"max_sequence_length": 48}},
    "Kandinsky5T2IPipeline": {"height": 32, "width": 32, "arguments": {"max_sequence_length": 256}},
    "Krea2Pipeline": {**SMALL, "arguments": {"max_sequence_length": 256}},
    "BriaPipeline": {**SMALL, "arguments": {"max_sequence_length": 48}},
    "PRXPipeline": {"height": 32, "width": 32, "arguments": {"use_resolution_binning": False}},
}


class Case:
    """One pipeline: its folder, our family of it, and stock."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        save_tiny_pipeline(name, folder)
        entry = model(str(folder))
        assert (entry.family == DiffusersPipeline.name) == (name in PROVED)
        entry = DiffusersPipeline.described(str(folder), {"pipeline": str(folder)})
        self.family = get_family(entry.family).load(entry, "cpu", "fp32")
        self.folder = folder
        self.stock = getattr(diffusers, name).from_pretrained(folder)
        self.stock.set_progress_bar_config(disable=True)

    def settings(self, **asked: Any) -> GenerationSettings:
        fixed = {"steps": STEPS, "dtype": "fp32", **ASKED.get(self.name, {})}
        return resolve_settings(self.family.entry, {**fixed, **asked})

    @property
    def batch(self) -> int:
        """As many as stock itself takes at once."""
        return 1 if self.name == "PRXPipeline" else len(PROMPTS)

    def ours(self, settings: GenerationSettings) -> tuple[Tensor, np.ndarray]:
        noise, family = StockNoise(), self.family
        conditioning = family.encode(PROMPTS, KEYS, settings, Batches(self.batch))
        plan = baseline_plan(len(PROMPTS), family.sampler(settings).K)
        done = execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=self.batch)
        images = decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(self.batch))
        return done.latents, np.concatenate(list(images))

    def theirs(self, settings: GenerationSettings) -> tuple[Tensor, np.ndarray]:
        parts = [self.stock_call(settings, slice(i, i + self.batch)) for i in range(0, len(PROMPTS), self.batch)]
        latents, images = zip(*parts, strict=True)
        return torch.cat(latents), np.concatenate(images)

    def stock_call(self, settings: GenerationSettings, rows: slice) -> tuple[Tensor, np.ndarray]:
        """Stock's own call and all of its loop, with our noise where it draws its own."""
        stock, noise, nodes = self.stock, StockNoise(), [node_key([key]) for key in KEYS[rows]]
        finished: list[Tensor] = []
        own, own_scheduler = stock.prepare_latents, stock.scheduler
        names = type(stock).prepare_latents.__globals__
        draw = names["randn_tensor"]

        def prepared(*args: Any, **kwargs: Any) -> Any:
            # packed or not, ones stay ones: what stock makes of them is the factor that it gives unit noise
            names["randn_tensor"] = lambda shape, **_: torch.ones(shape)
            output = own(*args, **kwargs)
            first = output[0] if isinstance(output, tuple) else output
            first = first * noise.initial(nodes, first.shape[1:])
            return (first, *output[1:]) if isinstance(output, tuple) else first

        def heard(*args: Any, **kwargs: Any) -> Any:
            output = step(*args, **kwargs)
            finished[:] = [output[0] if isinstance(output, tuple) else output.prev_sample]
            return output

        if settings.scheduler != "default":
            kind = getattr(diffusers, settings.scheduler)
            config = following_a_flow({**own_scheduler.config, "_class_name": type(own_scheduler).__name__}, kind)
            stock.scheduler = kind.from_config(config)
        step = stock.scheduler.step
        heard.__signature__ = inspect.signature(step)
        stock.scheduler.step, stock.prepare_latents = heard, prepared
        try:
            images = stock(**self.arguments(settings, PROMPTS[rows]), output_type="np", return_dict=False)[0]
        finally:
            del stock.prepare_latents, stock.scheduler.step
            stock.scheduler, names["randn_tensor"] = own_scheduler, draw
        return finished[0], (images * 255).round().astype(np.uint8)

    def arguments(self, settings: GenerationSettings, prompts: list[str]) -> dict[str, Any]:
        """What a user of stock would write for these settings."""
        takes = inspect.signature(type(self.stock).__call__).parameters
        guidance = "true_cfg_scale" if self.name == "QwenImagePipeline" else "guidance_scale"
        written = {"height": settings.height, "width": settings.width, guidance: settings.guidance}
        if settings.negative_prompt or self.name == "QwenImagePipeline":
            written["negative_prompt"] = [settings.negative_prompt] * len(prompts)
        written = {name: value for name, value in written.items() if name in takes}
        return {"prompt": list(prompts), "num_inference_steps": settings.steps, **written, **settings.further}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        for name in SMALLER:
            shrink(patch, name)
        yield cache(lambda name: Case(name, tmp_path_factory.mktemp(name)))


# Classes that have families of their own give stock's bits through this one too.
ALL = {
    **PROVED,
    "StableDiffusionPipeline": ("PNDMScheduler", "UniPCMultistepScheduler"),
    "FluxPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
}
every_class = pytest.mark.parametrize("name", ALL)
OTHERS = [(name, other) for name, (_, *others) in ALL.items() for other in others]


@every_class
def test_tau_zero_is_stock_bit_for_bit(case, name: str):
    """Latents and pictures, with guidance where the model has it."""
    one = case(name)
    assert type(one.stock.scheduler).__name__ == ALL[name][0]
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
    negative = "fog" if "negative_prompt" in inspect.signature(type(one.stock).__call__).parameters else ""
    settings = one.settings(scheduler=scheduler, negative_prompt=negative)
    (latents, images), (stock_latents, stock_images) = one.ours(settings), one.theirs(settings)
    assert torch.equal(latents, stock_latents)
    assert np.array_equal(images, stock_images)


@every_class
def test_encoding_is_what_stock_encodes_together_or_alone(case, name: str):
    """Taken apart into rows and put together again, all of it; alone, without what longer prompts would add."""
    one = case(name)
    settings = one.settings()

    def theirs(prompts: list[str]) -> list[Any]:
        return seams.encoded(one.stock, {**one.arguments(settings, prompts), "output_type": "np"})

    for size, groups in ((3, [[0, 1, 2]]), (1, [[0], [1], [2]])):
        rows = one.family.encode(PROMPTS, KEYS, settings, Batches(size)).tensors
        for group in groups:
            ours = unpacked({key: tensor[group] for key, tensor in rows.items()}, torch.device("cpu"))
            assert same(ours, theirs([PROMPTS[place] for place in group]))


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
        output = family.predict(latents, k, sampler, conditioning.rows(plan, [node]), settings)
        _, _, memory = step = sampler.step(output, k, latents, lambda shape, _: torch.zeros(shape), memory)
        latents = step.latents
    return latents


@every_class
def test_features_are_finite_and_tell_prompts_apart(case, name: str):
    one = case(name)
    conditioning = one.family.encode(PROMPTS, KEYS, one.settings(), Batches(one.batch))
    for option in one.family.features_options:
        rows = one.family.features(conditioning, option)
        assert rows.dtype == np.float64
        assert rows.shape[0] == len(PROMPTS)
        assert np.isfinite(rows).all()
        assert math.dist(rows[0], rows[1]) > 0


def test_what_cannot_be_run_is_refused_by_name_with_the_reason(tmp_path: Path):
    for kind, reason in (
        ("WanPipeline", "it makes films"),
        ("OmniGenPipeline", "it has no encode_prompt"),
        ("StableCascadeDecoderPipeline", "it has no encode_prompt|prior|prepare_latents"),
        ("IFPipeline", "it has no prepare_latents"),
        ("StableDiffusionXLImg2ImgPipeline", "it changes a picture"),
        ("QwenImageEditPipeline", "it changes a picture"),
        ("FluxKontextPipeline", "it changes a picture"),
        ("StableAudioPipeline", "it makes sound"),
        ("StableDiffusionAttendAndExcitePipeline", "its call needs token_indices"),
        ("NoSuchPipeline", "no class of that name"),
    ):
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
        with pytest.raises(UserError, match=f"is a {kind}, which no model family runs: .*({reason})"):
            model(str(tmp_path))


def test_a_guider_that_remembers_former_predictions_is_refused(case, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(case("HunyuanImagePipeline").folder, folder)
    path = next((folder / "guider").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "adaptive_projected_guidance_momentum": -0.5}))
    with pytest.raises(UserError, match="this HunyuanImagePipeline cannot be run: its guider remembers"):
        model(str(folder))


def test_folders_of_other_families_stay_theirs():
    for kind in ("StableDiffusionPipeline", "FluxPipeline", "KandinskyV22Pipeline", "UnCLIPPipeline"):
        assert not DiffusersPipeline.serves(kind)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"arguments": {"latents": 1}}, "takes no 'latents' here"),
        ({"arguments": {"warmth": 1}}, "takes no 'warmth' here .*clip_skip"),
        ({"arguments": "[1]"}, "cannot be used"),
        ({"height": 17}, "refuses these settings: .*divisible by 8"),
        ({"scheduler": "NoSuchScheduler"}, "unknown scheduler 'NoSuchScheduler'"),
    ],
)
def test_what_stock_refuses_is_one_clear_line(case, asked: dict[str, Any], message: str):
    one = case("StableDiffusionXLPipeline")
    with pytest.raises(UserError, match=message) as error:
        settings = one.settings(**asked)
        one.family.latent_shape(settings)
        one.family.sampler(settings)
    assert "\n" not in str(error.value)


def test_components_are_what_a_run_computes(case):
    """Traced without weights: as many rows as the real modules see, and as many FLOPs as they take."""
    one = case("StableDiffusion3Pipeline")
    family, settings = one.family, one.settings()
    components = {part.name: part for part in family.components(settings)}
    assert {name: (part.calls, part.together) for name, part in components.items()} == {
        "text encoder": (2, 1),
        "text encoder 2": (2, 1),
        "text encoder 3": (2, 1),
        "denoiser": (2, 2),
        "decoder": (1, 1),
    }
    conditioning = family.encode(PROMPTS[:1], KEYS[:1], settings)
    latents = torch.zeros(1, *family.latent_shape(settings))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:  # what the meta device does
        family.predict(latents, 0, family.sampler(settings), conditioning.tensors, settings)
    assert count(components["denoiser"]) * 2 == counted.get_total_flops()
