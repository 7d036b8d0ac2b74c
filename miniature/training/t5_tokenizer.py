"""The tokenizer of FLUX's second text encoder: T5's own kind, its pieces the words of the world's captions.

Every printable ASCII character is a piece as well, so that any English prompt can be said, if not understood.
"""

import math
import string
from collections import Counter
from pathlib import Path

import numpy as np
from transformers import T5Tokenizer

from miniature.training.data import any_caption
from miniature.world import random_scene

LONGEST = 32
SPECIAL = ("<pad>", "</s>", "<unk>")  # T5's, in its order
SPACE = "▁"
UNLIKELY = -20.0  # a character's logarithmic probability: less than any word's


def train_t5_tokenizer(work: Path) -> T5Tokenizer:
    """Return the tokenizer in ``work/t5-tokenizer``, counted if it is not there."""
    folder = work / "t5-tokenizer"
    if folder.exists():
        return T5Tokenizer.from_pretrained(folder)
    rng = np.random.default_rng(0)
    counts = Counter(word for _ in range(20_000) for word in any_caption(random_scene(rng), rng)[0].split())
    words = [(SPACE + word, math.log(count / counts.total())) for word, count in counts.most_common()]
    characters = [SPACE, *string.ascii_letters, *string.digits, *string.punctuation]
    pieces = [*((piece, 0.0) for piece in SPECIAL), *words, *((character, UNLIKELY) for character in characters)]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LONGEST)
    tokenizer.save_pretrained(folder)
    return tokenizer
