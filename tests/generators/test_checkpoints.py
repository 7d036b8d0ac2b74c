import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from loopback_hub import forget_hub
from safetensors.torch import load_file, save_file
from tiny_flux import save_tiny_flux
from tiny_karlo import save_tiny_karlo
from tiny_stable_diffusion import save_tiny_stable_diffusion
from tiny_stable_unclip import save_tiny_stable_unclip

from common.errors import UserError
from generators.catalogue import model
from generators.checkpoints import (
    check_pipeline,
    hub_commit,
    load_config,
    load_pipeline,
    pipeline_class,
)
from generators.families.base import families


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
    assert "give the folder in its place" in reason
    assert "\n" not in reason
    with pytest.raises(UserError, match="Hugging Face hub"):
        load_config("someone/unknown", "unet")


def test_public_configuration_serves_until_the_weights_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_kandinsky: Path
):
    hub_id = "kandinsky-community/kandinsky-2-2-decoder"
    forget_hub(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
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


def test_folder_named_like_a_public_model_is_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_kandinsky: Path
):
    shutil.copytree(tiny_kandinsky / "decoder", tmp_path / "black-forest-labs" / "FLUX.1-dev")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is a KandinskyV22Pipeline, not a FluxPipeline"):
        check_pipeline("FluxPipeline", "black-forest-labs/FLUX.1-dev")
    with pytest.raises(UserError, match=r"holds no transformer/config\.json"):
        load_config("black-forest-labs/FLUX.1-dev", "transformer")


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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, Path], Path]:
    """Puts a folder into an offline hub's cache, as the repository of an id."""
    forget_hub(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)

    def put(hub_id: str, folder: Path) -> Path:
        repo = tmp_path / "hub" / f"models--{hub_id.replace('/', '--')}"
        snapshot = Path(shutil.copytree(folder, repo / "snapshots" / ("a" * 40)))
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("a" * 40)
        return snapshot

    return put


def test_hub_ids_are_a_model(hub, tiny_kandinsky: Path):
    for part in ("prior", "decoder"):
        hub(f"me/tiny-{part}", tiny_kandinsky / part)
    entry = model("kandinsky:me/tiny-prior+me/tiny-decoder")
    assert entry.unavailable() is None
    assert entry.defaults == model(str(tiny_kandinsky)).defaults
    for wrong, message in {
        "kandinsky:me/tiny-prior+me/gone": r"me/gone is not here in full, .*Hugging Face hub",
        "kandinsky:me/tiny-prior": r"does not name the parts .*write kandinsky:PRIOR\+DECODER",
        "kandinski:me/a+me/b": "unknown family 'kandinski'.*'kandinsky'",
        "me/gone": r"me/gone is not here in full, .*a folder me/gone is not here either",
        "hf:me/gone": r"me/gone is not here in full, .* give the folder in its place\)$",
        "hf:gone": "'gone' is no id of the Hugging Face hub",
    }.items():
        with pytest.raises(UserError, match=message):
            model(wrong)


@pytest.mark.parametrize("name", ["me/tiny-decoder", "hf:me/tiny-decoder", "me/tiny-prior"])
def test_the_other_part_of_a_pair_on_the_hub_is_found_by_its_name(hub, tiny_kandinsky: Path, name: str):
    for part in ("prior", "decoder"):
        hub(f"me/tiny-{part}", tiny_kandinsky / part)
    entry, both = model(name), model("kandinsky:me/tiny-prior+me/tiny-decoder")
    assert (entry.name, entry.sources, entry.defaults) == (name, both.sources, both.defaults)
    assert entry.weights_hash() == both.weights_hash()


def test_a_pair_that_does_not_follow_from_a_name_is_asked_for(hub, tiny_kandinsky: Path):
    hub("me/painter", tiny_kandinsky / "decoder")
    hub("me/lone-decoder", tiny_kandinsky / "decoder")
    for name, message in {
        "me/painter": "the decoder of a model, whose prior does not follow from its name",
        "me/lone-decoder": "the prior of me/lone-decoder: me/lone-prior is not here in full",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            model(name)
        assert "name both parts: kandinsky:OWNER/PRIOR+OWNER/DECODER" in error.value.hint


@pytest.mark.parametrize(
    ("save", "family"),
    [
        (save_tiny_stable_diffusion, "diffusers"),
        (partial(save_tiny_flux, guidance_embeds=True), "diffusers"),
        (save_tiny_karlo, "karlo"),
        (save_tiny_stable_unclip, "stable-unclip"),
    ],
)
def test_the_index_of_a_hub_model_says_its_family(hub, tmp_path: Path, save: Callable[[Path], Path], family: str):
    folder = save(tmp_path / "saved")
    hub("me/model", folder)
    entry = model("me/model")
    assert entry.family == family
    assert set(entry.sources.values()) == {"me/model"}
    assert entry.defaults == model(str(folder)).defaults


def test_a_pipeline_that_no_family_runs_is_refused_by_name_with_those_that_run(hub, tiny_kandinsky: Path):
    index = hub("me/video", tiny_kandinsky / "decoder") / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "WanPipeline"}))
    with pytest.raises(UserError, match="me/video is a WanPipeline, which no model family runs") as error:
        model("me/video")
    for family in families().values():
        assert family.pipelines
        assert all(pipeline in error.value.hint for pipeline in family.pipelines)


def test_a_folder_of_a_hub_models_name_wins(hub, tmp_path: Path, tiny_kandinsky: Path):
    shutil.copytree(tiny_kandinsky, tmp_path / "me" / "tiny-decoder")
    hub("me/tiny-decoder", tiny_kandinsky / "decoder")
    assert model("me/tiny-decoder").sources["prior"] == str(tmp_path / "me" / "tiny-decoder" / "prior")
    with pytest.raises(UserError, match=r"a folder me/tiny-decoder is here too.*leave out hf:"):
        model("hf:me/tiny-decoder")


def test_the_sizes_of_public_models_are_known_by_their_ids_without_the_hub(hub):
    assert model("black-forest-labs/FLUX.1-dev").defaults == model("flux-dev").defaults
    public = model("kandinsky-community/kandinsky-2-2-decoder")
    assert public.sources == model("kandinsky-2.2").sources


@pytest.mark.parametrize(
    ("name", "folder"), [(r"C:\models\x", r"C:\models\x"), (r"kandinsky:C:\prior+D:\decoder", r"D:\decoder")]
)
def test_the_letter_of_a_drive_is_no_family(name: str, folder: str):
    with pytest.raises(UserError, match=rf"the model folder {re.escape(folder)} does not exist"):
        model(name)
