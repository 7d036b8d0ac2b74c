import pytest

from common.errors import UserError
from generators.catalogue import model
from generators.families.base import families, resolve_settings
from generators.settings import GenerationSettings, PriorSettings

DEFAULTS = {"steps": 20, "guidance": 3.0, "height": 64, "width": 64}


def test_overrides_win_and_none_means_not_asked():
    settings = GenerationSettings.resolve(DEFAULTS, {"steps": 5, "guidance": None})
    assert (settings.steps, settings.guidance) == (5, 3.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("guidance", -1.0),
        ("height", 0),
        ("noise", "pink"),
        ("noise", "per-root:renoise=1.5"),
        ("noise", "per-root:eta=1"),
        ("dtype", "fp8"),
        ("seed", -1),
        ("scheduler", "../DDPM"),
    ],
)
def test_bad_value_is_named(name: str, value: object):
    with pytest.raises(UserError) as error:
        GenerationSettings.resolve(DEFAULTS, {name: value})
    assert f"{name} = {value!r}" in error.value.message
    assert error.value.hint


def test_unknown_setting_gets_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'guidance'"):
        GenerationSettings.resolve(DEFAULTS, {"guidence": 2.0})


def test_missing_setting_is_named():
    with pytest.raises(UserError, match="'steps' has no value"):
        GenerationSettings.resolve({"guidance": 3.0, "height": 64, "width": 64})


@pytest.mark.parametrize(("device", "dtype"), [("cpu", "fp32"), ("cuda", "fp16"), ("cuda:1", "fp16")])
def test_auto_dtype_follows_the_device(device: str, dtype: str):
    assert GenerationSettings.resolve({**DEFAULTS, "dtype": "auto"}, device=device).dtype == dtype


def test_prior_seed_is_the_seed_unless_given():
    assert PriorSettings.resolve(DEFAULTS, {"seed": 7}).embedding_seed == 7
    assert PriorSettings.resolve(DEFAULTS, {"seed": 7, "prior_seed": 0}).embedding_seed == 0
    with pytest.raises(UserError, match="prior_steps = 1 cannot be used"):
        PriorSettings.resolve(DEFAULTS, {"prior_steps": 1})


@pytest.mark.parametrize("text", ["x" * 20_000, "a\x00cat", "  "])
def test_a_negative_prompt_is_checked_as_a_prompt_is(text: str):
    with pytest.raises(UserError, match="the negative prompt "):
        GenerationSettings.resolve(DEFAULTS, {"negative_prompt": text})


def test_a_familys_own_settings_are_declared_by_it_and_unknown_to_others():
    kinds = {name: set(family.settings_type.own_names()) for name, family in families().items()}
    prior = {"prior_steps", "prior_guidance", "prior_seed"}
    assert kinds == {
        "diffusers": {"arguments", "max_sequence_length"},
        "kandinsky": prior,
        "karlo": prior | {"super_res_steps"},
        "stable-unclip": prior | {"noise_level"},
    }
    for name in (name for own in kinds.values() for name in own):
        with pytest.raises(UserError, match=f"unknown setting '{name}'"):
            GenerationSettings.resolve(DEFAULTS, {name: 3})


def test_every_setting_that_conditioning_or_a_call_is_said_to_know_is_one():
    for family in families().values():
        kind = family.settings_type
        assert kind.model_fields.keys() >= kind.not_in_conditioning | kind.in_denoiser_calls


def test_a_model_resolves_as_its_family_declares():
    karlo = resolve_settings(model("mini-karlo"), {"super_res_steps": "3"})
    assert (type(karlo).__name__, karlo.super_res_steps, karlo.prior_steps) == ("KarloSettings", 3, 5)
    with pytest.raises(UserError, match="unknown setting 'super_res_steps'"):
        resolve_settings(model("mini-sd"), {"super_res_steps": 3})
    with pytest.raises(UserError, match="super_res_steps = '1' cannot be used"):
        type(karlo).parsed("super_res_steps", "1")
    assert type(karlo).parsed("super_res_steps", "4") == 4


def test_without_a_prior_prompts_are_encoded_with_the_pictures_seed():
    assert resolve_settings(model("mini-sd"), {"seed": 7}).embedding_seed == 7
