"""Edits of pictures, to learn what a scorer sees: such as nobody sees, and damage in doses. Pure functions.

A scorer should be indifferent to the first and should fall with the doses of the second. Lengths are shares of a
picture's shorter side, so that an edit means the same at 64 pixels and at 1024.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.pictures import read_picture

if TYPE_CHECKING:
    from PIL.Image import Image

# What an edit needs beside the picture: nothing, the picture of the nearest other prompt, or of a far one.
Partner = Literal["nearest", "far"]
Apply = Callable[["Image", "Image", int], "Image"]
ApplyDose = Callable[["Image", "Image", int, float], "Image"]


@dataclass(frozen=True)
class Edit:
    """One edit of a picture, the same each time that it is applied.

    Attributes:
        name: as a table says it, such as ``JPEG 90``.
        apply: takes the picture, its partner and a seed, and returns a new picture of the same size.
        partner: which other picture it needs; None: none.
    """

    name: str
    apply: Apply
    partner: Partner | None = None

    def __call__(self, picture: "Image", other: "Image | None" = None, seed: int = 0) -> "Image":
        """Return the edited picture, RGB, of the same size; `picture` stays as it is.

        Args:
            picture: of any mode.
            other: the partner's picture, of any size, where `partner` is not None.
            seed: of what is drawn at random, such as noise; give each picture its own.

        Raises:
            UserError: the edit needs another picture and has none.

        Examples:
            >>> from PIL import Image
            >>> INVISIBLE["noise"](Image.new("RGB", (64, 48), "teal"), seed=3).size
            (64, 48)
        """
        if self.partner and other is None:
            raise UserError(f"the edit {self.name} needs another picture", "give the picture of another prompt")
        picture = picture.convert("RGB")
        other = picture if other is None else other.convert("RGB").resize(picture.size)
        return self.apply(picture, other, seed)


@dataclass(frozen=True)
class Damage:
    """One kind of damage, in rising doses.

    Attributes:
        name: as a table says it.
        unit: of the doses, as text that follows the number; a dose is a share where it begins with %.
        doses: ascending.
        apply: takes the picture, its partner, a seed and a dose, and returns a new picture of the same size.
        partner: which other picture it needs; None: none.
    """

    name: str
    unit: str
    doses: tuple[float, ...]
    apply: ApplyDose
    partner: Partner | None = None

    def at(self, dose: float) -> Edit:
        """Return the edit that does this damage at one dose, of `doses` or between.

        Examples:
            >>> DAMAGE["swirl"].at(2.5).name, DAMAGE["patch"].at(1 / 8).name
            ('swirl, 2.5 rad', 'patch of another picture, 12.5% of the area')
        """
        amount = f"{100 * dose:.3g}" if self.unit.startswith("%") else f"{dose:g}"
        name = f"{self.name}, {amount}{self.unit}" if len(self.doses) > 1 else self.name
        return Edit(name, lambda picture, other, seed: self.apply(picture, other, seed, dose), self.partner)


def shifted(picture: "Image", pixels: int = 1) -> "Image":
    """Return a picture moved to the right; the columns that this uncovers repeat its edge."""
    from PIL import Image

    values = np.asarray(picture)
    return Image.fromarray(np.concatenate([np.repeat(values[:, :1], pixels, axis=1), values[:, :-pixels]], axis=1))


def compressed(picture: "Image", kind: Literal["JPEG", "WEBP"], quality: int = 90) -> "Image":
    """Return a picture as a file of a lossy format keeps it; chroma is subsampled, as is usual."""
    with BytesIO() as file:
        picture.save(file, kind, quality=quality)
        return read_picture(file)


def noisy(picture: "Image", seed: int, sigma: float = 2.0) -> "Image":
    """Return a picture with independent normal noise of `sigma` of 255 on every value."""
    noise = np.random.default_rng(seed).normal(0, sigma, (*picture.size[::-1], 3))
    return _picture(np.asarray(picture) + noise)


def resized_back(picture: "Image", factor: float = 1.5) -> "Image":
    """Return a picture enlarged and brought back to its size, both by cubic interpolation."""
    from PIL.Image import Resampling

    larger = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(larger, Resampling.BICUBIC).resize(picture.size, Resampling.BICUBIC)


def blurred(picture: "Image", share: float) -> "Image":
    """Return a picture under a Gaussian blur whose standard deviation is a `share` of the shorter side."""
    from PIL import ImageFilter

    return picture.filter(ImageFilter.GaussianBlur(share * min(picture.size)))


def swirled(picture: "Image", radians: float) -> "Image":
    """Return a picture turned about its centre: by `radians` there, by less outwards, by nothing at the shorter side.

    Examples:
        >>> from PIL import Image
        >>> half = Image.new("RGB", (64, 64))
        >>> half.paste("white", (0, 0, 32, 64))
        >>> swirled(half, 0).tobytes() == half.tobytes(), swirled(half, 2.5).tobytes() == half.tobytes()
        (True, False)
    """
    from scipy.ndimage import map_coordinates

    values = np.asarray(picture, dtype=np.float64)
    centre = (np.array(values.shape[:2]) - 1) / 2
    y, x = (np.indices(values.shape[:2]).T - centre).T
    distance = np.hypot(y, x)
    turn = radians * np.clip(1 - distance / max(1, centre.min()), 0, None)
    place = [
        centre[0] + y * np.cos(turn) - x * np.sin(turn),
        centre[1] + y * np.sin(turn) + x * np.cos(turn),
    ]
    channels = [map_coordinates(values[..., i], place, order=1, mode="nearest") for i in range(3)]
    return _picture(np.stack(channels, axis=-1))


def mixed(picture: "Image", other: "Image", share: float) -> "Image":
    """Return a blend in which the other picture has this share; at 1 it is the other picture."""
    from PIL import Image

    return Image.blend(picture, other, share)


def patched(picture: "Image", other: "Image", seed: int, area: float) -> "Image":
    """Return a picture with a part of the other in the same place: a rectangle of its shape, a share of its area."""
    rng, side = np.random.default_rng(seed), area**0.5
    width, height = (max(1, round(side * length)) for length in picture.size)
    left, top = (
        int(rng.integers(length - part + 1)) for length, part in zip(picture.size, (width, height), strict=True)
    )
    box, result = (left, top, left + width, top + height), picture.copy()
    result.paste(other.crop(box), box)
    return result


def _picture(values: NDArray[np.float64]) -> "Image":
    from PIL import Image

    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


# Nobody tells these from the picture in passing, so a scorer that does has a floor that differences must exceed.
INVISIBLE: Mapping[str, Edit] = MappingProxyType(
    {
        "shift": Edit("shifted by a pixel", lambda picture, _, __: shifted(picture)),
        "jpeg": Edit("JPEG 90", lambda picture, _, __: compressed(picture, "JPEG")),
        "webp": Edit("WebP 90", lambda picture, _, __: compressed(picture, "WEBP")),
        "noise": Edit("noise of 2/255", lambda picture, _, seed: noisy(picture, seed)),
        "resize": Edit("resized and back", lambda picture, _, __: resized_back(picture)),
    }
)

DAMAGE: Mapping[str, Damage] = MappingProxyType(
    {
        "blur": Damage(
            "blur", "% of the side", (1 / 64, 1 / 32, 1 / 16), lambda picture, _, __, share: blurred(picture, share)
        ),
        "swirl": Damage("swirl", " rad", (0.625, 1.25, 2.5), lambda picture, _, __, radians: swirled(picture, radians)),
        "neighbour": Damage(
            "nearest prompt's picture mixed in",
            "%",
            (0.15, 0.3, 0.5),
            lambda picture, other, _, share: mixed(picture, other, share),
            "nearest",
        ),
        "patch": Damage(
            "patch of another picture",
            "% of the area",
            (1 / 16, 1 / 8, 1 / 4),
            lambda picture, other, seed, area: patched(picture, other, seed, area),
            "far",
        ),
        "replaced": Damage(
            "another prompt's picture",
            "%",
            (1.0,),
            lambda picture, other, _, share: mixed(picture, other, share),
            "far",
        ),
    }
)
