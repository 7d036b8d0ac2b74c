"""A run's pictures as squares of one size, for figures."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.pictures import read_picture

Resampling = Literal["nearest", "bicubic", "lanczos"]


def tile(path: Path, side: int, *, enlarge: Resampling = "lanczos", made_by: str = "sweep") -> NDArray[np.uint8]:
    """Return uint8 [side, side, 3]: the picture in `path`, padded with white.

    Args:
        enlarge: how a picture smaller than `side` is enlarged.
        made_by: the command to run again where it cannot be read.

    Raises:
        UserError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        picture = read_picture(path)
    except UserError as error:
        raise UserError(error.message, f"run the same {made_by} again: it is then made anew") from error
    how = Image.Resampling[(enlarge if max(picture.size) < side else "lanczos").upper()]
    return np.asarray(ImageOps.pad(picture, (side, side), how, color="white"), dtype=np.uint8)
