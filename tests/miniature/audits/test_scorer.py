"""The scorer's audit, on scorers whose faults are known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.edits import DAMAGE, INVISIBLE
from miniature.audits.drawn import Baselines
from miniature.audits.scorer import agreement, calibration_error, edited, indifference, sensitivity
from miniature.training import judge as judging
from miniature.world import Scene, random_scene

COUNT = 40


@pytest.fixture
def made() -> Baselines:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(-1, 1, (COUNT, 3, 8, 8))).float()
    pictures = torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear")
    return Baselines([random_scene(rng) for _ in range(COUNT)], pictures, pictures.flip(0))


class Remembers:
    """Knows the pictures: a copy gets less, the more it differs beyond `blind`, and `lean` for a change."""

    def __init__(self, pictures: Tensor, blind: float, lean: float = 0.0) -> None:
        self.known, self.blind, self.lean = pictures, blind, lean

    def score(self, pictures: Tensor, captions: list[str]) -> np.ndarray:
        lost = (pictures - self.known).abs().mean((1, 2, 3)).numpy()
        noise = np.random.default_rng(int(1e6 * lost.sum())).normal(0, 1e-4, len(lost))
        return 0.9 - np.clip(lost - self.blind, 0, None) + noise + self.lean * (lost > 1e-3)


def test_a_scorer_that_is_blind_to_small_changes_passes_and_one_that_leans_does_not(made: Baselines) -> None:
    figures, zone = indifference(Remembers(made.pictures, 0.1), made)  # type: ignore[arg-type]
    assert len(figures) == len(INVISIBLE) + 1
    assert figures[-1].value == zone
    assert 0 < zone < 1e-3
    leaning, _ = indifference(Remembers(made.pictures, 0.1, lean=-0.01), made)  # type: ignore[arg-type]
    assert all("**no**" in figure.line for figure in leaning[:-1])


def test_damage_lowers_the_score_of_a_scorer_that_sees_it_dose_by_dose(made: Baselines) -> None:
    figures = sensitivity(Remembers(made.pictures, 0.0), made)  # type: ignore[arg-type]
    assert len(figures) == sum(len(damage.doses) for damage in DAMAGE.values())
    assert all(figure.value < 0.05 for figure in figures)
    blind = sensitivity(Remembers(made.pictures, 9.0), made)  # type: ignore[arg-type]
    assert any("**no**" in figure.line for figure in blind)


def test_edits_see_each_picture_in_eight_bits(made: Baselines) -> None:
    shifted = edited(INVISIBLE["shift"], made.pictures)
    assert shifted.shape == made.pictures.shape
    assert (shifted[..., 1:] - made.pictures[..., :-1]).abs().max() < 1.01 / 127.5


def test_calibration_error_is_the_mean_gap_of_confidence_and_truth() -> None:
    assert calibration_error(np.array([0.95, 0.95, 0.05, 0.05]), np.array([1, 1, 0, 0], bool)) == pytest.approx(0.05)
    assert calibration_error(np.array([0.9, 0.9]), np.array([1, 0], bool)) == pytest.approx(0.4)
    assert calibration_error(np.array([1.0, 0.0]), np.array([1, 0], bool)) == 0


def test_agreement_is_of_pairs_outside_the_zone_alone(monkeypatch: pytest.MonkeyPatch, made: Baselines) -> None:
    scenes = [Scene(("cat",), "flat", "red")] * COUNT
    ours, theirs = made.pictures, made.other

    class Brightness:
        def score(self, pictures: Tensor, captions: list[str]) -> np.ndarray:
            return pictures.mean((1, 2, 3)).numpy()

    def likelihood(judge: Any, pictures: Tensor, scenes: list[Scene]) -> np.ndarray:
        return -pictures.mean((1, 2, 3)).numpy()

    monkeypatch.setattr(judging, "log_likelihood", likelihood)
    share, count = agreement(Brightness(), None, scenes, ours, theirs, 0.02)  # type: ignore[arg-type]
    gaps = np.abs((ours.mean((1, 2, 3)) - theirs.mean((1, 2, 3))).numpy())
    assert share == 0
    assert count == (gaps > 0.02).sum()
    assert 0 < count < COUNT
