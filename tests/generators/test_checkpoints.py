import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from common.errors import UserError
from generators.catalogue import model
from generators.checkpoints import (
    _hub_path,
    check_pipeline,
    hub_commit,
    load_config,
    load_pipeline,
    pipeline_class,
)


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


def test_borrowed_component_that_lacks_weights_is_refused(tiny_kandinsky: Path, tmp_path: Path):
    prior, borrowed = tiny_kandinsky / "prior", tmp_path / "text_encoder"
    shutil.copytree(prior / "text_encoder", borrowed)
    weights = load_file(borrowed / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, borrowed / "model.safetensors", {"format": "pt"})
    missing = "text_encoder is no CLIPTextModelWithProjection: it has no text_projection.weight"
    with pytest.raises(UserError, match=missing):
        load_pipeline("KandinskyV22PriorPipeline", str(prior), torch.float32, "cpu", {"text_encoder": str(borrowed)})


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
        load_config("someone/unknown", "unet")


def test_public_configuration_serves_until_the_weights_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_kandinsky: Path
):
    hub_id = "kandinsky-community/kandinsky-2-2-decoder"
    monkeypatch.setattr("generators.checkpoints._commits", {})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    _hub_path.cache_clear()
    check_pipeline("KandinskyV22Pipeline", hub_id)
    assert load_config(hub_id, "unet")["sample_size"] == 64
    with pytest.raises(UserError, match="Hugging Face hub"):
        pipeline_class(hub_id)  # what it is is known, but not that it can be had
    with pytest.raises(UserError, match="Hugging Face hub"):
        load(hub_id)
    assert load_config(hub_id, "unet")["sample_size"] == 64
    repo = tmp_path / f"models--{hub_id.replace('/', '--')}"
    shutil.copytree(tiny_kandinsky / "decoder", repo / "snapshots" / ("b" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("b" * 40)
    own = load(hub_id).unet.config.sample_size
    assert own != 64
    assert load_config(hub_id, "unet")["sample_size"] == own
    _hub_path.cache_clear()


def test_folder_named_like_a_public_model_is_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_kandinsky: Path
):
    shutil.copytree(tiny_kandinsky / "decoder", tmp_path / "black-forest-labs" / "FLUX.1-dev")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is a KandinskyV22Pipeline, not a FluxPipeline"):
        check_pipeline("FluxPipeline", "black-forest-labs/FLUX.1-dev")
    with pytest.raises(UserError, match=r"holds no transformer/config\.json"):
        load_config("black-forest-labs/FLUX.1-dev", "transformer")


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (GatedRepoError, "FLUX.1-dev is gated: .*licence"),
        (RepositoryNotFoundError, "the Hugging Face hub shows you no model black-forest-labs/FLUX.1-dev"),
    ],
)
def test_gated_model_says_which_licence_to_accept_and_where(
    monkeypatch: pytest.MonkeyPatch, refusal: type[Exception], message: str
):
    """As the hub answers: 401 or 403, over several lines."""
    answer = SimpleNamespace(headers={}, request=None)

    def refuse(*args, **kwargs):
        raise refusal("401 Client Error.\n\nCannot access gated repo.\nAccess is restricted.", response=answer)

    monkeypatch.setattr("generators.checkpoints._commits", {})
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    _hub_path.cache_clear()
    with pytest.raises(UserError, match=message) as error:
        pipeline_class("black-forest-labs/FLUX.1-dev")
    assert "https://huggingface.co/black-forest-labs/FLUX.1-dev" in error.value.hint
    assert "hf auth login" in error.value.hint
    assert "\n" not in str(error.value)
    assert model("flux-dev").unavailable() == str(error.value)
    with pytest.raises(UserError, match=message):
        load_pipeline("FluxPipeline", "black-forest-labs/FLUX.1-dev", torch.bfloat16, torch.device("cpu"))


def test_hub_model_is_read_and_loaded_at_the_commit_that_it_is_known_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_kandinsky: Path
):
    first, second = "0123456789abcdef0123456789abcdef01234567", "f" * 40
    repo = tmp_path / "models--someone--decoder"
    for commit in (first, second):
        shutil.copytree(tiny_kandinsky / "decoder", repo / "snapshots" / commit)
    config = repo / "snapshots" / second / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "beta_end": 0.5}))
    main = repo / "refs" / "main"
    main.parent.mkdir()
    main.write_text(first)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub_commit("someone/decoder") == first
    main.write_text(second)  # the hub's owner moves on while we run
    assert pipeline_class("someone/decoder") == "KandinskyV22Pipeline"
    assert load_config("someone/decoder", "scheduler", "scheduler_config.json")["beta_end"] == 0.02
    assert load("someone/decoder").scheduler.config.beta_end == 0.02


def test_hub_ids_are_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_kandinsky: Path):
    for part in ("prior", "decoder"):
        repo = tmp_path / f"models--me--tiny-{part}"
        shutil.copytree(tiny_kandinsky / part, repo / "snapshots" / ("a" * 40))
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    entry = model("kandinsky:me/tiny-prior+me/tiny-decoder")
    assert entry.unavailable() is None
    assert entry.defaults == model(str(tiny_kandinsky)).defaults
    for wrong, message in {
        "kandinsky:me/tiny-prior+me/gone": r"cannot fetch .* of me/gone .*Hugging Face hub",
        "kandinsky:me/tiny-prior": r"does not name the parts .*write kandinsky:PRIOR\+DECODER",
        "kandinski:me/a+me/b": "unknown family 'kandinski'.*'kandinsky'",
        "me/tiny-prior": r"kandinsky:OWNER/PRIOR\+OWNER/DECODER",
    }.items():
        with pytest.raises(UserError, match=message):
            model(wrong)
