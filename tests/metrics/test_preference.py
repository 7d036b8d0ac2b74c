"""A preference model: a tiny random CLIP called by hand, as PickScore's authors call theirs."""

import json
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)

from common.errors import UserError
from metrics.preference import Preference

SIDE, CONTEXT = 32, 12
LETTERS = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
WORDS = [*LETTERS, "<|startoftext|>", "<|endoftext|>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A random `CLIPModel` that reads letters, with its processor: the class of PickScore's checkpoint."""
    place, start = tmp_path_factory.mktemp("preference"), len(LETTERS)
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": CONTEXT, "bos_token_id": start}
    ends = {"eos_token_id": start + 1, "pad_token_id": start + 1}
    config = CLIPConfig(
        text_config=width | text | ends, vision_config=width | {"image_size": SIDE, "patch_size": 16}, projection_dim=8
    )
    model, generator = CLIPModel(config), torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name != "logit_scale":
            parameter.data.normal_(0, 0.3, generator=generator)
    model.save_pretrained(place)
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, merges=[])
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessor(do_resize=False, do_center_crop=False, size=size, crop_size=size)
    CLIPProcessor(images, tokenizer).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    rng, place = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    paths = [place / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    return paths


PROMPTS = ["fox", "a wolf", "cat", "abcdefghijklmnop", "a dog"]


def by_hand(folder: Path, path: Path, prompt: str) -> float:
    """The scaled cosine of both projections, one picture at a time, nothing padded."""
    model = CLIPModel.from_pretrained(folder).eval()
    images, tokenizer = CLIPImageProcessor.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    with torch.no_grad():
        pixels = images(Image.open(path), return_tensors="pt").pixel_values
        tokens = tokenizer(prompt, truncation=True, max_length=CONTEXT, return_tensors="pt")
        picture = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)[0].double()
        text = model.text_projection(model.text_model(**tokens).pooler_output)[0].double()
        return float(model.logit_scale.exp() * torch.nn.functional.cosine_similarity(picture, text, dim=0))


def test_scores_equal_an_independent_computation_whatever_the_batch(folder, pictures):
    expected = [by_hand(folder, path, prompt) for path, prompt in zip(pictures, PROMPTS, strict=True)]
    assert len({round(score, 3) for score in expected}) == 5
    for size in (1, 2, 5):
        measured = Preference(folder, batch_size=size).measure(pictures, PROMPTS)
        assert measured["preference"] == pytest.approx(expected, abs=1e-4)
        assert measured["cut"].tolist() == [False, False, False, True, False]


def test_ours_is_compared_as_by_any_score(folder, pictures):
    metric = Preference(folder)
    baseline = metric.measure(pictures, PROMPTS)
    ours = {**baseline, "preference": baseline["preference"] + [1, 1, -1, 1, 0]}
    figures = metric.compare(baseline, ours, np.zeros(5, dtype=bool))
    assert (figures["wins"], figures["ties"], figures["losses"], figures["cut"]) == (3, 1, 1, 1)
    assert list(figures) == list(Preference.results)


def test_identity_names_what_decides_a_figure(folder):
    identity = Preference(folder).identity()
    assert len(identity["sha256"]) == 64
    assert Preference(folder, processor=str(folder)).identity()["processor"] == identity["sha256"]
    json.dumps(identity)


def test_half_the_bytes_of_weights_give_nearly_the_scores_and_another_identity(folder, pictures):
    whole, narrow = Preference(folder), Preference(folder, dtype="bf16")
    close = pytest.approx(whole.measure(pictures, PROMPTS)["preference"], abs=0.6)  # of logits up to 14.3
    assert narrow.measure(pictures, PROMPTS)["preference"] == close
    assert narrow.identity() == {**whole.identity(), "dtype": "bf16"}


def test_a_model_that_reads_no_text_is_refused(folder, tmp_path):
    width = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    Dinov2Model(Dinov2Config(mlp_ratio=2, **width)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="does not score a picture by a text"):
        Preference(tmp_path, processor=str(folder)).check([])
