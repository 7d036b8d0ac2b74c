"""VQAScore on tiny random vision-language models of three architectures, against direct forward passes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Punctuation, Sequence, WhitespaceSplit
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from common.errors import UserError
from metrics.vqa import VQAScore

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
PROMPTS = ["a penguin", "a cactus left of a penguin", "red", "a penguin", "a {} penguin", "blue"]
SPECIAL = ["<pad>", "<unk>", "</s>", "<image>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
WORDS = """Yes No USER ASSISTANT Does this figure show Please answer yes or no a penguin cactus left of red blue
" . ? : { } , certainly maybe"""
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, *dict.fromkeys(WORDS.split())])}
YES = VOCABULARY["Yes"]
SIDE, WIDTH = 28, 32
TINY = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**TINY, "vocab_size": len(VOCABULARY), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
VISION = {**TINY, "image_size": SIDE, "patch_size": 14}
CHAT = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def tokenizer(**more: Any) -> PreTrainedTokenizerFast:
    """Words, spaces and punctuation marks; what it does not know is <unk>."""
    words = Tokenizer(WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = Sequence([WhitespaceSplit(), Punctuation()])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="</s>",
        additional_special_tokens=SPECIAL[3:], **more,
    )  # fmt: skip


def saved(model: torch.nn.Module, processor: Any, folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.3, generator=generator)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    """A decoder alone, with a chat template."""
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config={"model_type": "llama", "max_position_embeddings": 64, **TEXT},
        image_token_id=VOCABULARY["<image>"],
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(
        pictures, tokenizer(), patch_size=14, vision_feature_select_strategy="default", chat_template=CHAT,
        num_additional_image_tokens=1,
    )  # fmt: skip
    return saved(LlavaForConditionalGeneration(config), processor, folder)


def blip2(folder: Path) -> Path:
    """An encoder and a decoder (T5), without a chat template."""
    t5 = {"model_type": "t5", "d_model": WIDTH, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
    config = Blip2Config(
        vision_config=VISION,
        qformer_config={**TINY, "encoder_hidden_size": WIDTH, "vocab_size": 8},
        text_config={**t5, "vocab_size": len(VOCABULARY), "decoder_start_token_id": 0, "tie_word_embeddings": False},
        num_query_tokens=4,
        image_token_index=VOCABULARY["<image>"],
    )
    pictures = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    return saved(Blip2ForConditionalGeneration(config), Blip2Processor(pictures, tokenizer(), 4), folder)


def qwen2_vl(folder: Path) -> Path:
    """A decoder alone, whose pictures take as many tokens as they are large, and whose positions are of three axes."""
    sections = {"rope_type": "default", "type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    heads = {"num_key_value_heads": 2, "max_position_embeddings": 512, "rope_parameters": sections}
    config = Qwen2VLConfig(
        text_config={**TEXT, **heads},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "patch_size": 14},
        **{f"{name}_token_id": VOCABULARY[f"<|{name}|>"] for name in ("vision_start", "vision_end")},
        **{f"{name}_token_id": VOCABULARY[f"<|{name}_pad|>"] for name in ("image", "video")},
    )
    pixels = {"min_pixels": 28 * 28, "max_pixels": 112 * 112}
    chat = CHAT.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(**pixels), tokenizer(), Qwen2VLVideoProcessor(**pixels), chat_template=chat
    )
    return saved(Qwen2VLForConditionalGeneration(config), processor, folder)


MODELS: dict[str, Callable[[Path], Path]] = {"llava": llava, "blip2": blip2, "qwen2_vl": qwen2_vl}


@pytest.fixture(scope="module", params=MODELS)
def checkpoint(request, tmp_path_factory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp("vlm") / request.param)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> list[Path]:
    """Six pictures of three shapes."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize([(64, 64), (84, 56), (56, 112)][number % 3], Image.Resampling.BICUBIC).save(path)
    return paths


def direct(folder: Path, picture: Path, question: str, dtype: torch.dtype = torch.float32) -> float:
    """P("Yes") by the stock forward pass on one picture, with the text written out."""
    image = Image.open(picture)
    with torch.no_grad():
        if folder.name == "blip2":
            inputs = Blip2Processor.from_pretrained(folder)(images=image, text=question, return_tensors="pt").to(dtype)
            blip2 = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
            logits = blip2(**inputs, decoder_input_ids=torch.tensor([[0]])).logits
        elif folder.name == "llava":
            text = f"<image>\n{question} ASSISTANT:"
            inputs = LlavaProcessor.from_pretrained(folder)(images=image, text=text, return_tensors="pt").to(dtype)
            logits = LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()(**inputs).logits
        else:
            text = f"<|vision_start|><|image_pad|><|vision_end|>\n{question} ASSISTANT:"
            inputs = Qwen2VLProcessor.from_pretrained(folder)(images=image, text=text, return_tensors="pt").to(dtype)
            logits = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()(**inputs).logits
    return float(torch.exp(logits[0, -1].double())[YES] / torch.exp(logits[0, -1].double()).sum())


def test_score_is_the_probability_of_yes(checkpoint, drawn):
    metric = VQAScore(f"hf:{checkpoint}", batch_size=6)
    metric.check(PROMPTS)
    scores = metric.measure(drawn, PROMPTS)["vqa"]
    expected = [direct(checkpoint, path, QUESTION.replace("{}", p)) for path, p in zip(drawn, PROMPTS, strict=True)]
    assert scores.dtype == np.float64
    assert scores == pytest.approx(expected, rel=1e-5)
    assert len(set(np.round(scores, 6))) == 6, "a score that is always the same would pass every comparison"


def test_half_the_bytes_of_weights_give_stocks_scores_in_them(checkpoint, drawn):
    """Rounding is large in models this small, so that the scores are not near those of all bytes on every CPU."""
    whole, narrow = (
        VQAScore(checkpoint, batch_size=1, dtype=dtype).measure(drawn, PROMPTS)["vqa"] for dtype in ("fp32", "bf16")
    )
    questions = [QUESTION.replace("{}", prompt) for prompt in PROMPTS]
    expected = [direct(checkpoint, *each, torch.bfloat16) for each in zip(drawn, questions, strict=True)]
    assert narrow == pytest.approx(expected, rel=1e-2)
    assert (narrow != whole).any()


def test_score_does_not_depend_on_the_batch(checkpoint, drawn):
    alone = VQAScore(checkpoint, batch_size=1).measure(drawn, PROMPTS)["vqa"]
    assert VQAScore(checkpoint, batch_size=4).measure(drawn, PROMPTS)["vqa"] == pytest.approx(alone, rel=1e-5)


def test_a_checkpoint_may_record_its_question_and_answer(checkpoint, drawn, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / checkpoint.name)
    (folder / "vqa.json").write_text(json.dumps({"question": "a {} or a cactus?", "answer": "Yes"}))
    metric = VQAScore(folder)
    expected = direct(checkpoint, drawn[0], "a penguin or a cactus?")
    assert metric.measure(drawn[:1], ["penguin"])["vqa"] == pytest.approx([expected], rel=1e-5)
    assert metric.identity()["question"] == "a {} or a cactus?"


@pytest.fixture
def spoilt(tmp_path) -> Path:
    return llava(tmp_path / "llava")


def test_an_answer_of_several_tokens_is_refused(spoilt):
    (spoilt / "vqa.json").write_text(json.dumps({"question": "{}?", "answer": "yes certainly"}))
    with pytest.raises(UserError, match="'yes certainly' is 2 tokens to this scorer"):
        VQAScore(spoilt).check(["red"])


def test_a_model_that_cannot_be_asked_is_refused_before_images_are_made(spoilt):
    (spoilt / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"cannot ask .* about a picture.*chat template"):
        VQAScore(spoilt).check(["red"])
    (spoilt / "vqa.json").write_text(json.dumps({"question": "<image> {}? ASSISTANT:", "answer": "Yes"}))
    VQAScore(spoilt).check(["red"])


def test_a_prompt_that_is_too_long_is_refused(spoilt):
    with pytest.raises(UserError, match="prompt 2 makes a question of 70 tokens, the scorer reads 64"):
        VQAScore(spoilt).check(["red", "red " * 57])


def test_weights_that_are_missing_are_not_made_up(spoilt):
    model = LlavaForConditionalGeneration.from_pretrained(spoilt)
    kept = {name: value for name, value in model.state_dict().items() if "layers.1" not in name}
    model.save_pretrained(spoilt, state_dict=kept)
    with pytest.raises(UserError, match="lacks the weights"):
        VQAScore(spoilt).check(["red"])
