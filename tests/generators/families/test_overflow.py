"""Decoders whose numbers overflow in half precision decode in float32; denoisers' numbers that do are an error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_kandinsky import save_tiny_kandinsky
from tiny_karlo import save_tiny_karlo
from tiny_pipelines import save_tiny_pipeline
from tiny_stable_unclip import save_tiny_stable_unclip

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.executor import Execution, decode_images
from generators.families.base import Family, get_family, resolve_settings
from generators.noise import KeyedNoise
from generators.settings import GenerationSettings


@pytest.fixture(scope="module")
def pipelines(tiny_kandinsky: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    xl = save_tiny_pipeline("StableDiffusionXLPipeline", tmp_path_factory.mktemp("overflow") / "xl")
    return {"kandinsky": tiny_kandinsky, "xl": xl}


def loaded(folder: Path, dtype: str) -> tuple[Family, GenerationSettings, torch.nn.Module]:
    """A model, and the module that makes its pictures."""
    entry = model(str(folder))
    settings = resolve_settings(entry, {"steps": 2, "dtype": dtype})
    family = get_family(entry.family).load(entry, "cpu", dtype)
    pipeline = family.decoder if entry.family == "kandinsky" else family.denoiser
    return family, settings, getattr(pipeline, "movq", None) or pipeline.vae


def pictures(family: Family, settings: GenerationSettings, of: float = 1.0) -> tuple[np.ndarray, list[str]]:
    """Pictures of two latents, and what was noted."""
    latents = torch.randn(2, *family.latent_shape(settings), generator=torch.Generator().manual_seed(0))
    latents = (latents * of).to(family.dtype)
    done, batches = Execution(latents, np.arange(2), 1, 2, 2, ()), Batches(2)
    made = list(decode_images(family, done, ["a", "b"], settings, noise=KeyedNoise(0), batches=batches))
    return np.concatenate(made), batches.notes


def spoil(decoder: torch.nn.Module) -> None:
    """Scale weights so that numbers on the way pass 65504, the largest of float16, as in some trained decoders."""
    with torch.no_grad():
        weight = decoder.decoder.conv_in.weight
        weight.copy_(weight.float() * (5e4 / float(weight.abs().max())))


@pytest.mark.parametrize("name", ["kandinsky", "xl"])
def test_a_decoder_that_overflows_decodes_in_float32(name: str, pipelines):
    family, settings, decoder = loaded(pipelines[name], "fp16")
    if name == "xl":
        decoder.register_to_config(force_upcast=False)  # stock would widen it from the start
    spoil(decoder)
    made, notes = pictures(family, settings)
    assert notes == ["the decoder overflowed in fp16: pictures are decoded in fp32"]
    assert decoder.dtype == torch.float32
    assert len(np.unique(made)) > 10, "pictures, not one grey"
    again, notes = pictures(family, settings)
    assert not notes, "once is enough"
    assert np.array_equal(again, made)


@pytest.mark.parametrize("name", ["kandinsky", "xl"])
def test_one_that_does_not_stays_as_it_is(name: str, pipelines):
    family, settings, decoder = loaded(pipelines[name], "bf16")
    assert not pictures(family, settings)[1]
    assert decoder.dtype == torch.bfloat16


def test_a_vae_that_asks_for_float32_has_it(pipelines):
    family, settings, decoder = loaded(pipelines["xl"], "fp16")
    assert decoder.config.force_upcast
    seen: list[torch.dtype] = []
    decoder.decoder.conv_in.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    assert not pictures(family, settings)[1]
    assert seen == [torch.float32]


SAVED = {
    "kandinsky": save_tiny_kandinsky,
    "karlo": save_tiny_karlo,
    "sd": lambda folder: save_tiny_pipeline("StableDiffusionPipeline", folder),
    "unclip": save_tiny_stable_unclip,
}


@pytest.mark.parametrize("name", SAVED)
def test_infinite_values_are_no_white(name: str, tmp_path):
    """Stock pipelines cut what is decoded to 0 to 1, infinities too: it is looked at before."""
    entry = model(str(SAVED[name](tmp_path / name)))
    settings = resolve_settings(entry, {"steps": 2, "dtype": "fp32"})
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    before, _ = pictures(family, settings)
    pipelines = [value for value in vars(family).values() if hasattr(value, "components")]
    parts = [module for pipeline in pipelines for module in pipeline.components.items()]
    decoders = [module for part, module in parts if part in ("vae", "movq")]
    last = decoders[0].decoder.conv_out if decoders else family.denoisers.super_res_last.conv_out
    seen: list[int] = []

    def infinite(module, arguments, output):
        if not seen:
            output[1, :, 0, 0] = float("inf")
        seen.append(len(output))

    last.register_forward_hook(infinite)
    latents = torch.randn(2, *family.latent_shape(settings), generator=torch.Generator().manual_seed(0))
    done, lost, noise = Execution(latents, np.arange(2), 1, 2, 2, ()), dict[int, str](), KeyedNoise(0)
    (made,) = decode_images(family, done, ["a", "b"], settings, noise=noise, batches=Batches(2), overflows=lost)
    assert (lost, seen) == ({1: "in decoding"}, [2, 2]), "once more without the row that is none"
    assert np.array_equal(made[0], before[0])
    assert not made[1].any()


def test_latents_that_overflowed_are_an_error_and_no_black_picture(pipelines):
    family, settings, _ = loaded(pipelines["kandinsky"], "fp16")
    with pytest.raises(UserError, match="overflow in fp16") as refused:
        pictures(family, settings, of=float("inf"))
    assert "bf16" in refused.value.hint
