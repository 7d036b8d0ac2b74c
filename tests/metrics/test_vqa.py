"""VQAScore on a tiny random BLIP, against the model's own loss."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback_hub import serving_hub, use_hub
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
)

from common.errors import UserError
from metrics.vqa import VQAScore

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "yes"]
VOCABULARY = """no does this figure show please answer or is it a picture of red blue penguin cactus left on background
" . ? , { }"""
WORDS = [*SPECIAL, *VOCABULARY.split()]
PROMPTS = [
    "a penguin",
    "a cactus left of a penguin on a blue background",
    "red",
    "a penguin",
    "a blue penguin",
    "a picture of a cactus",
    "red",
    "a {} penguin",
    "a red cactus on a blue background",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blip")
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        "vocab_size": len(WORDS), "encoder_hidden_size": 32, "max_position_embeddings": 40, "pad_token_id": 0,
        "bos_token_id": WORDS.index("[DEC]"), "sep_token_id": 3, "eos_token_id": 3,
    }  # fmt: skip
    vision = {"image_size": 64, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BlipForQuestionAnswering(BlipConfig(text_config=width | text, vision_config=width | vision))
        for parameter in model.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})
    BlipProcessor(BlipImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)
    return folder


def direct(
    folder: Path, paths: list[Path], questions: list[str], answer: list[str], dtype: torch.dtype = torch.float32
) -> list[float]:
    """exp(-loss) of the stock forward pass, one picture at a time, unpadded."""
    model = BlipForQuestionAnswering.from_pretrained(folder, dtype=dtype).eval()
    processor = BlipProcessor.from_pretrained(folder)
    labels = torch.tensor([[WORDS.index(word) for word in ["[DEC]", *answer]]])
    scores = []
    for path, question in zip(paths, questions, strict=True):
        inputs = processor(images=Image.open(path), text=question, return_tensors="pt").to(dtype)
        with torch.no_grad():
            scores.append(float(torch.exp(-model(**inputs, labels=labels).loss)))
    return scores


@pytest.fixture(scope="module")
def scores(checkpoint, pictures) -> np.ndarray:
    return VQAScore(checkpoint, batch_size=4).measure(pictures, PROMPTS)["vqa"]


def test_score_is_the_probability_of_yes(checkpoint, pictures, scores):
    expected = direct(checkpoint, pictures, [QUESTION.replace("{}", prompt) for prompt in PROMPTS], ["yes"])
    assert scores.dtype == np.float64
    assert scores == pytest.approx(expected, rel=1e-5)
    assert len(set(np.round(scores, 6))) > 6, "a score that is always the same would pass every comparison"


def test_score_does_not_depend_on_the_batch_or_the_order(checkpoint, pictures, scores):
    for size in (1, 9):
        assert VQAScore(checkpoint, batch_size=size).measure(pictures, PROMPTS)["vqa"] == pytest.approx(
            scores, abs=1e-5
        )
    backwards = VQAScore(checkpoint).measure(pictures[::-1], PROMPTS[::-1])["vqa"]
    assert backwards[::-1] == pytest.approx(scores, rel=1e-5)


def test_score_repeats_and_depends_on_the_picture_and_the_prompt(checkpoint, pictures):
    metric = VQAScore(checkpoint)
    first, again, other_picture, other_prompt = metric.measure(
        [pictures[0], pictures[0], pictures[1], pictures[0]], ["a penguin"] * 3 + ["a cactus"]
    )["vqa"]
    assert first == pytest.approx(again, rel=1e-6)
    assert other_picture != pytest.approx(first, rel=0.02)
    assert other_prompt != pytest.approx(first, rel=0.02)


def test_a_checkpoint_may_record_its_question_and_an_answer_of_several_tokens(checkpoint, pictures, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "own")
    question = "Is it a picture of {}?"
    (folder / "vqa.json").write_text(json.dumps({"question": question, "answer": "yes, it is"}))
    metric = VQAScore(folder)
    expected = direct(folder, pictures[:2], [question.replace("{}", "red")] * 2, ["yes", ",", "it", "is"])
    assert metric.measure(pictures[:2], ["red", "red"])["vqa"] == pytest.approx(expected, rel=1e-5)
    assert metric.identity()["question"] == question


def test_half_the_bytes_of_weights_give_stocks_scores_in_them_and_another_identity(checkpoint, pictures, scores):
    """Rounding is large in a model this small, so that the scores are not near those of all bytes on every CPU."""
    narrow = VQAScore(checkpoint, batch_size=1, dtype="bf16")
    questions = [QUESTION.replace("{}", prompt) for prompt in PROMPTS]
    expected = direct(checkpoint, pictures, questions, ["yes"], torch.bfloat16)
    assert narrow.measure(pictures, PROMPTS)["vqa"] == pytest.approx(expected, rel=0.03)  # a loss in bf16 has 8 bits
    assert narrow.measure(pictures, PROMPTS)["vqa"] != pytest.approx(scores, rel=0.03)
    assert {parameter.dtype for parameter in narrow.backend.model.parameters()} == {torch.bfloat16}
    assert narrow.identity() == {**VQAScore(checkpoint).identity(), "dtype": "bf16"}
    with pytest.raises(UserError, match="no dtype 'int8'"):
        VQAScore(checkpoint, dtype="int8")


def test_what_is_released_is_loaded_again(checkpoint, pictures, scores):
    metric = VQAScore(checkpoint)
    metric.check(PROMPTS)
    first = metric.backend
    metric.release()
    assert "backend" not in vars(metric)
    assert metric.measure(pictures, PROMPTS)["vqa"] == pytest.approx(scores, abs=1e-6)
    assert metric.backend is not first


def test_no_images_have_no_scores(checkpoint):
    assert VQAScore(checkpoint).measure([], [])["vqa"].shape == (0,)


def test_figures_compare_prompt_by_prompt(checkpoint):
    standard, ours = {"vqa": np.array([0.5, 0.5, 0.5, 0.5])}, {"vqa": np.array([0.6, 0.7, 0.4, 0.9])}
    figures = VQAScore(checkpoint).compare(standard, ours, np.array([False, False, False, True]))
    assert [*figures, "cut"] == list(VQAScore.results), "nothing was cut"
    assert (figures["wins"], figures["ties"], figures["losses"]) == (2, 1, 1)
    assert figures["win_rate"].value == pytest.approx(0.625)
    assert figures["win_rate_strict"].value == pytest.approx(0.5)
    assert figures["vqa_difference"].value == pytest.approx(0.05)
    assert figures["vqa_mean"].value == pytest.approx(0.55)
    assert figures["vqa_mean_standard"].value == pytest.approx(0.5)


def test_at_tau_zero_the_win_rate_is_one_half_by_ties(checkpoint, scores):
    figures = VQAScore(checkpoint).compare({"vqa": scores}, {"vqa": scores + 1e-9}, np.ones(9, dtype=bool))
    rate, difference = figures["win_rate"], figures["vqa_difference"]
    assert (rate.value, rate.low, rate.high, figures["ties"]) == (0.5, 0.5, 0.5, 9)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_identity_names_what_decides_a_score(checkpoint, tmp_path):
    identity = VQAScore(checkpoint).identity()
    assert identity["question"] == QUESTION
    assert identity["answer"] == "yes"
    assert set(identity["packages"]) == {"torch", "transformers"}
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    assert VQAScore(copy).identity()["sha256"] == identity["sha256"]
    (copy / "vqa.json").write_text(json.dumps({"question": "{}?", "answer": "yes"}))
    assert VQAScore(copy).identity()["sha256"] != identity["sha256"]
    json.dumps(identity)


# --- what is refused -----------------------------------------------------------------------------------------


def test_a_prompt_that_would_be_cut_is_refused_before_images_are_made(checkpoint):
    with pytest.raises(UserError, match="prompt 2 makes a question of 75 tokens, the scorer reads 40"):
        VQAScore(checkpoint).check(["a penguin", "red " * 60])


def test_every_prompt_that_is_too_long_is_named_at_once_and_a_cut_by_its_name(checkpoint, pictures, caplog):
    long = ["a penguin", "red " * 60, "a cat", "blue " * 70, "blue " * 71, "blue " * 72]
    with pytest.raises(
        UserError, match=r"4 prompts make questions of up to 87 tokens: 2, 4-6, the scorer reads 40"
    ) as refused:
        VQAScore(checkpoint).check(long)
    assert "--metric vqa:cut=true" in refused.value.hint
    assert not caplog.records, "the tokenizer's advice is for who writes the scorer"
    scorer = VQAScore(checkpoint, cut=True)
    scorer.check(long)
    prompts = ["red " * 60, "red"]
    columns = scorer.measure(pictures[:2], prompts)
    assert columns["cut"].tolist() == [True, False]
    (beginning,) = set(scorer.backend.fitting(["red " * 60]))
    assert beginning == " ".join(["red"] * (len(beginning) + 1 >> 2)), "whole words"
    assert columns["vqa"].tolist() == VQAScore(checkpoint).measure(pictures[:2], [beginning, "red"])["vqa"].tolist()
    assert scorer.compare(columns, columns, np.array([True, True]))["cut"] == 1
    assert scorer.identity() == {**VQAScore(checkpoint).identity(), "cut": True}
    with pytest.raises(UserError, match="cut is true or false"):
        VQAScore(checkpoint, cut="yes")


def test_a_damaged_picture_is_named(checkpoint, pictures, tmp_path):
    damaged = tmp_path / "00001.png"
    damaged.write_bytes(pictures[1].read_bytes()[:100])
    with pytest.raises(UserError, match=r"00001\.png cannot be read"):
        VQAScore(checkpoint).measure([pictures[0], damaged], ["red", "red"])


def test_pictures_and_prompts_must_match(checkpoint, pictures):
    with pytest.raises(UserError, match="9 pictures were given with 1 prompts"):
        VQAScore(checkpoint).measure(pictures, ["red"])


def edit(folder: Path, name: str, change) -> None:
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(change(settings)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"broken"), "cannot load the VQA scorer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot load the VQA scorer"),
        (lambda folder: (folder / "config.json").unlink(), "names no architecture"),
        (lambda folder: (folder / "vqa.json").write_text('{"question": "Is it?", "answer": "yes"}'), "what to ask"),
        (lambda folder: (folder / "vqa.json").write_text("{"), "what to ask"),
        (lambda folder: (folder / "vqa.json").write_text('{"question": "{}?", "answer": "certainly"}'), "'certainly'"),
        (lambda folder: edit(folder, "config.json", lambda c: c | {"architectures": ["BertModel"]}), "a BertModel"),
    ],
)
def test_a_spoilt_checkpoint_is_refused(checkpoint, tmp_path, spoil, message):
    folder = shutil.copytree(checkpoint, tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        VQAScore(folder).check(["red"])


def test_weights_that_are_missing_are_not_made_up(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "partial")
    model = BlipForQuestionAnswering.from_pretrained(folder)
    kept = {name: value for name, value in model.state_dict().items() if "text_decoder.bert.encoder" not in name}
    model.save_pretrained(folder, state_dict=kept)
    with pytest.raises(UserError, match="lacks the weights"):
        VQAScore(folder).check(["red"])


def test_a_pickle_is_not_read(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "pickled")
    state = BlipForQuestionAnswering.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load the VQA scorer"):
        VQAScore(folder).check(["red"])


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no scorer folder"):
        VQAScore(tmp_path / "nowhere").check([])


def test_a_hub_id_is_fetched_and_a_hub_that_does_not_give_it_is_said(checkpoint, monkeypatch, tmp_path):
    with serving_hub() as server:
        use_hub(monkeypatch, server, tmp_path)
        server.put("owner/scorer", checkpoint)
        VQAScore("owner/scorer").check(["red"])
        server.put("owner/gated", checkpoint)
        server.gated = {"owner/gated"}
        with pytest.raises(UserError, match="owner/gated is gated"):
            VQAScore("owner/gated").check(["red"])
        with pytest.raises(UserError, match="the Hugging Face hub shows you no model owner/other"):
            VQAScore("owner/other").check(["red"])
