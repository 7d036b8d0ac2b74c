"""Which pictures fit another prompt better than their own, and when that is more than the baseline has."""

import numpy as np
import pytest

from common.errors import UserError
from metrics import misplaced
from metrics.misplaced import misplaced_p, outranked, rivals

N = 60


def drawn(rng: np.random.Generator, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Return prompts of a common direction, and pictures that mostly fit their own."""
    prompts = rng.normal(size=(N, 24)) + 1
    return prompts, prompts + noise * rng.normal(size=(N, 24))


def test_a_picture_that_was_exchanged_leads_to_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, pictures = drawn(np.random.default_rng(0))
    exchanged = pictures.copy()
    exchanged[[3, 40]] = pictures[[40, 3]]
    whole = rivals(exchanged, prompts)
    assert np.flatnonzero(whole.lead > 0).tolist() == [3, 40]
    assert whole.prompt[[3, 40]].tolist() == [40, 3]
    monkeypatch.setattr(misplaced, "BLOCK", 7)
    parts = rivals(exchanged, prompts)
    assert np.allclose(parts.lead, whole.lead) and (parts.prompt == whole.prompt).all()


def test_equal_captions_tie() -> None:
    prompts = np.eye(4)[[0, 1, 1, 2]]
    assert (rivals(np.eye(4)[[0, 1, 1, 2]], prompts).lead[1:3] == 0).all()


def test_without_a_fault_it_is_seen_as_often_as_the_test_says_and_5_percent_of_wrong_pictures_are_seen() -> None:
    alarms, seen = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        prompts, pictures = drawn(rng)
        baseline = rivals(pictures, prompts).lead
        other = prompts + 0.6 * rng.normal(size=prompts.shape)
        alarms.append(misplaced_p(baseline, rivals(other, prompts).lead) < 0.05)
        wrong = rng.choice(N, 5, replace=False)
        other[wrong] = other[(wrong + 7) % N]
        seen.append(misplaced_p(baseline, rivals(other, prompts).lead) < 0.05)
    assert np.mean(alarms) < 0.09  # 5% and three standard errors; less where few pictures are misplaced at all
    assert np.mean(seen) > 0.9


def test_seeds_of_a_prompt_are_exchanged_together() -> None:
    fault = np.full(40, -0.1)
    fault[:3] = 0.3
    alone = misplaced_p(np.full(40, -0.1), fault)
    assert misplaced_p(np.full((5, 40), -0.1), np.tile(fault, (5, 1))) == alone == 1 / 8


def test_other_numbers_of_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="3 pictures are held against 2 prompts"):
        rivals(np.eye(3), np.eye(3)[:2])
    with pytest.raises(UserError, match="2 pictures are compared with 3"):
        misplaced_p([0.1] * 3, [0.1] * 2)


def test_a_picture_is_outranked_by_as_many_prompts_as_it_fits_better():
    rng = np.random.default_rng(0)
    prompts = rng.normal(size=(40, 8))
    owners = rng.integers(0, 40, 90)
    pictures = prompts[owners] + rng.normal(size=(90, 8))
    shares = outranked(pictures, prompts, owners)

    def cosine(one, other):
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    for picture, own, share in zip(pictures, owners, shares, strict=True):
        better = sum(cosine(picture, prompts[i]) > cosine(picture, prompts[own]) + 1e-9 for i in range(40))
        assert share == better / 39
    assert outranked(prompts, prompts, np.arange(40)).tolist() == [0.0] * 40
