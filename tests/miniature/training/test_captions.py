"""Denoisers are told in training what the stock pipelines tell them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from miniature.audits.painters import PAINTERS
from miniature.training.captions import Reader, captions_of
from miniature.world import Scene, random_scene

TOLD = ["", "a 3d drawing of a penguin left of a cactus on a blue background"]
HALF = {"atol": 5e-3, "rtol": 5e-3}  # checkpoints are float16


@pytest.fixture(scope="module")
def reader(work: Path) -> Reader:
    return Reader(work)


@torch.no_grad()
def test_stable_diffusion_is_told_the_states(reader: Reader, exported: Path) -> None:
    states, _ = PAINTERS["stable-diffusion"](exported).stock.encode_prompt(TOLD, "cpu", 1, False)  # type: ignore[attr-defined]
    torch.testing.assert_close(reader.read(TOLD).states, states, **HALF)


@torch.no_grad()
def test_flux_is_told_the_end_tokens_state(reader: Reader, exported: Path) -> None:
    _, pooled, _ = PAINTERS["flux"](exported).stock.encode_prompt(TOLD, device="cpu", max_sequence_length=32)  # type: ignore[attr-defined]
    torch.testing.assert_close(reader.read(TOLD).pooled, pooled, **HALF)


@torch.no_grad()
def test_karlo_is_told_embedding_states_and_which_are_words(reader: Reader, exported: Path) -> None:
    embeds, states, mask = PAINTERS["karlo"](exported).stock._encode_prompt(TOLD, "cpu", 1, False)  # type: ignore[attr-defined]
    told = reader.read(TOLD)
    torch.testing.assert_close(told.embeds, embeds, **HALF)
    torch.testing.assert_close(told.states, states, **HALF)
    assert torch.equal(told.mask, mask)
    assert told.mask.sum(1).tolist() == [2, 17]


def test_captions_are_left_out_where_asked_and_true_elsewhere() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng, two_objects=0) for _ in range(20)]
    empty = np.arange(20) % 3 == 0
    told = captions_of(scenes, empty, rng)
    assert [not words for words in told] == empty.tolist()
    assert all(scene.concepts[0] in words for scene, words in zip(scenes, told, strict=True) if words)
    assert captions_of([Scene(("owl",), "flat", "red")], np.array([True]), rng) == [""]
