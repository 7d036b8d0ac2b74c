"""The tokenizer all text encoders share: CLIP's own kind, its merges learned from the world's captions.

All 256 bytes are in it, so that any prompt can be said, if not understood.
"""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from miniature.training.data import any_caption
from miniature.world import random_scene

CONTEXT = 32
QUESTION = 'Does this figure show "{}"? Please answer yes or no.'


def train_tokenizer(work: Path) -> CLIPTokenizer:
    """Return the tokenizer in ``work/tokenizer``, learned if it is not there."""
    folder = work / "tokenizer"
    if folder.exists():
        return CLIPTokenizer.from_pretrained(folder)
    rng = np.random.default_rng(0)
    captions = [any_caption(random_scene(rng), rng)[0] for _ in range(20_000)]
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    blank = CLIPTokenizer()
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2000, min_frequency=20, initial_alphabet=bytes_, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator([*captions, *([QUESTION.format("")] * 100)], trainer)
    learned = json.loads(learner.to_str())["model"]
    words = [*bytes_, *(byte + "</w>" for byte in bytes_)]
    merges = [tuple(merge) for merge in learned["merges"]]
    words += [word for word in ("".join(merge) for merge in merges) if word not in set(words)]
    vocab = {word: i for i, word in enumerate([*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT)
    tokenizer.save_pretrained(folder)
    return tokenizer
