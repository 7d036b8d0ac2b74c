"""Modular pipelines: which are run, what is asked of them, and what is refused by name."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from loopback_hub import LoopbackHub, serving_hub, use_hub
from stock_pipelines import KEYS, PROMPTS, Case, loaded

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.combiners.base import MASK
from generators.families.base import get_family
from generators.families.diffusers_pipeline import DiffusersPipeline
from generators.families.pipeline_classes import classes
from generators.families.prompt_returns import states_leaf

ANIMA, FLUX3, DISTILLED = "AnimaModularPipeline", "Flux3ModularPipeline", "Flux3DistilledModularPipeline"
INDEX = "modular_model_index.json"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with serving_hub() as running:
        use_hub(monkeypatch, running, tmp_path / "cache")
        yield running


def changed(case: Case, place: Path, **entries: Any) -> Path:
    """A copy of the checkpoint with other entries in its index, None for none."""
    folder = Path(shutil.copytree(case.folder, place))
    index = json.loads((folder / INDEX).read_text()) | entries
    (folder / INDEX).write_text(json.dumps({name: value for name, value in index.items() if value is not None}))
    return folder


def with_guider(case: Case, place: Path, kind: str, **config: Any) -> Path:
    """A copy of the checkpoint with a guider of its own."""
    spec = {"type_hint": ["diffusers", kind], "pretrained_model_name_or_path": str(place), "subfolder": "guider"}
    folder = changed(case, place, guider=["diffusers", kind, spec])
    (folder / "guider").mkdir()
    (folder / "guider/guider_config.json").write_text(json.dumps({"_class_name": kind, **config}))
    return folder


@pytest.mark.skipif(not hasattr(diffusers, FLUX3), reason="of diffusers 0.42")
def test_classes_without_a_classic_twin_are_listed_and_others_are_not():
    listed = {name: family for name, family in classes().items() if "Modular" in name}
    assert {name: listed[name] for name in (ANIMA, FLUX3, DISTILLED)} == dict.fromkeys(
        (ANIMA, FLUX3, DISTILLED), "diffusers"
    )
    assert listed["Cosmos3DistilledModularPipeline"] == "no family: it makes films"
    assert not {"FluxModularPipeline", "Krea2TurboModularPipeline", "WanModularPipeline"} & set(listed)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("FluxModularPipeline", "it runs the models of FluxPipeline: save them as such a pipeline"),
        ("Flux2KleinBaseModularPipeline", "it runs the models of Flux2KleinPipeline"),
        ("Wan22ModularPipeline", "it has no workflow that makes pictures from text"),
        (
            "ModularPipeline",
            "it has no workflow that makes pictures from text",
        ),  # of blocks that come with a checkpoint
        ("NoSuchModularPipeline", "no class of that name"),
    ],
)
def test_others_are_refused_by_name_with_the_reason(tmp_path: Path, kind: str, reason: str):
    if not (hasattr(diffusers, kind) or kind.startswith("NoSuch")):
        pytest.skip(f"diffusers {diffusers.__version__} has no {kind}")
    (tmp_path / INDEX).write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(UserError, match=f"is a {kind}, which no model family runs: .*{reason}"):
        model(str(tmp_path))


def test_what_is_asked_for_where_nothing_is_is_the_pipelines(case):
    for name, expected in {ANIMA: (50, 4.0), FLUX3: (50, 3.5), DISTILLED: (16, 0)}.items():
        defaults = case(name).family.entry.defaults
        assert (defaults["steps"], defaults["guidance"]) == expected
    assert case(FLUX3).family.entry.defaults["height"] == 1024


def test_a_checkpoints_own_guider_guides(case, tmp_path: Path):
    """One that stops half way, in place of the one that the blocks bring."""
    folder = with_guider(case(ANIMA), tmp_path / "model", "ClassifierFreeGuidance", guidance_scale=2.5, stop=0.5)
    entry = model(str(folder))
    assert entry.defaults["guidance"] == 2.5
    family, settings = loaded(folder), case(ANIMA).settings()
    rows = family.encode(PROMPTS, KEYS, settings).tensors
    latents, sampler = torch.randn(3, *family.latent_shape(settings)), family.sampler(settings)

    def predicted(who: DiffusersPipeline, k: int, guidance: float) -> torch.Tensor:
        return who.predict(latents, k, sampler, rows, case(ANIMA).settings(guidance=guidance))

    for k in range(sampler.K):
        expected = predicted(case(ANIMA).family, k, 4.0 if k < 2 else 1.0)
        assert torch.equal(predicted(family, k, 4.0), expected)


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("AdaptiveProjectedGuidance", {"adaptive_projected_guidance_momentum": -0.5}, "its guider remembers former"),
        ("SkipLayerGuidance", {"skip_layer_guidance_layers": [0]}, "a SkipLayerGuidance, changes the denoiser"),
    ],
)
def test_a_guider_with_memory_or_hooks_is_refused(case, tmp_path: Path, kind: str, config: dict, reason: str):
    folder = with_guider(case(ANIMA), tmp_path / "model", kind, **config)
    with pytest.raises(UserError, match=f"this {ANIMA} cannot be run: .*{reason}"):
        model(str(folder))


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        (ANIMA, {"guidance": 0.0}, "refuses these settings: .*follows the negative prompt alone, 1 is none"),
        (ANIMA, {"arguments": {"latents": 1}}, "takes no 'latents' here"),
        (ANIMA, {"height": 18}, "refuses these settings: .*divisible by 4"),
        (DISTILLED, {"guidance": 2.0}, "takes no guidance"),
        (DISTILLED, {"negative_prompt": "fog"}, "takes no negative prompt"),
    ],
)
def test_settings_that_it_has_no_use_for_are_refused(case, name: str, asked: dict[str, Any], message: str):
    one = case(name)
    settings = one.settings(**asked)
    with pytest.raises(UserError, match=message):
        one.family.encode(PROMPTS, KEYS, settings)
        one.family.latent_shape(settings)


def test_without_guidance_it_is_stock_bit_for_bit_too(case):
    one = case(ANIMA)
    settings = one.settings(guidance=1.0)
    (latents, _), (stock_latents, _) = one.ours(settings), one.theirs(settings)
    assert torch.equal(latents, stock_latents)
    assert {part.name: part.calls for part in one.family.components(settings)} == {
        "text encoder": 1,
        "text conditioner": 1,
        "denoiser": 1,
        "decoder": 1,
    }


def test_what_a_step_raises_is_one_line(case, caplog, monkeypatch: pytest.MonkeyPatch):
    """Anima's positions end at 32 times 32."""
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    with pytest.raises(UserError, match=f"the cost of a {ANIMA} cannot be counted: transformer") as error:
        case(ANIMA).family.components(case(ANIMA).settings(height=256, width=256))
    assert "\n" not in error.value.message
    assert not caplog.messages


def test_prompts_are_encoded_as_they_are_and_records_say_so(case):
    for name, said in ((FLUX3, True), (DISTILLED, True), (ANIMA, False)):
        batches = Batches(1)
        case(name).family.encode(PROMPTS[:1], KEYS[:1], case(name).settings(), batches)
        assert any("prompt upsampler is left out" in note for note in batches.notes) == said


def test_animas_states_are_kept_with_the_tokens_that_are_not_padding(case):
    """By which a cluster's positions are the means of the prompts that reach them; behind them are zeros."""
    one = case(ANIMA)
    conditioning = one.family.encode(PROMPTS, KEYS, one.settings())
    name = states_leaf(conditioning.shapes).name
    states, mask = conditioning.tensors[name], conditioning.tensors[name + MASK]
    assert mask.sum(dim=1).tolist() == [len(one.stock.t5_tokenizer(prompt).input_ids) for prompt in PROMPTS]
    assert states.shape[1] == 128
    assert not states[mask == 0].any()
    means = (states.double() * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    assert np.allclose(one.family.features(conditioning, "mean_token"), means.numpy(), rtol=1e-9)


def test_prompts_of_several_windows_are_kept_apart(case):
    """FLUX.3 reads windows of 80 tokens, one prompt a call; no row is padded to another's."""
    one = case(FLUX3)
    prompts, settings = ["a fox", "a fox " * 20], one.settings()
    together, apart = (one.family.encode(prompts, prompts, settings, Batches(size)).tensors for size in (2, 1))
    assert all(torch.equal(together[name], apart[name]) for name in together)
    latents = torch.randn(2, *one.family.latent_shape(settings))
    sampler = one.family.sampler(settings)
    both = one.family.predict(latents, 0, sampler, together, settings)
    for place, prompt in enumerate(prompts):
        alone = one.family.encode([prompt], [prompt], settings).tensors
        assert torch.equal(both[place : place + 1], one.family.predict(latents[[place]], 0, sampler, alone, settings))


def test_the_text_conditioner_is_loaded_with_the_encoders_alone(case):
    family = loaded(case(ANIMA).folder)
    sizes = {
        part: [
            sum(parameter.numel() for parameter in getattr(of, part).parameters())
            for of in (family.encoders, family.denoiser)
        ]
        for part in ("text_encoder", "text_conditioner", "transformer", "vae")
    }
    for part, (encoding, denoising) in sizes.items():
        assert (encoding > 0, denoising > 0) == (part.startswith("text_"), not part.startswith("text_"))


def test_a_component_elsewhere_is_named(case, tmp_path: Path):
    folder = changed(case(ANIMA), tmp_path / "model")
    index = json.loads((folder / INDEX).read_text())
    index["vae"][2]["pretrained_model_name_or_path"] = "them/vaes"
    (folder / INDEX).write_text(json.dumps(index))
    assert loaded(folder).denoiser.vae is not None  # its files are here
    shutil.rmtree(folder / "vae")
    reason = str(case(ANIMA).family.entry.model_copy(update={"sources": {"pipeline": str(folder)}}).unavailable())
    assert "takes its vae from them/vaes" in reason
    assert "save it whole" in reason


def test_weights_of_a_variant_are_read_where_a_component_has_them(case, tmp_path: Path):
    folder = changed(case(ANIMA), tmp_path / "model")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    ours, theirs = loaded(folder).network.state_dict(), case(ANIMA).family.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_it_cannot_be_offloaded(case):
    family = loaded(case(ANIMA).folder)
    family.offload = "model"
    with pytest.raises(UserError, match=f"a {ANIMA} cannot be offloaded .*--offload none"):
        _ = family.denoiser


def test_a_folder_with_both_indexes_is_the_classic_pipeline(case, tmp_path: Path):
    folder = Path(shutil.copytree(case("StableDiffusionPipeline").folder, tmp_path / "both"))
    (folder / INDEX).write_text(json.dumps({"_class_name": ANIMA}))
    assert type(loaded(folder).denoiser).__name__ == "StableDiffusionPipeline"


def test_a_hub_model_is_read_as_its_folder(case, hub: LoopbackHub):
    one = case(ANIMA)
    hub.put("me/anima", one.folder)
    entry = model("me/anima")
    assert entry.hub_bytes(ask=True)[1] is not None
    assert entry.defaults == one.family.entry.defaults
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    ours, theirs = (who.encode(PROMPTS, KEYS, one.settings()).tensors for who in (family, one.family))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert family.network is not None
    here, total = entry.hub_bytes(ask=False)
    assert 0 < here == total
