"""What Stable Diffusion and Stable unCLIP share is what diffusers does, seen through Stable Diffusion."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from flop_checks import count_the_same_on_meta_as_on_real_tensors
from tiny_stable_diffusion import save_tiny_stable_diffusion

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.families.stable_diffusion import StableDiffusion
from generators.settings import GenerationSettings

PROMPTS = ["a red fox", "a blue cat, asleep", "nine dogs", "a red fox", "a tree by a lake"]
KEYS = [f"{prompt}#{PROMPTS[:i].count(prompt)}" for i, prompt in enumerate(PROMPTS)]
NEGATIVE = "a grey fog"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def family(folder: Path) -> StableDiffusion:
    return StableDiffusion.load(model(str(folder)), "cpu", "fp32")


@pytest.fixture(scope="module")
def stock(folder: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True)


@pytest.fixture(scope="module")
def conditioning(family: StableDiffusion) -> Conditioning:
    return family.encode(PROMPTS, KEYS, settings_of(family))


def settings_of(family: StableDiffusion, **asked) -> GenerationSettings:
    fixed = {"steps": 4, "guidance": 3.0, "dtype": "fp32", "negative_prompt": NEGATIVE}
    return family.settings_type.resolve(family.entry.defaults, {**fixed, **asked})


@pytest.mark.parametrize("negative", ["", NEGATIVE])
def test_text_states_are_stock_bit_for_bit(family, stock, negative):
    encoded = family.encode(PROMPTS, KEYS, settings_of(family, negative_prompt=negative), Batches(3)).tensors
    for rows in (slice(0, 3), slice(3, 5)):
        states, unconditional = stock.encode_prompt(PROMPTS[rows], "cpu", 1, True, [negative] * len(PROMPTS[rows]))
        assert torch.equal(encoded["text_states"][rows], states)
        assert torch.allclose(encoded["negative_text_states"][rows], unconditional, rtol=0, atol=1e-6)
    _, alone = stock.encode_prompt(PROMPTS[:1], "cpu", 1, True, [negative])
    assert torch.equal(encoded["negative_text_states"], alone.expand(len(PROMPTS), -1, -1))


def test_text_states_do_not_depend_on_guidance_as_sweeps_over_guidance_share_them(family):
    with_guidance, without = (family.encode(PROMPTS, KEYS, settings_of(family, guidance=w)).tensors for w in (3, 1))
    assert with_guidance.keys() == without.keys()
    assert all(torch.equal(tensor, without[name]) for name, tensor in with_guidance.items())


def test_features_options(family, stock, conditioning):
    ids = stock.tokenizer(PROMPTS, padding="max_length", max_length=24, return_tensors="pt")
    with torch.no_grad():
        output = stock.text_encoder(ids.input_ids)
    states, mask = output.last_hidden_state.double().numpy(), ids.attention_mask.numpy().astype(bool)
    assert family.features_options == ("pooled", "flattened", "mean_token")
    features = {option: family.features(conditioning, option) for option in family.features_options}
    assert all(rows.dtype == np.float64 for rows in features.values())
    assert np.array_equal(features["pooled"], output.pooler_output.double().numpy())
    ends = ids.attention_mask.sum(1) - 1  # where a CLIP text model pools: the end token
    assert np.array_equal(features["pooled"], states[np.arange(len(PROMPTS)), ends])
    assert np.array_equal(features["flattened"], states.reshape(len(PROMPTS), -1))
    for row, prompt_states, tokens in zip(features["mean_token"], states, mask, strict=True):
        assert np.allclose(row, prompt_states[tokens].mean(axis=0), rtol=1e-12)
    with pytest.raises(UserError, match="no features 'image_embeds'"):
        family.features(conditioning, "image_embeds")


def test_prompts_that_the_text_encoder_cuts_are_counted_and_not_dumped(family, caplog, monkeypatch):
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    fits, too_long = "a " * 22, "a " * 30
    batches, heard = Batches(2), []
    family.encode(
        [fits, too_long, too_long], KEYS[:3], settings_of(family, negative_prompt=too_long), batches, heard.append
    )
    assert batches.notes == [
        "2 of 3 prompts cut to the 24 tokens the text encoder reads, first prompt 2 with 32",
        "1 of 1 negative prompts cut to the 24 tokens the text encoder reads, first negative prompt 1 with 32",
    ]
    assert heard == [2, 1]
    assert not caplog.messages


def test_a_borrowed_text_encoder_is_the_same_as_an_own_one(folder, family, tmp_path):
    lender = tmp_path / "elsewhere"
    borrower = shutil.copytree(folder, tmp_path / "borrower")
    for component in ("text_encoder", "tokenizer"):
        shutil.move(borrower / component, lender / component)
    borrowed = {name: str(lender / name) for name in ("text_encoder", "tokenizer")}
    entry = family.entry.model_copy(update={"sources": {"pipeline": str(borrower)}, "components": borrowed})
    settings = settings_of(family)
    other = StableDiffusion.load(entry, "cpu", "fp32")
    expected = family.encode(PROMPTS, KEYS, settings).tensors
    assert all(
        torch.equal(rows, expected[name]) for name, rows in other.encode(PROMPTS, KEYS, settings).tensors.items()
    )
    assert other.denoiser.text_encoder is None
    assert [part.name for part in other.components(settings)] == [part.name for part in family.components(settings)]


def test_size_that_the_stock_pipeline_refuses_is_refused(family, stock):
    assert family.latent_shape(settings_of(family, height=16, width=40)) == (4, 8, 20)
    with pytest.raises(ValueError, match="divisible by 8"):
        stock("a fox", height=16, width=44, num_inference_steps=1)
    with pytest.raises(UserError, match="width 44 is not a multiple of 8"):
        family.latent_shape(settings_of(family, width=44))


def test_default_size_is_the_unets(folder, tmp_path):
    defaults = model(str(folder)).defaults
    assert (defaults["height"], defaults["width"], defaults["scheduler"]) == (16, 16, "default")
    wide = save_tiny_stable_diffusion(tmp_path / "wide", sample_size=(8, 12))
    assert (model(str(wide)).defaults["height"], model(str(wide)).defaults["width"]) == (16, 24)


def test_components_count_the_same_on_meta_as_on_real_tensors(family):
    count_the_same_on_meta_as_on_real_tensors(family.components(settings_of(family)))
