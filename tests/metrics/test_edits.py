"""Edits of pictures: invisible ones change little and keep the size, damage grows with its dose."""

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from metrics.edits import DAMAGE, INVISIBLE

SIZES = [(64, 64), (96, 48), (256, 256)]


def scene(size: tuple[int, int], seed: int) -> Image.Image:
    """Return a smooth coloured picture, as a photograph or a drawing is smooth at the scale of a pixel."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def distance(first: Image.Image, second: Image.Image) -> float:
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).mean())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", INVISIBLE)
def test_an_invisible_edit_changes_something_and_little(name: str, size: tuple[int, int]) -> None:
    picture = scene(size, 1)
    before = picture.tobytes()
    edited = INVISIBLE[name](picture, seed=5)
    assert edited.size == size and edited.mode == "RGB"
    assert picture.tobytes() == before
    assert 0 < distance(picture, edited) < 6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_grows_with_its_dose_and_exceeds_every_invisible_edit(name: str, size: tuple[int, int]) -> None:
    picture, other = scene(size, 1), scene(size, 2)
    damage = DAMAGE[name]
    distances = [distance(picture, damage.at(dose)(picture, other, 5)) for dose in damage.doses]
    assert distances == sorted(distances) and distances[0] > 0
    assert distances[-1] > max(distance(picture, edit(picture, seed=5)) for edit in INVISIBLE.values())


def test_an_edit_is_the_same_each_time_and_noise_has_its_own_seed() -> None:
    picture = scene((64, 64), 1)
    noise = INVISIBLE["noise"]
    assert noise(picture, seed=1).tobytes() == noise(picture, seed=1).tobytes() != noise(picture, seed=2).tobytes()


def test_noise_is_as_strong_as_it_is_called() -> None:
    grey = Image.new("RGB", (256, 256), (128, 128, 128))
    values = np.asarray(INVISIBLE["noise"](grey, seed=1), dtype=float) - 128
    assert values.std() == pytest.approx(2, abs=0.05)


def test_a_shift_moves_every_column_by_one() -> None:
    picture = scene((64, 64), 1)
    before, after = np.asarray(picture), np.asarray(INVISIBLE["shift"](picture))
    assert (after[:, 1:] == before[:, :-1]).all()


def test_a_swirl_leaves_the_border_and_turns_the_centre() -> None:
    picture = scene((65, 65), 1)
    before, after = np.asarray(picture), np.asarray(DAMAGE["swirl"].at(2.5)(picture))
    assert (after[0] == before[0]).all() and (after[32, 32] == before[32, 32]).all()
    assert np.abs(after[20:45, 20:45].astype(int) - before[20:45, 20:45]).mean() > 5


def test_a_picture_that_is_replaced_is_the_other_one_and_a_patch_is_as_large_as_its_dose() -> None:
    picture, other = Image.new("RGB", (64, 64), "black"), Image.new("RGB", (32, 32), "white")
    assert np.asarray(DAMAGE["replaced"].at(1.0)(picture, other)).min() == 255
    assert (np.asarray(DAMAGE["patch"].at(1 / 4)(picture, other, 3)) == 255).mean() == pytest.approx(1 / 4)


def test_an_edit_that_needs_another_picture_says_so() -> None:
    with pytest.raises(UserError, match="needs another picture"):
        DAMAGE["patch"].at(1 / 4)(scene((64, 64), 1))
