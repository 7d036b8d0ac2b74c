"""diffusers' deprecated pipeline loads, whatever diffusers wrote the checkpoint, and says nothing of it."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from tiny_karlo import save_tiny_karlo

from common.errors import UserError
from generators.catalogue import model
from generators.families.karlo import Karlo
from generators.model_entry import ModelEntry


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_karlo(tmp_path_factory.mktemp("karlo"))


@pytest.fixture
def family(folder: Path) -> Karlo:
    return Karlo.load(model(str(folder)), "cpu", "fp32")


def test_encoders_and_denoisers_are_loaded_apart_and_nothing_is_said_of_deprecation(
    family: Karlo, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    encoders = family.encoders
    assert encoders.prior is not None
    assert encoders.decoder is encoders.text_proj is encoders.super_res_first is encoders.super_res_last is None
    family.release_encoders()
    assert family._encoders is None
    denoisers = family.denoisers
    assert denoisers.text_proj is not None
    assert denoisers.text_encoder is denoisers.tokenizer is denoisers.prior is None
    assert not caplog.messages


@pytest.mark.parametrize("library", ["unclip", "diffusers"])
def test_checkpoint_of_any_diffusers_loads(folder: Path, tmp_path: Path, library: str):
    """On the hub the text projection is of ``unclip``, a module that diffusers has since moved."""
    copied = Path(shutil.copytree(folder, tmp_path / "karlo"))
    index = json.loads((copied / "model_index.json").read_text())
    (copied / "model_index.json").write_text(json.dumps({**index, "text_proj": [library, "UnCLIPTextProjModel"]}))
    family = Karlo.load(model(str(copied)), "cpu", "fp32")
    assert family.encoders.prior is not None
    assert family.denoisers.text_proj is not None


def test_components_may_be_borrowed(family: Karlo, folder: Path, tmp_path: Path):
    borrowed = ("text_encoder", "tokenizer", "text_proj")
    own, other = Path(shutil.copytree(folder, tmp_path / "own")), tmp_path / "other"
    for name in borrowed:
        shutil.move(own / name, other / name)
    places = {"sources": {"pipeline": str(own)}, "components": {name: str(other / name) for name in borrowed}}
    borrower = Karlo.load(family.entry.model_copy(update=places), "cpu", "fp32")
    settings = family.settings_type.resolve(family.entry.defaults, {"prior_steps": 2, "dtype": "fp32"})
    ours, expected = (each.encode(["a fox"], ["a fox#0"], settings).tensors for each in (borrower, family))
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    ours, expected = (each.denoisers.text_proj.state_dict() for each in (borrower, family))
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    assert len(borrower.components(settings)) == len(family.components(settings))


def test_wrong_and_damaged_checkpoints_are_named(tiny_kandinsky: Path, folder: Path, tmp_path: Path):
    assert Karlo.recognise(tiny_kandinsky) is None
    assert Karlo.recognise(tiny_kandinsky / "decoder") is None
    decoder = str(tiny_kandinsky / "decoder")
    with pytest.raises(UserError, match="is a KandinskyV22Pipeline, not a UnCLIPPipeline"):
        model(f"karlo:{decoder}")
    with pytest.raises(UserError, match="is a KandinskyV22Pipeline, not a UnCLIPPipeline"):
        Karlo.load(ModelEntry(name="x", family="karlo", sources={"pipeline": decoder}, defaults={}), "cpu", "fp32")
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (damaged / "text_proj" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    (damaged / "prior" / "diffusion_pytorch_model.safetensors").unlink()
    family = Karlo.load(model(str(damaged)), "cpu", "fp32")
    with pytest.raises(UserError, match=r"cannot load text_proj of .*damaged"):
        _ = family.denoisers
    with pytest.raises(UserError, match=r"cannot load the weights of .*damaged"):
        _ = family.encoders


def test_pipeline_that_diffusers_dropped_is_named(family: Karlo, monkeypatch: pytest.MonkeyPatch):
    assert Karlo.unavailable() is None
    monkeypatch.setattr("generators.families.unclip.PIPELINE", "DroppedPipeline")
    assert "install diffusers" in Karlo.unavailable()
    with pytest.raises(UserError, match="has no DroppedPipeline any more"):
        Karlo.load(family.entry, "cpu", "fp32")
