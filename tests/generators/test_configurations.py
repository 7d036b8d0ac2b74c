"""The public models' configurations that come with this package are those models'."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from generators.catalogue import model
from generators.checkpoints import CONFIGURATIONS
from generators.families.base import Family, get_family, resolve_settings
from generators.families.shells import Shells
from generators.model_entry import models
from generators.settings import GenerationSettings
from sweeps.model_costs import numbers

PUBLIC = ("kandinsky-2.2", "karlo", "sd15", "flux-dev", "flux-schnell")
# Of the hub's weight files, from their sizes in bytes.
PARAMETERS = {
    "kandinsky-2.2": {"text encoder": 694.7e6, "image encoder": 1.845e9, "prior": 1.026e9, "denoiser": 1.253e9},
    "karlo": {"prior": 1.02e9, "denoiser": 0.885e9, "super-resolution": 0.69e9},
    "sd15": {"denoiser": 0.8595e9, "decoder": 83.65e6},
    "flux-dev": {"denoiser": 11.90e9, "text encoder 2": 4.762e9},
    "flux-schnell": {"denoiser": 11.89e9, "text encoder 2": 4.762e9, "text encoder": 123.06e6},
}
# A forward at batch 1 and the models' own sizes, a multiply-add as 2.
TFLOPS = {"kandinsky-2.2": 0.856, "sd15": 0.803, "flux-dev": 74.4}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("common.hub._settled", {})
    monkeypatch.setattr("common.hub.told", lambda source: pytest.fail("asked the hub"))


def described(name: str) -> tuple[type[Family], GenerationSettings]:
    entry = model(name)
    return get_family(entry.family), resolve_settings(entry)


@pytest.mark.parametrize("name", PUBLIC)
def test_model_is_planned_without_the_hub(name: str):
    family, settings = described(name)
    loaded = family.load(model(name), "cpu", "fp32")
    assert settings.steps <= loaded.sampler(settings).K
    assert len(loaded.latent_shape(settings)) in (2, 3)


@pytest.mark.parametrize("name", PUBLIC)
def test_components_have_the_published_parameters(name: str):
    family, settings = described(name)
    counted = {}
    for part in family.components_of(model(name), settings):
        with torch.device("meta"):
            counted[part.name] = sum(parameter.numel() for parameter in part.build().parameters())
    for part, expected in PARAMETERS[name].items():
        assert counted[part] == pytest.approx(expected, rel=0.01), part


@pytest.mark.parametrize("name", TFLOPS)
def test_denoiser_costs_its_closed_count(name: str):
    family, settings = described(name)
    denoiser = next(part for part in family.components_of(model(name), settings) if part.name == "denoiser")
    with torch.device("meta"), torch.no_grad():
        module = denoiser.build()
        args, kwargs = denoiser.inputs(module)
        with FlopCounterMode(display=False) as counter:
            module(*args, **kwargs)
    assert counter.get_total_flops() / 1e12 == pytest.approx(TFLOPS[name], rel=0.002)


def test_flux_costs_by_its_text_length():
    """schnell reads 256 tokens by default, dev 512: fewer rows in every layer of the transformer."""
    shapes = {}
    for name in ("flux-dev", "flux-schnell"):
        family, settings = described(name)
        denoiser = next(part for part in family.components_of(model(name), settings) if part.name == "denoiser")
        with torch.device("meta"):
            _, inputs = denoiser.inputs(torch.nn.Identity())
        tensors = {key: value for key, value in inputs.items() if isinstance(value, torch.Tensor)}
        shapes[name] = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    assert shapes["flux-dev"]["encoder_hidden_states"] == (1, 512, 4096)
    assert shapes["flux-schnell"]["encoder_hidden_states"] == (1, 256, 4096)
    assert shapes["flux-dev"]["hidden_states"] == (1, 4096, 64)
    assert "guidance" in shapes["flux-dev"]
    assert "guidance" not in shapes["flux-schnell"]


# Parameters of the denoiser in thousand millions, as its publisher counts them, or as the hub's files have them.
PUBLISHED = {
    "sdxl": 2.567,
    "sd3.5-medium": 2.47,
    "sd3.5-large": 8.06,
    "flux2-dev": 32,
    "flux2-klein-4b": 4,
    "flux2-klein-9b": 9,
    "qwen-image": 20,
    "z-image-turbo": 6,
    "sana-1.5": 1.6,
    "pixart-sigma": 0.6,
    "hidream-i1": 17,
    "chroma1-hd": 8.899983424,
}
# GiB of the hub's repositories, which hold these weights once (see the configurations' README).
REPOSITORIES = {
    "flux-schnell": 31.41,
    "flux2-dev": 105.06,
    "flux2-klein-4b": 14.87,
    "flux2-klein-9b": 32.32,
    "qwen-image": 53.74,
    "z-image-turbo": 30.58,
    "sana-1.5": 9.02,
    "pixart-sigma": 20.33,
    "hidream-i1": 43.94 + 14.96,  # and Llama's four shards of bf16
    "chroma1-hd": 25.6,
}


_counted: dict[str, int] = {}


def held(name: str) -> dict[str, int]:
    """Return how many numbers the weight files of every module of a model hold."""
    entry, counts = model(name), {}
    shells = Shells(entry.source("pipeline"), entry.borrowed)
    for part in shells.names:
        config = json.dumps(shells.config(part))
        if config not in _counted:  # several have the same T5
            _counted[config] = numbers(partial(shells.build, part))
        counts[part] = _counted[config]
    return counts


@pytest.mark.parametrize("name", PUBLISHED)
def test_denoiser_has_as_many_parameters_as_its_publisher_says(name: str):
    modules = held(name)
    count = modules.get("unet") or modules["transformer"]
    assert count / 1e9 == pytest.approx(PUBLISHED[name], rel=0.04 if isinstance(PUBLISHED[name], int) else 0.03)


@pytest.mark.parametrize("name", REPOSITORIES)
def test_download_is_as_large_as_the_hubs_repository(name: str):
    words, stored = {"transformer": "denoiser", "vae": "decoder"}, model(name).stored_bytes
    modules = {words.get(part, part.replace("_", " ")): count for part, count in held(name).items()}
    size = sum(count * stored.get(part, stored["all"]) for part, count in modules.items())
    assert size / 2**30 == pytest.approx(REPOSITORIES[name], rel=0.005)


def test_every_configuration_is_of_a_model_in_the_catalogue():
    sources = {source for entry in models().values() for source in entry.sources.values() if "embedded" not in source}
    sources -= {"sd2-community/stable-diffusion-2-1-unclip-small"}
    found = {str(index.parent.relative_to(CONFIGURATIONS)) for index in CONFIGURATIONS.rglob("model_index.json")}
    assert found == sources


def test_public_model_named_by_its_parts_is_the_catalogued_one():
    for name in ("flux-dev", "flux-schnell"):
        entry = model(f"diffusers:{model(name).sources['pipeline']}")
        assert entry.defaults == model(name).defaults
