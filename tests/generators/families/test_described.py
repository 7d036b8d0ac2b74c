"""What a pipeline is asked for, what it refuses, and what holds where nothing is asked."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from stock_pipelines import Case, loaded, stock_of
from tiny_flux import save_tiny_flux
from tiny_stable_diffusion import save_tiny_stable_diffusion

from common.errors import UserError
from generators.catalogue import model
from generators.checkpoints import CONFIGURATIONS
from generators.families.diffusers_pipeline import DiffusersPipeline

SD, FLUX, SDXL = "StableDiffusionPipeline", "FluxPipeline", "StableDiffusionXLPipeline"


@pytest.fixture(scope="module")
def schnell(tmp_path_factory: pytest.TempPathFactory) -> DiffusersPipeline:
    return loaded(save_tiny_flux(tmp_path_factory.mktemp("schnell"), guidance_embeds=False))


def copied(case: Case, place: Path, **files: dict[str, Any]) -> Path:
    """The checkpoint with other values in its JSON files, each named with double underscores for slashes."""
    folder = Path(shutil.copytree(case.folder, place))
    for name, values in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def test_what_cannot_be_run_is_refused_by_name_with_the_reason(tmp_path: Path):
    for kind, reason in (
        ("WanPipeline", "it makes films"),
        ("OmniGenPipeline", "it has no encode_prompt"),
        ("StableCascadeDecoderPipeline", "it has no encode_prompt|prior|prepare_latents"),
        ("IFPipeline", "it has no prepare_latents"),
        ("StableDiffusionXLImg2ImgPipeline", "it changes a picture"),
        ("QwenImageEditPipeline", "it changes a picture"),
        ("FluxKontextPipeline", "it changes a picture"),
        ("StableAudioPipeline", "it makes sound"),
        ("StableDiffusionAttendAndExcitePipeline", "its call needs token_indices"),
        ("NoSuchPipeline", "no class of that name"),
    ):
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
        with pytest.raises(UserError, match=f"is a {kind}, which no model family runs: .*({reason})"):
            model(str(tmp_path))


def test_a_guider_that_remembers_former_predictions_is_refused(case, tmp_path: Path):
    path = next((case("HunyuanImagePipeline").folder / "guider").glob("*.json"))
    changed = {f"guider__{path.stem}": {"adaptive_projected_guidance_momentum": -0.5}}
    folder = copied(case("HunyuanImagePipeline"), tmp_path / "model", **changed)
    with pytest.raises(UserError, match="this HunyuanImagePipeline cannot be run: its guider remembers"):
        model(str(folder))


def test_folders_of_other_families_stay_theirs():
    for kind in ("KandinskyV22Pipeline", "UnCLIPPipeline", "StableUnCLIPPipeline"):
        assert not DiffusersPipeline.serves(kind)


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        (SDXL, {"arguments": {"latents": 1}}, "takes no 'latents' here"),
        (SDXL, {"arguments": {"warmth": 1}}, "takes no 'warmth' here .*clip_skip"),
        (SDXL, {"arguments": "[1]"}, "cannot be used"),
        (SDXL, {"max_sequence_length": 8}, "takes no 'max_sequence_length' here"),
        (SDXL, {"height": 17}, "refuses these settings: .*divisible by 8"),
        (SDXL, {"scheduler": "NoSuchScheduler"}, "unknown scheduler 'NoSuchScheduler'"),
        (SD, {"width": 44}, "refuses these settings: .*divisible by 8"),
        (FLUX, {"width": 34}, "makes no pictures of 16 x 34 pixels: .*divisible by 4"),
        (FLUX, {"max_sequence_length": 513}, "refuses these settings: .*cannot be greater than 512"),
        (FLUX, {"negative_prompt": "fog"}, "takes a negative prompt only with a true_cfg_scale above 1"),
        (FLUX, {"scheduler": "DDIMScheduler"}, "DDIMScheduler cannot be used: .*--scheduler"),
        (FLUX, {"scheduler": "FlowMatchHeunDiscreteScheduler"}, "FlowMatchHeunDiscreteScheduler cannot be used"),
    ],
)
def test_what_stock_refuses_or_passes_over_is_one_clear_line(case, name: str, asked: dict[str, Any], message: str):
    one = case(name)
    with pytest.raises(UserError, match=message) as error:
        settings = one.settings(**asked)
        one.family.latent_shape(settings)
        one.family.sampler(settings)
    assert "\n" not in str(error.value)


def test_guidance_is_refused_where_the_denoiser_embeds_none(schnell: DiffusersPipeline):
    assert schnell.entry.defaults["guidance"] == 0
    settings = schnell.settings_type.resolve(schnell.entry.defaults, {"guidance": 3.5})
    with pytest.raises(UserError, match=r"takes no guidance: its denoiser embeds none \(use --guidance 0"):
        schnell.sampler(settings)


def test_scheduler_that_only_shifts_by_size_needs_a_checkpoint_that_does(schnell: DiffusersPipeline):
    settings = schnell.settings_type.resolve(schnell.entry.defaults, {"scheduler": "DPMSolverMultistepScheduler"})
    with pytest.raises(UserError, match="DPMSolverMultistepScheduler cannot"):
        schnell.sampler(settings)


def test_a_length_among_the_arguments_is_the_setting(case):
    one = case(FLUX)
    written = one.settings(arguments={"max_sequence_length": 9})
    assert (written.max_sequence_length, written.arguments) == (28, "")  # what is asked by its own name holds
    fresh = one.family.settings_type.resolve(one.family.entry.defaults, {"arguments": {"max_sequence_length": 9}})
    assert (fresh.max_sequence_length, fresh.arguments, fresh.further) == (9, "", {"max_sequence_length": 9})


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        (SD, {"steps": 50, "guidance": 7.5, "height": 16, "width": 16, "dtype": "auto"}),
        (FLUX, {"steps": 28, "guidance": 3.5, "height": 16, "width": 16, "dtype": "bf16"}),
    ],
)
def test_defaults_are_those_of_the_pipelines_call(case, name: str, defaults: dict[str, Any]):
    assert case(name).family.entry.defaults == defaults


def test_default_size_is_the_denoisers(tmp_path: Path):
    wide = model(str(save_tiny_stable_diffusion(tmp_path, sample_size=(8, 12)))).defaults
    assert (wide["height"], wide["width"]) == (16, 24)


def test_a_checkpoint_built_like_a_catalogued_model_has_its_settings(tmp_path: Path):
    """Few steps, say, which no configuration tells."""
    copy = shutil.copytree(CONFIGURATIONS / "black-forest-labs/FLUX.1-schnell", tmp_path / "tuned")
    entry = model(str(copy))
    assert entry.name == str(copy)
    assert (entry.defaults, entry.scorers) == (model("flux-schnell").defaults, model("flux-schnell").scorers)


def test_a_checkpoint_can_be_named_with_its_family(case):
    folder = case(SD).folder
    named, found = model(f"diffusers:{folder}"), model(str(folder))
    assert (named.family, named.sources, named.defaults) == ("diffusers", found.sources, found.defaults)


def test_checkpoint_with_a_flow_scheduler_of_its_own(case, tmp_path: Path):
    """`use_flow_sigmas` in its configuration: the stock pipeline lets such a scheduler choose its own sigmas."""
    folder = copied(case(FLUX), tmp_path / "own", model_index={"scheduler": ["diffusers", "UniPCMultistepScheduler"]})
    asked = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_dynamic_shifting": True}
    diffusers.UniPCMultistepScheduler(**asked).save_pretrained(folder / "scheduler")
    own = Case.of(loaded(folder), stock_of(folder))
    assert torch.equal(own.ours(own.settings())[0], own.theirs(own.settings())[0])


@pytest.mark.parametrize("scheduler", ["default", "DDIMScheduler", "EulerDiscreteScheduler"])
def test_outdated_scheduler_configurations_are_mended_as_stock_mends_them(case, tmp_path: Path, scheduler: str):
    folder = copied(case(SD), tmp_path / "outdated", model_index={"scheduler": ["diffusers", "DDIMScheduler"]})
    config = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "clip_sample": True}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    family = loaded(folder)
    with pytest.warns(FutureWarning, match="steps_offset"):
        own = Case.of(family, stock_of(folder))
    settings = own.settings(scheduler=scheduler)
    assert torch.equal(own.ours(settings)[0], own.theirs(settings)[0])


def test_a_denoiser_distilled_with_its_guidance_is_given_it_as_stock_gives_it(tmp_path: Path):
    folder = save_tiny_stable_diffusion(tmp_path / "distilled", time_cond_proj_dim=8)
    own = Case.of(loaded(folder), stock_of(folder))
    settings = own.settings()
    assert torch.equal(own.ours(settings)[0], own.theirs(settings)[0])
    denoiser = next(part for part in own.family.components(settings) if part.name == "denoiser")
    assert denoiser.calls == 1
    _, kwargs = denoiser.inputs(torch.nn.Identity())
    assert kwargs["timestep_cond"].shape == (1, 8)
