"""What of a pipeline is loaded, when, and from where."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from stock_pipelines import KEYS, PROMPTS, loaded

from common.errors import UserError
from generators.catalogue import model
from generators.families.base import get_family
from generators.families.diffusers_pipeline import DiffusersPipeline

SD = "StableDiffusionPipeline"


def weights(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_encoders_and_denoiser_are_loaded_apart_and_encoders_are_given_back(case):
    family, settings = loaded(case("FluxPipeline").folder), case("FluxPipeline").settings()
    family.encode(PROMPTS, KEYS, settings)
    encoders = family.encoders
    assert weights(encoders.text_encoder) * weights(encoders.text_encoder_2) > 0
    assert weights(encoders.transformer) == weights(encoders.vae) == 0
    family.release_encoders()
    assert family._encoders is None
    assert weights(family.denoiser.text_encoder) == weights(family.denoiser.text_encoder_2) == 0
    assert weights(family.network) > 0


def test_the_safety_checker_of_a_checkpoint_is_left_where_it_is(case, tmp_path: Path, caplog, monkeypatch):
    """Public checkpoints list one; here its weights are not even there."""
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    copy = shutil.copytree(case(SD).folder, tmp_path / "listed")
    index = json.loads((copy / "model_index.json").read_text())
    del index["requires_safety_checker"], index["image_encoder"]
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (copy / "model_index.json").write_text(json.dumps(index))
    family = loaded(copy)
    assert family.encoders.safety_checker is None
    assert family.denoiser.safety_checker is None
    assert not caplog.messages


def test_a_borrowed_text_encoder_is_the_same_as_an_own_one(case, tmp_path: Path):
    family, settings = case(SD).family, case(SD).settings()
    lender = tmp_path / "elsewhere"
    borrower = shutil.copytree(case(SD).folder, tmp_path / "borrower")
    for component in ("text_encoder", "tokenizer"):
        shutil.move(borrower / component, lender / component)
    borrowed = {name: str(lender / name) for name in ("text_encoder", "tokenizer")}
    entry = family.entry.model_copy(update={"sources": {"pipeline": str(borrower)}, "components": borrowed})
    other = get_family(entry.family).load(entry, "cpu", "fp32")
    expected = family.encode(PROMPTS, KEYS, settings).tensors
    rows = other.encode(PROMPTS, KEYS, settings).tensors
    assert rows.keys() == expected.keys()
    assert all(torch.equal(rows[name], expected[name]) for name in rows)
    assert [part.name for part in other.components(settings)] == [part.name for part in family.components(settings)]


def test_another_familys_checkpoint_is_named_for_what_it_is(case, tmp_path: Path, tiny_kandinsky: Path):
    assert DiffusersPipeline.recognise(tmp_path) is None
    assert DiffusersPipeline.recognise(tiny_kandinsky / "decoder") is None
    entry = case(SD).family.entry
    with pytest.raises(UserError, match="nowhere does not exist"):
        DiffusersPipeline.load(entry.model_copy(update={"sources": {"pipeline": "/nowhere"}}), "cpu", "fp32")
    with pytest.raises(UserError, match="diffusers: any text-to-image pipeline of diffusers"):
        model(str(tmp_path))


def test_missing_weights_are_one_line(case, tmp_path: Path):
    copy = shutil.copytree(case(SD).folder, tmp_path / "damaged")
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    family = loaded(copy)
    with pytest.raises(UserError, match="cannot load the weights"):
        _ = family.denoiser
