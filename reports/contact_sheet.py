"""A contact sheet: pictures of a set side by side, no more than one can look at."""

from collections.abc import Sequence
from io import BytesIO
from math import ceil, sqrt
from pathlib import Path

import numpy as np

from common.pictures import read_picture

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


def contact_sheet(pictures: "Sequence[Path | bytes]") -> bytes:
    """Return a PNG file of pictures in their order, row by row, in the proportions that they have.

    Args:
        pictures: their files, or what is in these; at least one.
    """
    from PIL import Image

    tiles = []
    for file in pictures:
        picture = read_picture(file if isinstance(file, Path) else BytesIO(file))
        picture.thumbnail((LARGEST, LARGEST))
        tiles.append(picture)
    width, height = (max(tile.size[axis] for tile in tiles) for axis in (0, 1))
    columns = min(len(tiles), COLUMNS) if len(tiles) <= NARROW else ceil(sqrt(len(tiles) * height / width))
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * width + (width - tile.width) // 2, row * height + (height - tile.height) // 2))
    written = BytesIO()
    sheet.save(written, "PNG")
    return written.getvalue()
