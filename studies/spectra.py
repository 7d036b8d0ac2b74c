"""Spectra of pictures: their power at each spatial frequency, and how far two pictures differ there.

Frequencies are in cycles a picture (its shorter side), so that pictures of different sizes can be compared.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
TINY = 1e-12


def spectrum(pictures: NDArray[np.uint8]) -> Complex:
    """Return the Fourier transform of pictures' luma under a Hann window, so that their edges do not count.

    The windowed mean is taken away: how bright a picture is as a whole is no frequency.

    Args:
        pictures: uint8 [..., H, W, 3].

    Returns:
        [..., H, W], in the order of `numpy.fft.fftfreq`.

    Examples:
        >>> grey = np.full((16, 16, 3), 128, dtype=np.uint8)
        >>> bool(np.allclose(spectrum(grey), 0))
        True
    """
    luma = pictures.astype(np.float64) @ np.array(LUMA) / 255
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in luma.shape[-2:]))
    mean = (luma * window).sum(axis=(-2, -1), keepdims=True) / window.sum()
    transformed: Complex = np.fft.fft2((luma - mean) * window)
    return transformed


def octaves(height: int, width: int) -> list[tuple[int, int]]:
    """Return bands of frequencies, each twice the one before: 1 to 2, 2 to 4, ... up to half a side in pixels.

    Examples:
        >>> octaves(16, 24)
        [(1, 2), (2, 4), (4, 8)]
    """
    edges = [2**i for i in range(min(height, width).bit_length())]
    most = min(height, width) // 2
    return [(low, min(2 * low, most)) for low in edges if low < most]


def band_error(predicted: Complex, final: Complex) -> Floats:
    """Return by octave the power of the difference as a share of the final picture's power there: 0 is equal.

    Args:
        predicted: spectra [..., H, W].
        final: [..., H, W], broadcast against `predicted`.

    Returns:
        [..., B].

    Examples:
        >>> final = np.ones((8, 8), dtype=complex)
        >>> band_error(1.5 * final, final).tolist()
        [0.25, 0.25]
    """
    error: Floats = _within(np.abs(predicted - final) ** 2) / np.maximum(_within(np.abs(final) ** 2), TINY)
    return error


def radial_power(spectra: Complex) -> Floats:
    """Return the mean power at whole radii 1, 2, ... half a side: [..., R] of spectra [..., H, W].

    Examples:
        >>> radial_power(2 * np.ones((8, 8), dtype=complex)).tolist()
        [4.0, 4.0, 4.0, 4.0]
    """
    height, width = spectra.shape[-2:]
    radii = np.rint(_radius(height, width)).astype(np.int64)
    rings = [radii == r for r in range(1, min(height, width) // 2 + 1)]
    power = np.abs(spectra) ** 2
    return np.stack([power[..., ring].mean(axis=-1) for ring in rings], axis=-1)


def _within(power: Floats) -> Floats:
    """Return the power by octave, [..., B]; the last one holds its upper end."""
    height, width = power.shape[-2:]
    radius, bands = _radius(height, width), octaves(height, width)
    masks = [(radius >= low) & ((radius < high) | (high == bands[-1][1]) & (radius <= high)) for low, high in bands]
    return np.stack([power[..., mask].sum(axis=-1) for mask in masks], axis=-1)


@cache
def _radius(height: int, width: int) -> Floats:
    side = min(height, width)
    down, across = np.fft.fftfreq(height) * side, np.fft.fftfreq(width) * side
    radius: Floats = np.hypot(down[:, None], across)
    return radius
