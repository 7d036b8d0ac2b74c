from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import CLIPTokenizer

from miniature.training import vqa, vqa_steady
from miniature.training.data import Pictures, pool_scenes
from miniature.training.generated import Generated
from miniature.training.loop import fit
from miniature.training.vqa_steady import KINDS, UNSEEN, ask, damage, moved
from miniature.world import Scene, caption

COUNT = 24


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Return a smooth picture, uint8 [64, 64, 3]: a disc on a plain ground."""
    y, x = np.indices((64, 64))
    inside = np.clip(20 - np.hypot(y - 28, x - 36), 0, 1)[..., None]
    return np.asarray(inside * [200, 60, 40] + (1 - inside) * [80, 140, 220], dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(set(UNSEEN) - {"mirror", "shift"}))
def test_edits_change_a_picture_and_by_little(name: str, picture: NDArray[np.uint8]) -> None:
    after = UNSEEN[name](picture, np.random.default_rng(0))
    assert after.shape == picture.shape
    assert after.dtype == np.uint8
    assert 0 < np.abs(after.astype(float) - picture).mean() < 5


def test_a_shift_moves_the_picture_and_repeats_its_edge(picture: NDArray[np.uint8]) -> None:
    after = moved(picture, 1, -2)
    assert np.array_equal(after[1:, :-2], picture[:-1, 2:])
    assert np.array_equal(after[0], after[1])
    for seed in range(50):
        assert not np.array_equal(UNSEEN["shift"](picture, np.random.default_rng(seed)), picture)


@pytest.mark.parametrize("kind", range(KINDS))
def test_more_damage_changes_more(kind: int, picture: NDArray[np.uint8]) -> None:
    doses = damage(picture, kind, (0.0, 0.5, 1.0), np.random.default_rng(0))
    lost = [np.abs(one.astype(float) - picture).mean() for one in doses]
    assert lost == sorted(lost)
    assert lost[0] > 0.3


def test_each_picture_is_asked_a_true_caption_and_a_near_false_one() -> None:
    rng = np.random.default_rng(0)
    scene = Scene(("cat", "car"), "flat", "red", "above")
    views = (scene, scene.turned())
    true_ones = {caption(view, style=s, background=b) for view in views for s in (True, False) for b in (True, False)}
    for _ in range(200):
        (true, said_true), (false, said_false) = ask(scene, rng)
        assert (said_true, said_false) == (True, False)
        assert true in true_ones
        assert false not in true_ones


def test_a_step_moves_sight_and_speech_and_leaves_a_scorer(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer").symlink_to(work / "tokenizer")
    torch.manual_seed(0)
    vqa.build(CLIPTokenizer.from_pretrained(work / "tokenizer")).save_pretrained(tmp_path / "vqa")
    rng = np.random.default_rng(1)
    changed: set[str] = set()
    pixels = rng.integers(256, size=(COUNT, 64, 64, 3), dtype=np.uint8)
    scenes = pool_scenes(COUNT, 0)
    confirmed = np.array([scene.relation is None for scene in scenes])
    assert 0 < confirmed.sum() < COUNT

    def watched(name: str, model: nn.Module, *rest: object) -> None:
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        fit(name, model, *rest)  # type: ignore[arg-type]
        changed.update(key for key, value in model.named_parameters() if not torch.equal(value, before[key]))

    monkeypatch.setattr(vqa_steady, "fit", watched)
    monkeypatch.setattr(vqa_steady, "training_pictures", lambda *_: Pictures(pixels, scenes))
    monkeypatch.setattr(vqa_steady, "generated_pictures", lambda _: Generated(pixels, scenes, confirmed))
    monkeypatch.setattr(vqa_steady, "paint", lambda *_: pixels[0])
    vqa_steady.train(tmp_path, steps=1)
    # of random weights some have gradients too small to move them
    for part in ("vision_model.encoder.layers.0.", "text_encoder.", "text_decoder."):
        assert any(key.startswith(part) for key in changed)
    assert (tmp_path / "vqa" / "vqa.json").exists()
