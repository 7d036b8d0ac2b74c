"""Picture files: opened here and nowhere else, bounded, and read as a viewer shows them."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from common.errors import UserError
from common.files import sha256_text

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MOST_PIXELS = 2**26  # 8192 x 8192; a small file may say that it holds many more
PLAIN = {"1", "L", "P", "RGB"}  # modes that are RGB in other words, where nothing in them is transparent
SIXTEEN_BITS = {"I", "I;16", "I;16B", "I;16L"}
ORIENTATION = 0x0112  # EXIF's number of it; 1: as it is stored


@contextmanager
def opened(file: Path | IO[bytes]) -> "Iterator[Image]":
    """Open a PNG, JPEG or WebP file; its pixels are read when they are asked for, within the block.

    Raises:
        UserError: it is missing, damaged, of another format, animated, or has more pixels than are read; within the
            block too. The file is named.
    """
    from PIL import Image, UnidentifiedImageError

    _silence()
    name = f"the picture {file}" if isinstance(file, Path) else "a picture"
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"it is {picture.width} x {picture.height}, and {MOST_PIXELS:,} pixels are the most")
            if picture.format in FORMATS and getattr(picture, "is_animated", False):
                raise ValueError("it is animated")
            yield picture
    except FileNotFoundError:
        raise UserError(f"{name} is missing", "generate it again, then score") from None
    except UnidentifiedImageError:
        raise UserError(
            f"{name} cannot be read: it is no PNG, JPEG or WebP file", "delete it and generate it again"
        ) from None
    except (  # all that PIL raises of damaged files, in one format or another
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"{name} cannot be read: {error}", "delete it and generate it again") from error


def read_picture(file: Path | IO[bytes]) -> "Image":
    """Return the whole picture as RGB, as a viewer shows it.

    EXIF's rotation is followed, what is transparent is laid on white, and 16 bits become 8. CMYK is refused: what it
    looks like is its printer's affair.

    Raises:
        UserError: as `opened`, or its colours cannot be told.

    Examples:
        >>> try:
        ...     read_picture(Path("no-such-picture.png"))
        ... except UserError as error:
        ...     print(error.message)
        the picture no-such-picture.png is missing
    """
    with opened(file) as picture:
        return _shown(picture)


def is_blank(picture: "Image") -> bool:
    """Return whether all pixels are of one colour, as where a model's numbers were none.

    Examples:
        >>> from PIL import Image
        >>> is_blank(Image.new("RGB", (4, 4), "white")), is_blank(Image.linear_gradient("L"))
        (True, False)
    """
    colours = picture.convert("RGB").getcolors(1)
    return bool(colours)  # None where there are more than one


def pixels_hash(picture: "Image") -> str:
    """Return a hash that equal pictures alone have in common: two files of one picture may differ in all else."""
    return sha256_text(f"{picture.size} {picture.tobytes().hex()}")


def plain_file(path: Path, folder: Path) -> Path:
    """Return a file of the picture that any program reads as `read_picture` does: itself, or a copy in `folder`.

    Args:
        path: of the picture.
        folder: takes the copy, under a name of its own.

    Raises:
        UserError: as `read_picture`.
    """
    with opened(path) as picture:
        shown = _shown(picture)
        if picture.mode == "RGB" and not picture.has_transparency_data and not _turned(picture):
            return path
    copy = folder / f"{len(list(folder.iterdir())):05d}.png"
    shown.save(copy)
    return copy


@cache
def _silence() -> None:
    """Keep Pillow from warning of large pictures, which are refused."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def _turned(picture: "Image") -> bool:
    return bool(picture.getexif().get(ORIENTATION, 1) != 1)


def _shown(picture: "Image") -> "Image":
    from PIL import Image, ImageOps

    transparent = picture.has_transparency_data
    shown = ImageOps.exif_transpose(picture) if _turned(picture) else picture
    if shown.mode in SIXTEEN_BITS and not transparent:
        return shown.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if shown.mode not in PLAIN and not (transparent and shown.mode in {"LA", "PA", "RGBA"}):
        raise ValueError(f"its colours are {shown.mode}: save it as RGB")
    if not transparent:
        return shown.convert("RGB")
    colours = shown.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
