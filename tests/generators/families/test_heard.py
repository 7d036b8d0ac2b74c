"""What prompts are clustered by, and which of them a text encoder cuts."""

import logging
import math

import numpy as np
import pytest
import torch

from common.errors import UserError
from generators.batching import Batches
from generators.families.pipeline_classes import PROVED

PROMPTS = ["a red fox", "a blue cat, asleep", "nine dogs"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]


@pytest.mark.parametrize("name", PROVED)
def test_features_are_finite_and_tell_prompts_apart(case, name: str):
    one = case(name)
    conditioning = one.family.encode(PROMPTS, KEYS, one.settings(), Batches(one.batch))
    for option in one.family.features_options:
        rows = one.family.features(conditioning, option)
        assert rows.dtype == np.float64
        assert rows.shape[0] == len(PROMPTS)
        assert np.isfinite(rows).all()
        assert math.dist(rows[0], rows[1]) > 0


@pytest.mark.parametrize(
    ("name", "pooling", "reading"),
    [
        ("StableDiffusionPipeline", "text_encoder", "text_encoder"),
        ("FluxPipeline", "text_encoder", "text_encoder_2"),
    ],
)
def test_features_are_the_text_encoders_own(case, name: str, pooling: str, reading: str):
    """Pooled by the first; means over the tokens that are not padding of the one whose states are denoised under."""
    one = case(name)
    family, stock, settings = one.family, one.stock, one.settings()
    conditioning = family.encode(PROMPTS, KEYS, settings)
    features = {option: family.features(conditioning, option) for option in ("pooled", "mean_token", "flattened")}

    def read(encoder: str, length: int):
        tokenizer = getattr(stock, encoder.replace("text_encoder", "tokenizer"))
        tokens = tokenizer(PROMPTS, padding="max_length", max_length=length, return_tensors="pt")
        with torch.no_grad():
            return getattr(stock, encoder)(tokens.input_ids), tokens.attention_mask.numpy().astype(bool)

    pooled, _ = read(pooling, 24)
    assert np.array_equal(features["pooled"], pooled.pooler_output.double().numpy())
    output, mask = read(reading, settings.max_sequence_length or 24)
    states = output.last_hidden_state.double().numpy()
    assert np.array_equal(features["flattened"], states.reshape(len(PROMPTS), -1))
    for row, prompt_states, tokens in zip(features["mean_token"], states, mask, strict=True):
        assert 0 < tokens.sum() < len(tokens)
        assert np.allclose(row, prompt_states[tokens].mean(axis=0), rtol=1e-9)
    with pytest.raises(UserError, match="no features 'image_embeds'"):
        family.features(conditioning, "image_embeds")


def test_what_is_heard_is_no_part_of_what_the_denoiser_is_told(case):
    one = case("StableDiffusionPipeline")
    settings, family = one.settings(), one.family
    rows = family.encode(PROMPTS, KEYS, settings).tensors
    latents, sampler = torch.randn(3, *family.latent_shape(settings)), family.sampler(settings)
    told = family.predict(latents, 0, sampler, rows, settings)
    unheard = {key: rows[key] for key in rows if key not in ("pooled", "token_mask")}
    assert len(unheard) == len(rows) - 2
    assert torch.equal(told, family.predict(latents, 0, sampler, unheard, settings))


@pytest.mark.parametrize(
    ("name", "negative", "notes"),
    [
        (
            "StableDiffusionPipeline",
            "a " * 30,
            [
                "2 of 3 prompts cut to the 24 tokens the text encoder reads, first prompt 2 with 32",
                "1 of 1 negative prompts cut to the 24 tokens the text encoder reads, first negative prompt 1 with 32",
            ],
        ),
        (
            "FluxPipeline",
            "",
            [
                "2 of 3 prompts cut to the 24 tokens the text encoder reads, first prompt 2 with 32",
                "2 of 3 prompts cut to the 28 tokens the text encoder 2 reads, first prompt 2 with 61",
            ],
        ),
    ],
)
def test_cut_prompts_are_counted_and_not_dumped(
    case,
    name: str,
    negative: str,
    notes: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    one, batches, heard = case(name), Batches(2), list[int]()
    prompts = ["fits", "a " * 30, "a " * 30]
    one.family.encode(prompts, KEYS, one.settings(negative_prompt=negative), batches, heard.append)
    assert batches.notes == notes
    assert heard == [2, 1]
    assert not caplog.messages
