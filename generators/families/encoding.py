"""The steps by which several families turn prompts into conditioning."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from generators.noise import derived_key


@contextmanager
def warnings_kept(name: str) -> Iterator[list[str]]:
    """Collect the messages of this logger and those below it, in place of printing them."""
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger(name)
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [Kept()], False
    logger.setLevel(logging.WARNING)
    try:
        yield messages
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


def torch_generator(*parts: object) -> torch.Generator:
    """Return a stream of noise that depends on every part and on nothing else."""
    return torch.Generator().manual_seed(derived_key(*parts) % 2**63)


def cut_note(
    tokenizer: Any, kind: str, texts: Sequence[str], reader: str = "the text encoder", limit: int | None = None
) -> list[str]:
    """Return a sentence about the texts longer than the text encoder reads, if there are any.

    Args:
        tokenizer: of the text encoder.
        kind: what a text is called, e.g. ``prompt``.
        reader: what the text encoder is called, where there are several.
        limit: the most tokens that are read, if it is not the tokenizer's `model_max_length`.
    """
    limit = limit or tokenizer.model_max_length
    cut = [(place + 1, length) for place, length in cut_lengths(tokenizer, texts, limit)]
    return [cut_sentence(kind, len(texts), limit, cut, reader)] if cut else []


def cut_lengths(tokenizer: Any, texts: Sequence[str], limit: int) -> list[tuple[int, int]]:
    """Return the place and the length in tokens of each text that is longer than `limit`."""
    lengths = [len(tokens) for tokens in tokenizer(list(texts), verbose=False).input_ids]
    return [(place, length) for place, length in enumerate(lengths) if length > limit]


def cut_sentence(kind: str, total: int, limit: int, cut: Sequence[Sequence[int]], reader: str) -> str:
    """Return what records say of texts that are cut, each its number from 1 and its length in tokens."""
    first = f"{kind} {cut[0][0]} with {cut[0][1]}"
    return f"{len(cut)} of {total} {kind}s cut to the {limit} tokens {reader} reads, first {first}"
