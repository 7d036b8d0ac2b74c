import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.spectra import band_error, octaves, radial_power, spectrum

SIDE = 64
RNG = np.random.default_rng(0)


def waves(frequency: float, angle: float, side: int = SIDE) -> np.ndarray:
    """A grey picture of waves, so many across a side."""
    y, x = np.mgrid[:side, :side] / side
    phase = 2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y)
    return np.repeat((127 + 100 * np.sin(phase)).round().astype(np.uint8)[..., None], 3, axis=-1)


@given(frequency=st.floats(2, 28), angle=st.floats(0, np.pi / 2))
def test_waves_have_their_power_at_their_frequency(frequency: float, angle: float):
    power = radial_power(spectrum(waves(frequency, angle)))
    assert abs(1 + int(np.argmax(power)) - frequency) <= 1
    near = [r for r in range(len(power)) if abs(r + 1 - frequency) <= 3]
    rings = power * np.arange(1, len(power) + 1)
    assert rings[near].sum() > 0.97 * rings.sum()


def test_size_does_not_move_a_frequency():
    assert np.argmax(radial_power(spectrum(waves(9, 0.3)))) == np.argmax(radial_power(spectrum(waves(9, 0.3, 160))))


def test_white_noise_is_flat_and_of_the_power_that_its_variance_gives():
    noise = RNG.integers(0, 256, (200, 32, 32, 1)).repeat(3, axis=-1).astype(np.uint8)
    power = radial_power(spectrum(noise)).mean(axis=0)
    window = np.outer(np.hanning(34)[1:-1], np.hanning(34)[1:-1])
    expected = (256**2 - 1) / 12 / 255**2 * (window**2).sum()
    assert np.allclose(power[2:] / expected, 1, atol=0.06)


def test_brightness_as_a_whole_is_no_frequency():
    picture = RNG.integers(0, 200, (SIDE, SIDE, 3)).astype(np.uint8)
    assert np.allclose(spectrum(picture), spectrum(picture + 40))


def test_octaves_reach_half_a_side():
    assert octaves(64, 64) == [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32)]
    assert octaves(512, 768)[-1] == (128, 256)
    assert octaves(48, 48)[-1] == (16, 24)


@given(share=st.floats(0, 2))
def test_error_is_the_power_of_the_difference(share: float):
    final = spectrum(RNG.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8))
    assert np.allclose(band_error(share * final, final), (1 - share) ** 2)


def test_error_by_hand():
    """Every frequency visited by itself."""
    one, other = (spectrum(RNG.integers(0, 256, (20, 14, 3)).astype(np.uint8)) for _ in range(2))
    rows, columns = np.fft.fftfreq(20) * 14, np.fft.fftfreq(14) * 14
    bands = octaves(20, 14)
    assert bands == [(1, 2), (2, 4), (4, 7)]
    above, below = np.zeros(3), np.zeros(3)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            radius = (x * x + y * y) ** 0.5
            for b, (low, high) in enumerate(bands):
                if low <= radius < high or (b == 2 and radius == high):
                    above[b] += abs(one[i, j] - other[i, j]) ** 2
                    below[b] += abs(other[i, j]) ** 2
    assert np.allclose(band_error(one, other), above / below)


def test_a_picture_of_one_colour_has_no_error_of_its_own():
    grey = spectrum(np.full((16, 16, 3), 90, np.uint8))
    assert band_error(grey, grey) == pytest.approx(0)
