"""CLIPScore on a tiny random CLIP in open_clip's format, against transformers' own model of the same weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, PreTrainedTokenizerFast

from common.errors import UserError
from generators.model_entry import embedded_path, models
from metrics.clip_score import ClipScore, tokenise
from metrics.clip_towers import assembled
from miniature.exporting.open_clip import save_open_clip

VOCABULARY = "a photo depicts red blue penguin cactus left of on background <unk> <start> <end>"
WORDS = VOCABULARY.split()
START, END = len(WORDS) - 2, len(WORDS) - 1
PROMPTS = [
    "a red penguin",
    "a blue cactus left of a penguin",
    "red",
    "a red penguin",
    "a cactus",
    "blue",
    "a penguin on a blue background",
    "cactus",
    "left",
]
LONG = "a red penguin " * 20


@pytest.fixture(scope="module")
def clip() -> CLIPModel:
    """Weights that float16 holds exactly: the exported folder rounds to it."""
    width = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "hidden_act": "gelu"}
    ends = {"vocab_size": len(WORDS), "bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    text = CLIPTextConfig(max_position_embeddings=32, num_hidden_layers=2, **width, **ends)
    vision = CLIPVisionConfig(image_size=64, patch_size=16, num_hidden_layers=2, **width)
    model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24))
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        scale = parameter.ndim == 1 and name.endswith("weight")  # of a normalisation
        parameter.data.normal_(float(scale), 0.2, generator=generator)
    return model.half().float().eval()


@pytest.fixture(scope="module")
def checkpoint(clip: CLIPModel, tmp_path_factory) -> Path:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>", pad_token="<end>")
    place = tmp_path_factory.mktemp("clip")
    tokenizer.save_pretrained(place / "prior" / "tokenizer")
    weights = {name: value.half().contiguous() for name, value in clip.state_dict().items()}
    for part, kinds in (("text_encoder", ("text_",)), ("image_encoder", ("vision_", "visual_"))):
        (place / "prior" / part).mkdir()
        own = {name: value for name, value in weights.items() if name.startswith(kinds)}
        save_file(own, place / "prior" / part / "model.safetensors")
    save_open_clip(clip, place / "model", "../prior")
    return assembled(place / "model")


def direct(clip: CLIPModel, paths: list[Path], prompts: list[str]) -> list[float]:
    """2.5 max(cos, 0) by transformers, a picture at a time, unpadded."""
    scores = []
    for path, prompt in zip(paths, prompts, strict=True):
        pixels = torch.tensor(np.asarray(Image.open(path), dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        ids = torch.tensor([[START, *(WORDS.index(word) for word in prompt.split()), END]])
        with torch.no_grad():
            out = clip(input_ids=ids, pixel_values=pixels)
        image, text = out.image_embeds[0].double().numpy(), out.text_embeds[0].double().numpy()
        scores.append(2.5 * max(float(image @ text) / float(np.linalg.norm(image) * np.linalg.norm(text)), 0.0))
    return scores


def test_scores_equal_an_independent_computation(clip, checkpoint, pictures):
    expected = direct(clip, pictures, PROMPTS)
    assert min(expected) == 0 < np.median(expected), "some cosines are below 0, most above"
    for batch_size in (1, 4, 9):
        found = ClipScore(checkpoint, batch_size=batch_size).measure(pictures, PROMPTS)
        assert found["clip_score"] == pytest.approx(expected, abs=1e-6)
        assert not found["cut"].any()


def test_a_prefix_comes_before_every_prompt(clip, checkpoint, pictures):
    metric = ClipScore(checkpoint, prefix="a photo depicts")
    expected = direct(clip, pictures, [f"a photo depicts {prompt}" for prompt in PROMPTS])
    assert metric.measure(pictures, PROMPTS)["clip_score"] == pytest.approx(expected, abs=1e-6)
    assert metric.identity()["prefix"] == "a photo depicts"


def test_a_prompt_beyond_the_context_is_cut_as_clip_cuts_it_and_counted(clip, checkpoint, pictures):
    fits = " ".join(["red"] * 30)  # with start and end, 32 tokens
    found = ClipScore(checkpoint).measure(pictures[:3], [LONG, fits, f"{fits} red"])
    assert found["cut"].tolist() == [True, False, True]
    kept = " ".join(LONG.split()[:30])
    assert found["clip_score"] == pytest.approx(direct(clip, pictures[:3], [kept, fits, fits]), abs=1e-6)
    figures = ClipScore(checkpoint).compare(found, found, np.zeros(3, dtype=bool))
    assert figures["cut"] == 2
    assert set(figures) == set(ClipScore.results)


@pytest.mark.parametrize(("model", "words"), [("ViT-B-32", 75), ("coca_ViT-B-32", 74)])
def test_open_clip_s_own_tokenizers_are_seen_to_cut(model, words):
    prompts = ["a red penguin", "penguin " * words, "penguin " * (words + 1)]
    tokens, cut = tokenise(open_clip.get_tokenizer(model), prompts)
    assert tokens.shape == (3, words + 2)
    assert cut.tolist() == [False, False, True]


def test_figures_are_those_of_a_paired_score(checkpoint, pictures):
    metric = ClipScore(checkpoint)
    standard, ours = metric.measure(pictures, PROMPTS), metric.measure(pictures, PROMPTS[1:] + PROMPTS[:1])
    figures = metric.compare(standard, ours, np.zeros(9, dtype=bool))
    assert list(figures) == [name for name in ClipScore.results if name != "cut"]
    difference = ours["clip_score"] - standard["clip_score"]
    assert figures["clip_score_difference"].value == pytest.approx(difference.mean())
    assert figures["wins"] == np.count_nonzero(difference > 0)


def test_a_prompt_for_every_picture_is_needed(checkpoint, pictures):
    with pytest.raises(UserError, match="9 pictures were given with 1 prompts"):
        ClipScore(checkpoint).measure(pictures, PROMPTS[:1])


def test_a_tokenizer_of_another_model_is_refused_before_it_is_used(tiny_clip):
    with pytest.raises(UserError, match=r"knows 40 tokens, its tokenizer more"):
        ClipScore(tiny_clip.folder).check(["a penguin"])


def test_a_damaged_tokenizer_is_refused(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot load the tokenizer"):
        ClipScore(folder).check(PROMPTS)


def test_identity_names_what_decides_a_score(checkpoint):
    identity = ClipScore(checkpoint).identity()
    assert len(identity["sha256"]) == 64
    json.dumps(identity)
    assert identity != ClipScore(checkpoint, prefix="a photo depicts").identity()


def test_the_miniature_has_one_that_tells_colours_apart(tmp_path):
    for entry in models().values():
        assert "clip_score" in entry.checkpoints
        assert "clip_score" not in entry.scorers, "the default table stays readable"
    paths = [tmp_path / f"{colour}.png" for colour in ("red", "blue")]
    for path in paths:
        Image.new("RGB", (64, 64), path.stem).save(path)
    metric = ClipScore(embedded_path("clip"))
    right, wrong = (
        metric.measure(paths, [f"a flat drawing of a ball on a {colour} background" for colour in colours])
        for colours in (("red", "blue"), ("blue", "red"))
    )
    assert (right["clip_score"] > wrong["clip_score"]).all()
