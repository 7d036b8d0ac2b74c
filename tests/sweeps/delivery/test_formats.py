"""Formats of picture files: the same bytes again, every pixel where that is promised, and room for long prompts."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.pictures import read_picture
from sweeps.delivery.about import About
from sweeps.delivery.formats import MOST_JPEG, PictureFormat

ABOUT = About(
    'a "fox", 水彩 🦊',
    "",
    2**40,
    "0.25",
    "mini-sd",
    "ab12",
    20,
    7.5,
    "DDIMScheduler",
    "c0",
    "node 1: steps 1-20 (alone)",
    "x",
)
KINDS = [PictureFormat("png"), PictureFormat("webp", 100), PictureFormat("webp"), PictureFormat("jpeg", 90)]


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(24, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_picture_is_the_same_bytes_again_and_lossless_ones_hold_every_pixel(kind, pixels):
    file = kind.encode(pixels, ABOUT)
    assert kind.encode(pixels, ABOUT) == file
    assert (file.width, file.height, file.blank) == (16, 24, False)
    read = np.asarray(read_picture(BytesIO(file.content)))
    assert (read == pixels).all() == kind.lossless
    assert kind.encode(pixels).pixels == file.pixels, "what it says of itself is not in it"
    assert kind.encode(np.zeros_like(pixels)).blank


def test_without_a_word_a_png_file_is_what_pillow_writes(pixels):
    plain = BytesIO()
    Image.fromarray(pixels).save(plain, "PNG")
    assert PictureFormat().encode(pixels).content == plain.getvalue()


def test_higher_quality_takes_more_room(pixels):
    for name in ("webp", "jpeg"):
        sizes = [len(PictureFormat(name, quality).encode(pixels).content) for quality in (10, None, 98)]
        assert sizes == sorted(sizes)


def test_parameters_are_read_as_other_programs_read_them():
    """By the rule of AUTOMATIC1111's web interface: the last line is pairs, a quoted value is JSON."""
    import json
    import re

    *lines, last = ABOUT.parameters(16, 24).split("\n")
    assert lines == [ABOUT.prompt]
    pairs = dict(re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last))
    assert (pairs["Steps"], pairs["CFG scale"], pairs["Seed"], pairs["Size"]) == ("20", "7.5", str(2**40), "16x24")
    assert json.loads(pairs["Path"]) == ABOUT.path


def test_what_a_jpeg_file_has_no_room_for_is_refused_and_what_it_has_is_written(pixels):
    kind = PictureFormat("jpeg")
    long = replace(ABOUT, prompt="a" * 9_999, negative_prompt="b" * 9_999)
    kind.check(long, "prompt 1")
    kind.encode(pixels, long)
    with pytest.raises(UserError, match=f"prompt 1 .* room for {MOST_JPEG:,}"):
        kind.check(replace(long, prompt="🦊" * 9_999), "prompt 1")
    PictureFormat("webp").encode(pixels, replace(long, prompt="🦊" * 9_999))


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_has_a_range(quality):
    with pytest.raises(UserError, match="out of range"):
        PictureFormat("webp", quality)
