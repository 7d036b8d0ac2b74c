"""Pictures that are the same but for rounding."""

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from PIL import Image


def same_but_for_rounding(files: Iterable[bytes], others: Iterable[bytes]) -> bool:
    """Whether PNG files are, in order, the same pictures, as far as another batch lets them be.

    In another batch a float's last digits differ; Kandinsky's codebook may then round to another entry, and a few
    pixels with it.
    """
    ours, theirs = (
        np.stack([np.asarray(Image.open(BytesIO(each)), dtype=int) for each in those]) for those in (files, others)
    )
    apart = np.abs(ours - theirs)
    return bool(np.mean(apart > 1) < 1e-3 and apart.mean() < 0.02)
