"""Text encoders by name, and what `text_embeddings` promises of any."""

from collections.abc import Sequence

import numpy as np
import pytest

from common.errors import UserError
from generators.text_encoders import base
from generators.text_encoders.base import TextEncoder, basis, encoders, text_embeddings


class Lengths(TextEncoder):
    """A text's length and its place among those that were asked for."""

    name = "lengths"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[len(text), place] for place, text in enumerate(texts)], dtype=np.float32)


@pytest.fixture
def lengths(monkeypatch):
    monkeypatch.setattr(base, "find", lambda name, *_: {"lengths": Lengths}[name])


def test_rows_are_in_the_order_of_prompts_and_equal_prompts_are_embedded_once(lengths):
    rows = text_embeddings("lengths", ["bb", "a", "bb", "ccc", "a"])
    assert rows.dtype == np.float64
    assert rows.tolist() == [[2, 0], [1, 1], [2, 0], [3, 2], [1, 1]]


def test_what_cannot_run_here_says_why(lengths, monkeypatch):
    monkeypatch.setattr(Lengths, "unavailable", classmethod(lambda cls: "it is not installed: pip install x"))
    with pytest.raises(UserError, match="'lengths' cannot run here: it is not installed: pip install x"):
        text_embeddings("lengths", ["a"])


def test_an_unknown_encoder_has_a_nearest_name():
    assert "minilm" in encoders()
    with pytest.raises(UserError, match=r"unknown text encoder 'minilmm' \(did you mean 'minilm'"):
        text_embeddings("minilmm", ["a"])


def test_the_basis_names_the_encoder():
    assert basis("minilm") == "predicted from text embeddings (minilm), not the model's own"
