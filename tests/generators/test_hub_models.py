"""Models of the hub, in the public repositories' layouts: found, identified, fetched and loaded."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from loopback_hub import LoopbackHub, another_process, serving_hub, use_hub
from public_layouts import FLUX, KANDINSKY, KARLO, SD15, UNCLIP, flux, half, kandinsky, stable_diffusion, unclip

from common.errors import UserError
from generators.catalogue import model
from generators.checkpoints import hub_commit, pipeline_class
from generators.families.base import Family, get_family, resolve_settings
from generators.model_entry import ModelEntry

PROMPTS = ["a fox", "a wolf"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """A hub with every public repository that the catalogue names, tiny."""
    folder = tmp_path_factory.mktemp("public")
    with serving_hub() as running:
        for build in (kandinsky, stable_diffusion, unclip, flux):
            for hub_id, place in build(folder / build.__name__).items():
                running.put(hub_id, place)
        yield running


@pytest.fixture
def hub(server: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    before = dict(server.revisions)
    server.reset()
    use_hub(monkeypatch, server, tmp_path / "cache")
    yield server
    server.revisions = before


def loaded(entry: ModelEntry) -> Family:
    return get_family(entry.family).load(entry, "cpu", "fp32")


def encoded(entry: ModelEntry) -> dict[str, torch.Tensor]:
    settings = resolve_settings(entry, {"prior_steps": 2} if "prior_steps" in entry.defaults else {})
    return dict(loaded(entry).encode(PROMPTS, PROMPTS, settings).tensors)


def computed(entry: ModelEntry) -> None:
    """Load all that a run of the model loads."""
    encoded(entry)
    family = loaded(entry)
    family.sampler(resolve_settings(entry))
    assert family.network is not None


def folder_of(server: LoopbackHub, hub_id: str) -> Path:
    return server.revisions[hub_id, "main"][1]


@pytest.mark.parametrize("name", ["karlo", "stable-unclip", "sd15", "flux-schnell", "kandinsky-2.2"])
def test_a_catalogued_model_loads_by_its_hub_ids_as_from_folders(hub: LoopbackHub, name: str):
    """Karlo's index names a library that is gone from diffusers, and Stable unCLIP's prior is Karlo's."""
    entry = model(name)
    assert entry.unavailable() is None
    folders = {role: str(folder_of(hub, source)) for role, source in entry.sources.items()}
    local = entry.model_copy(update={"sources": folders})
    ours, theirs = encoded(entry), encoded(local)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    computed(entry)
    assert not any("safety_checker" in asked or ".bin" in asked or "/v1-5" in asked for asked in files(hub))
    here, total = entry.hub_bytes(ask=False)
    assert 0 < here == total


def files(hub: LoopbackHub) -> list[str]:
    return [asked for asked in hub.asked if "/resolve/" in asked]


def test_only_what_a_model_needs_of_a_repository_is_fetched(hub: LoopbackHub):
    """Of Karlo, Stable unCLIP needs the prior alone."""
    entry = model("stable-unclip")
    computed(entry)
    of_karlo = {asked.partition("/resolve/")[2].split("/")[1] for asked in files(hub) if KARLO in asked}
    assert of_karlo == {"model_index.json", "prior", "prior_scheduler", "text_encoder", "tokenizer"}


def test_identity_is_that_of_the_files_that_are_read(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another commit, README or format beside them changes nothing, another weight does, and offline it is the same."""
    entry = model("sd15")
    first, commit = entry.weights_hash(), hub_commit(SD15)
    computed(entry)
    moved = Path(shutil.copytree(folder_of(hub, SD15), tmp_path / "moved"))
    (moved / "README.md").write_text("another")
    (moved / "unet" / "diffusion_pytorch_model.onnx").write_bytes(b"another format")
    hub.put(SD15, moved, commit="5" * 40)
    another_process(monkeypatch)
    assert hub_commit(SD15) == "5" * 40
    assert entry.weights_hash() == first
    another_process(monkeypatch, offline=True)
    assert (hub_commit(SD15), entry.weights_hash()) == (commit, first)
    scheduler = moved / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "beta_end": 0.5}))
    another_process(monkeypatch)
    assert entry.weights_hash() != first


def test_a_variant_alone_is_loaded_and_another_is_asked_for(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    only_half = Path(shutil.copytree(folder_of(hub, SD15), tmp_path / "half"))
    for part in ("unet", "vae", "text_encoder"):
        for plain in only_half.glob(f"{part}/*model.safetensors"):
            plain.unlink()
    hub.put("me/half", only_half)
    alone, plain, asked = model("me/half"), model("sd15"), model("sd15", "fp16")
    ours, theirs = encoded(alone), encoded(asked)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert set(ours) == set(full := encoded(plain))
    assert not all(torch.equal(ours[key], full[key]) for key in ours)
    assert loaded(alone).network.dtype == torch.float32
    assert asked.weights_hash() != plain.weights_hash()
    with pytest.raises(UserError, match=r"has no weights of the variant bf16 \(variants: fp16, non_ema|variants: fp16"):
        model("sd15", "bf16").weights_hash()
    folder = encoded(model(str(only_half)))
    assert all(torch.equal(folder[key], ours[key]) for key in ours), "as in a folder"


def test_pickled_weights_alone_are_refused_before_anything_is_fetched(hub: LoopbackHub, tmp_path: Path):
    pickled = Path(shutil.copytree(folder_of(hub, SD15), tmp_path / "pickled"))
    for path in pickled.glob("unet/*.safetensors"):
        path.unlink()
    hub.put("me/pickled", pickled)
    for place in ("me/pickled", str(pickled)):
        assert "those of unet are pickled (.bin), and nothing is unpickled" in str(model(place).unavailable())
        with pytest.raises(UserError, match="pickled"):
            _ = loaded(model(place)).network
    assert not any("unet" in asked and "config" not in asked for asked in files(hub))


def test_a_revision_is_a_model_of_its_own(hub: LoopbackHub, tmp_path: Path):
    other = Path(shutil.copytree(folder_of(hub, SD15), tmp_path / "other"))
    half(other / "text_encoder", keep=False)
    commit = hub.put(SD15, other, "refs/pr/7")
    entry = model(f"{SD15}@refs/pr/7")
    assert (entry.family, entry.name) == ("diffusers", f"{SD15}@refs/pr/7")
    assert entry.commits() == {"pipeline": f"{SD15}@{commit}"}
    assert entry.weights_hash() != model("sd15").weights_hash()
    assert model("sd15@refs/pr/7").sources == entry.sources
    assert model(f"{SD15}@{commit}").weights_hash() == entry.weights_hash()
    with pytest.raises(UserError, match="has no revision 'v9'"):
        model(f"{SD15}@v9")
    with pytest.raises(UserError, match="mini-sd comes with this package: it has no revision 'v9'"):
        model("mini-sd@v9")


def test_a_pinned_model_stays_at_its_commit_when_the_hub_moves_on(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What workers in other processes are given."""
    pinned, before = model("sd15").pinned(), model("sd15").weights_hash()
    other = Path(shutil.copytree(folder_of(hub, SD15), tmp_path / "moved"))
    half(other / "text_encoder", keep=False)
    hub.put(SD15, other, commit="b" * 40)
    use_hub(monkeypatch, hub, tmp_path / "elsewhere")
    assert model("sd15").weights_hash() != before
    assert (pinned.weights_hash(), pinned.name) == (before, "sd15")
    assert model("mini-sd").pinned() == model("mini-sd")


def test_gated_disabled_and_indexless_repositories_are_refused_where_a_model_is_asked_for(
    hub: LoopbackHub, tmp_path: Path
):
    hub.gated = {FLUX}
    reason = str(model("flux-schnell").unavailable())
    assert f"{FLUX} is gated" in reason
    assert f"{hub.url}/{FLUX}, then run: hf auth login" in reason
    assert "\n" not in reason
    with pytest.raises(UserError, match="is gated"):
        pipeline_class(FLUX)
    hub.disabled = {KARLO}
    assert f"{KARLO} is disabled on the Hugging Face hub" in str(model("stable-unclip").unavailable())
    hub.put("me/weights", tmp_path)
    with pytest.raises(UserError, match=r"me/weights holds no model_index\.json on the Hugging Face hub"):
        model("me/weights")


def test_a_component_of_a_class_that_is_not_installed_is_named(hub: LoopbackHub, tmp_path: Path):
    future = Path(shutil.copytree(folder_of(hub, SD15), tmp_path / "future"))
    index = json.loads((future / "model_index.json").read_text())
    (future / "model_index.json").write_text(json.dumps({**index, "unet": ["diffusers", "UNet9DModel"]}))
    hub.put("me/future", future)
    with pytest.raises(UserError, match="unet of me/future is a UNet9DModel, which diffusers"):
        model("me/future")


def test_what_is_here_of_a_model_is_told_from_what_it_takes(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    entry = model("kandinsky-2.2")
    assert entry.hub_bytes(ask=False) == (0, None)
    here, total = entry.hub_bytes(ask=True)
    assert here == 0
    assert total
    hub.cuts = dict.fromkeys(["unet/diffusion_pytorch_model.safetensors"], [100] * 20)
    encoded(entry)
    with pytest.raises(UserError, match="cut the connection"):
        _ = loaded(entry).network
    here, known = entry.hub_bytes(ask=False)
    assert 0 < here < total
    assert known == total
    another_process(monkeypatch, offline=True)
    with pytest.raises(UserError, match=f"cannot load the weights of {KANDINSKY[1]}: there are none of unet"):
        _ = loaded(entry).network
    assert encoded(entry), "what is here is used"


def test_stable_unclip_of_its_own_id_is_the_catalogued_one(hub: LoopbackHub):
    assert model(UNCLIP).weights_hash() == model("stable-unclip").weights_hash()
    assert partial(model, UNCLIP)().unavailable() is None
