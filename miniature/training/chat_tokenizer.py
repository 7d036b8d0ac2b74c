"""The tokenizer of Z-Image's text encoder: Qwen's own kind, its merges learned from the world's captions.

All 256 bytes are in it, so that any prompt can be said, if not understood.
"""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from miniature.training.data import any_caption
from miniature.world import random_scene

READ = 512  # tokens that Z-Image's pipeline reads where nothing is asked, most of them padding
# Text is filled up to a multiple of this, and where a picture's tokens lie depends on it: only this was trained.
LONGEST = 32
END_OF_TEXT, BEGIN, END = MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_chat_tokenizer(work: Path) -> Qwen2Tokenizer:
    """Return the tokenizer in ``work/chat-tokenizer``, learned if it is not there."""
    folder = work / "chat-tokenizer"
    if folder.exists():
        return Qwen2Tokenizer.from_pretrained(folder)
    rng = np.random.default_rng(0)
    captions = [any_caption(random_scene(rng), rng)[0] for _ in range(20_000)]
    learner, blank = Tokenizer(models.BPE()), Qwen2Tokenizer().backend_tokenizer
    learner.normalizer, learner.pre_tokenizer = blank.normalizer, blank.pre_tokenizer
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=2000, min_frequency=20, initial_alphabet=bytes_, show_progress=False)
    learner.train_from_iterator([*captions, *(["user\n", "assistant\n"] * 100)], trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    words = dict.fromkeys([*bytes_, *("".join(merge) for merge in merges), *MARKS])
    tokenizer = Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=merges,
        pad_token=END_OF_TEXT,
        eos_token=END,
        additional_special_tokens=[BEGIN],
        model_max_length=READ,
        padding_side="right",
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return tokenizer
