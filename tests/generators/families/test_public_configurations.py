"""A public model is counted from its configurations alone, without weights or tokenizers, as it is with them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import SMALLER, save_tiny_pipeline, shrink
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from generators import checkpoints
from generators.families.base import get_family, resolve_settings
from generators.families.diffusers_pipeline import DiffusersPipeline
from generators.families.prompt_returns import LONG
from generators.model_entry import ModelEntry
from metrics.flops import count
from metrics.memory import peaks

SMALL = {"height": 16, "width": 16}
LENGTH = {"arguments": {"max_sequence_length": 96}}
# The classes of the catalogue's models, and what is asked of tiny ones. Where text is padded, tokens are as many.
PADDED = {
    "StableDiffusionXLPipeline": {},
    "StableDiffusion3Pipeline": {},
    "Flux2Pipeline": {**SMALL, **LENGTH},
    "SanaPipeline": {
        "height": 32,
        "width": 32,
        "arguments": {"use_resolution_binning": False, "complex_human_instruction": None, "max_sequence_length": 64},
    },
    "PixArtSigmaPipeline": {**SMALL, "arguments": {"use_resolution_binning": False, "max_sequence_length": 48}},
    "HiDreamImagePipeline": SMALL,
    "ChromaPipeline": {**SMALL, "arguments": {"max_sequence_length": 48}},
}
RAGGED = {"QwenImagePipeline": SMALL, "ZImagePipeline": {**SMALL, **LENGTH}}  # as many tokens as the prompt has
KEPT = ("model_index.json", "config.json", "scheduler_config.json", "tokenizer_config.json")


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a tiny pipeline of a class, and its configurations as a public model's."""
    public = tmp_path / "public"
    monkeypatch.setattr(checkpoints, "CONFIGURATIONS", public)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args, **kwargs: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)  # where no folder is called as the model

    def build(kind: str) -> tuple[DiffusersPipeline, DiffusersPipeline]:
        if kind in SMALLER:
            shrink(monkeypatch, kind)
        folder = save_tiny_pipeline(kind, tmp_path / kind)
        for path in folder.rglob("*.json"):
            if path.name in KEPT:
                place = public / "owner" / kind / path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        if kind == "Flux2Pipeline":  # a processor's own
            (public / "owner" / kind / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({}))
        entry = DiffusersPipeline.described(kind, {"pipeline": str(folder)})
        hosted = entry.model_copy(update={"sources": {"pipeline": f"owner/{kind}"}})
        return loaded(entry), loaded(hosted)

    return build


def loaded(entry: ModelEntry) -> DiffusersPipeline:
    return get_family(entry.family).load(entry, "cpu", "fp32")


def asked(family: DiffusersPipeline, kind: str) -> Any:
    return resolve_settings(family.entry, {"steps": 4, "dtype": "fp32", **{**PADDED, **RAGGED}[kind]})


def planned(family: DiffusersPipeline, kind: str) -> dict[str, Any]:
    """What a plan asks for: timesteps, latents, and how every module is called, with tensors as their forms."""
    settings = asked(family, kind)
    components, sampler = family.components(settings), family.sampler(settings)
    calls = {
        part.name: (part.phase, part.calls, part.together, part.inputs(torch.nn.Identity())) for part in components
    }
    return {
        "steps": (sampler.K, sampler.timesteps.tolist()),
        "latents": family.latent_shape(settings),
        "calls": tree_map(lambda value: tuple(value.shape) if isinstance(value, torch.Tensor) else value, calls),
    }


@pytest.mark.parametrize("kind", PADDED)
def test_configurations_alone_are_called_as_the_checkpoint_is(copied, kind: str):
    own, public = copied(kind)
    assert planned(public, kind) == planned(own, kind)


@pytest.mark.parametrize("kind", RAGGED)
def test_where_text_is_not_padded_it_is_as_long_as_the_prompt_in_words(copied, kind: str):
    family, hosted = copied(kind)
    own, public = planned(family, kind), planned(hosted, kind)
    assert (public["steps"], public["latents"]) == (own["steps"], own["latents"])
    assert {name: call[:3] for name, call in public["calls"].items()} == {
        name: call[:3] for name, call in own["calls"].items()
    }
    assert public["calls"]["decoder"] == own["calls"]["decoder"]
    # in Qwen-Image's template of 34 and 5 tokens; the tiny one's tokens are letters
    longest = max(
        max(leaf) for leaf in tree_leaves(public["calls"]["text encoder"][3], is_leaf=is_shape) if is_shape(leaf)
    )
    assert longest == {"QwenImagePipeline": 34 + len(LONG.split()) + 5, "ZImagePipeline": 96}[kind]


def is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(side, int) for side in value)


@pytest.mark.parametrize("kind", [*RAGGED, "SanaPipeline", "StableDiffusion3Pipeline"])
def test_memory_is_known_of_attention_that_is_a_models_own(copied, kind: str):
    """For two prompts at once: lists of a tensor a row grow by rows; a Gemma's attention has a plain form only."""
    family, _ = copied(kind)
    settings = asked(family, kind)
    components = family.components(settings)
    one, two = (peaks(components, family.latent_shape(settings), 2, "bf16", batch_size=rows) for rows in (1, 2))
    assert set(one) == {"encode", "denoise", "decode"}
    assert all(0 < one[phase] < two[phase] for phase in one)


def test_a_mixture_of_experts_costs_what_it_computes(copied):
    """Which expert gets which rows is not known from shapes, but how many rows all of them get is."""
    family, _ = copied("HiDreamImagePipeline")
    settings = asked(family, "HiDreamImagePipeline")
    conditioning = family.encode(["a red fox"], ["a red fox#0"], settings)
    latents = torch.randn(1, *family.latent_shape(settings), generator=torch.Generator().manual_seed(0))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        family.predict(latents, 0, family.sampler(settings), conditioning.tensors, settings)
    (denoiser,) = (part for part in family.components(settings) if part.name == "denoiser")
    assert count(denoiser) * denoiser.calls == counted.get_total_flops()
