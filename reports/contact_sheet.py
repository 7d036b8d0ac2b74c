"""A contact sheet: pictures of a set side by side, no more than one can look at."""

from collections.abc import Sequence
from io import BytesIO
from math import ceil, sqrt
from pathlib import Path

import numpy as np

from common.pictures import MOST_PIXELS, read_picture

MOST = 200  # pictures
COLUMNS, NARROW = 8, 64  # pictures a row, of so many pictures at most; of more, as many as there are rows
LARGEST = 256  # pixels of a picture's longer side


def chosen(count: int, most: int = MOST) -> list[int]:
    """Return which of so many pictures a sheet shows: all, or as many as it may, at even distances from the first on.

    Examples:
        >>> chosen(3), chosen(9, most=4)
        ([0, 1, 2], [0, 3, 5, 8])
    """
    rows: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return rows


def most_at_full_size(count: int, width: int, height: int) -> int:
    """Return how many of so many pictures a sheet of them at their own size has room for, at least one.

    Such a sheet has no more pixels than a picture that is read (`MOST_PIXELS`), so that what wrote it opens it.

    Examples:
        >>> most_at_full_size(40, 512, 512), most_at_full_size(1600, 512, 512), most_at_full_size(40, 4096, 4096)
        (40, 256, 4)
    """
    count = min(count, MOST_PIXELS // (width * height))
    while count > 1:
        columns = _columns(count, width, height)
        if columns * -(-count // columns) * width * height <= MOST_PIXELS:
            break
        count -= 1
    return max(count, 1)


def contact_sheet(pictures: "Sequence[Path | bytes]", largest: int | None = LARGEST) -> bytes:
    """Return a PNG file of pictures in their order, row by row, in the proportions that they have.

    Args:
        pictures: their files, or what is in these; at least one.
        largest: pixels that a picture's longer side has at most; None: every picture has its own size.
    """
    from PIL import Image

    tiles = []
    for file in pictures:
        picture = read_picture(file if isinstance(file, Path) else BytesIO(file))
        if largest is not None:
            picture.thumbnail((largest, largest))
        tiles.append(picture)
    width, height = (max(tile.size[axis] for tile in tiles) for axis in (0, 1))
    columns = _columns(len(tiles), width, height)
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * width + (width - tile.width) // 2, row * height + (height - tile.height) // 2))
    written = BytesIO()
    sheet.save(written, "PNG")
    return written.getvalue()


def _columns(count: int, width: int, height: int) -> int:
    return min(count, COLUMNS) if count <= NARROW else ceil(sqrt(count * height / width))
