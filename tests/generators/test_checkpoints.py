import json
import shutil
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from generators.catalogue import model
from generators.checkpoints import hub_commit, load_config, load_pipeline, pipeline_class
from generators.families.kandinsky import Kandinsky
from generators.settings import GenerationSettings


@pytest.fixture
def decoder(tiny_kandinsky: Path, tmp_path: Path) -> Path:
    """A copy of the tiny decoder to damage."""
    return Path(shutil.copytree(tiny_kandinsky / "decoder", tmp_path / "decoder"))


def load(source: Path | str):
    return load_pipeline("KandinskyV22Pipeline", str(source), torch.float32, torch.device("cpu"))


def test_folder_without_an_index(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no model_index\.json"):
        pipeline_class(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_damaged_index_is_named(decoder: Path, content: str):
    (decoder / "model_index.json").write_text(content)
    with pytest.raises(UserError, match=r"model_index\.json"):
        load(decoder)


def test_damaged_weights_are_one_line(decoder: Path):
    weights = decoder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot load the weights") as error:
        load(decoder)
    assert "\n" not in error.value.message


def test_pickled_weights_are_refused(decoder: Path):
    weights = decoder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UserError, match="cannot load the weights"):
        load(decoder)


def test_missing_component_is_named(decoder: Path):
    shutil.rmtree(decoder / "movq")
    with pytest.raises(UserError, match="cannot load the weights"):
        load(decoder)
    with pytest.raises(UserError, match=r"movq/config\.json"):
        load_config(str(decoder), "movq")


def test_loading_shows_no_bars(decoder: Path, capfd: pytest.CaptureFixture):
    load(decoder)
    assert "it/s" not in capfd.readouterr().err


def test_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    paper = model("kandinsky-2.2")
    reason = paper.unavailable()
    assert "kandinsky-community/kandinsky-2-2-prior" in reason
    assert "--model FOLDER" in reason
    assert "\n" not in reason
    with pytest.raises(UserError, match="Hugging Face hub"):
        Kandinsky.components_of(paper, GenerationSettings.resolve(paper.defaults))


def test_hub_model_in_the_cache_is_known_by_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--decoder"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text(json.dumps({"_class_name": "KandinskyV22Pipeline"}))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub_commit("someone/decoder") == commit
    assert pipeline_class("someone/decoder") == "KandinskyV22Pipeline"
