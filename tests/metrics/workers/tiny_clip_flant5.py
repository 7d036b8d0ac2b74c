"""Run in the environment of the worker t2v, without ours: a tiny random CLIP-FlanT5, and what the package says of it.

Usage: python tiny_clip_flant5.py FOLDER < {"images": [...], "prompts": [...]} > {"scores": [...], "batched": [...]}

The classes, tokenisation and preprocessing are t2v-metrics' own. Its weights are bfloat16, which on a CPU, where its
autocast does nothing, its layers do not take: scores are computed in float32, as the worker computes them there.
"""

import contextlib
import json
import sys
from pathlib import Path

import sentencepiece
import t2v_metrics
import torch
from t2v_metrics.models.vqascore_models import clip_t5_model as t2v
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, T5Tokenizer

WIDTH, SIDE = 32, 28
TEXT = """A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed,
and polite answers to the user's questions. USER: ASSISTANT: Does this figure show a penguin, a cactus left of a
penguin on a blue background, a picture of red? Please answer yes or no. Yes No"""


def save(folder: Path) -> None:
    """A CLIP-FlanT5 with its tokenizer and its vision tower."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split("\n")),
        model_prefix=str(folder / "spiece"),
        vocab_size=200,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=["Yes"],
        minloglevel=2,
        num_threads=1,
    )
    tokenizer = T5Tokenizer(str(folder / "spiece.model"), extra_ids=0, legacy=False)
    tokenizer.save_pretrained(folder)
    tower = folder / "vision_tower"
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=14,
    )
    random(CLIPVisionModel(vision)).save_pretrained(tower)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(tower)
    config = t2v.CLIPT5ForConditionalGeneration.config_class(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=16,
        d_ff=48,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        mm_vision_tower=str(tower),
        mm_hidden_size=WIDTH,
        mm_projector_type="mlp2x_gelu",
        mm_vision_select_layer=-2,
        mm_vision_select_feature="patch",
    )
    model = random(t2v.CLIPT5ForConditionalGeneration(config))
    model.save_pretrained(folder, safe_serialization=False)  # as the public ones are


def random(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that scores differ."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.3)
    return model


def direct(folder: Path, images: list[str], prompts: list[str]) -> dict[str, list[float]]:
    """The package's scores by its two public ways: one pair at a time, and a dataset in batches."""
    t2v.CLIP_T5_MODELS["tiny"] = {
        "tokenizer": {"path": str(folder), "model_max_length": t2v.CONTEXT_LEN},
        "model": {"path": str(folder), "conversation": "t5_chat", "image_aspect_ratio": "pad"},
    }
    score = t2v_metrics.VQAScore(model="tiny", device="cpu", cache_dir=str(folder / "cache"))
    score.model.model.float()
    pairs = [{"images": [image], "texts": [prompt]} for image, prompt in zip(images, prompts, strict=True)]
    return {
        "scores": [float(score(**pair)[0, 0]) for pair in pairs],
        "batched": score.batch_forward(pairs, batch_size=4)[:, 0, 0].tolist(),
    }


if __name__ == "__main__":
    place, asked = Path(sys.argv[1]), json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        save(place)
        found = direct(place, **asked)
    print(json.dumps(found))
