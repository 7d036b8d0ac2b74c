import pytest

from common.errors import UserError
from generators.settings import GenerationSettings

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
        ("dtype", "fp8"),
        ("seed", -1),
        ("prior_steps", 1),
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
    assert GenerationSettings.resolve(DEFAULTS, {"seed": 7}).embedding_seed == 7
    assert GenerationSettings.resolve(DEFAULTS, {"seed": 7, "prior_seed": 0}).embedding_seed == 0


@pytest.mark.parametrize("text", ["x" * 20_000, "a\x00cat", "  "])
def test_a_negative_prompt_is_checked_as_a_prompt_is(text: str):
    with pytest.raises(UserError, match="the negative prompt "):
        GenerationSettings.resolve(DEFAULTS, {"negative_prompt": text})
