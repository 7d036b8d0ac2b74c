"""The five families at their own sizes and random weights: exported, then run as any model of the catalogue."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from generators.batching import Batches
from generators.catalogue import model
from generators.executor import decode_images, execute
from generators.families.base import Family, get_family, resolve_settings
from generators.model_entry import ModelEntry
from generators.noise import KeyedNoise
from generators.settings import GenerationSettings
from generators.sharing.plan import baseline_plan
from miniature.export import export
from miniature.training import chat_tokenizer, super_resolution, t5_tokenizer

PROMPT = "a 3d drawing of a penguin left of a cactus on a blue background"
MODELS = ("mini-kandinsky", "mini-sd", "mini-karlo", "mini-flux", "mini-z-image")


def entry_in(exported: Path, name: str) -> ModelEntry:
    """The catalogue's model with its parts in another place."""
    entry = model(name)
    places = {
        kind: {name: str(exported / source.removeprefix("embedded:")) for name, source in getattr(entry, kind).items()}
        for kind in ("sources", "components")
    }
    return entry.model_copy(update=places)


def picture(family: Family, settings: GenerationSettings) -> np.ndarray:
    noise, keys = KeyedNoise(settings.seed), [f"{PROMPT}#0"]
    plan, conditioning = baseline_plan(1, family.sampler(settings).K), family.encode([PROMPT], keys, settings)
    done = execute(plan, family, conditioning, keys, settings, noise=noise, batch_size=1)
    return next(iter(decode_images(family, done, keys, settings, noise=noise, batches=Batches(1))))[0]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_exported_generates_as_the_catalogues_model(
    exported: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    entry = entry_in(exported, name)
    entry.check()
    own = get_family(entry.family).settings_type.own_names()
    few = {name: 2 for name in ("steps", "prior_steps", "super_res_steps") if name == "steps" or name in own}
    settings = resolve_settings(entry, few)
    made = picture(get_family(entry.family).load(entry, "cpu", "fp32"), settings)
    assert made.shape == (64, 64, 3)
    assert made.std() > 1
    assert not caplog.messages


@pytest.mark.parametrize("name", MODELS)
def test_every_component_is_in_the_folder_or_borrowed_and_none_is_both(exported: Path, name: str) -> None:
    entry = entry_in(exported, name)
    for role in entry.sources:
        folder = Path(entry.source(role))
        index = json.loads((folder / "model_index.json").read_text())
        named = {part for part, value in index.items() if isinstance(value, list) and value[0]}
        assert named == {place.name for place in folder.iterdir() if place.is_dir()} | entry.borrowed.keys()
        assert not any((folder / part).exists() for part in entry.borrowed)


def test_the_unet_that_was_taught_to_be_shared_borrows_all_but_itself(exported: Path) -> None:
    folder = exported / "stable-diffusion-shared"
    assert {place.name for place in folder.iterdir() if place.is_dir()} == {"unet", "scheduler"}
    index = json.loads((folder / "model_index.json").read_text())
    assert index["vae"] == ["diffusers", "AutoencoderKL"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]


def test_configurations_ask_for_float32_though_weights_are_float16(exported: Path) -> None:
    dtypes = [json.loads(config.read_text()).get("dtype") for config in exported.rglob("config.json")]
    assert {dtype for dtype in dtypes if dtype} == {"float32"}


def test_all_new_checkpoints_are_as_small_as_planned(exported: Path) -> None:
    """So that with Kandinsky and the scorer all stay under 95 MB."""
    new = [path for name in ("stable-diffusion", "flux", "z-image", "karlo") for path in (exported / name).rglob("*")]
    assert sum(path.stat().st_size for path in new if path.is_file()) < 44e6


def test_what_is_not_trained_is_left_alone(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "work"
    alone.mkdir()
    (alone / "flux").symlink_to(work / "flux")
    (alone / "t5-tokenizer").symlink_to(work / "t5-tokenizer")
    (kept := tmp_path / "out" / "karlo").mkdir(parents=True)
    export(alone, tmp_path / "out")
    assert {place.name for place in (tmp_path / "out").iterdir()} == {"flux", "karlo"}
    assert not list(kept.iterdir())
    assert "holds no stable-diffusion, movq" in capsys.readouterr().out


def test_the_catalogue_asks_for_what_was_trained() -> None:
    assert model("mini-karlo").defaults["super_res_steps"] == super_resolution.STEPS
    assert model("mini-flux").defaults["max_sequence_length"] == t5_tokenizer.LONGEST
    assert model("mini-z-image").defaults["max_sequence_length"] == chat_tokenizer.LONGEST
