"""Picture files of any kind: shown as a viewer shows them, or refused by name."""

import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import pictures as common_pictures
from common.errors import UserError
from common.pictures import plain_file, read_picture

GREY = 102


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_every_mode_is_read_as_rgb(tmp_path, mode):
    path = tmp_path / "picture.png"
    grey = np.full((5, 4, 3), 102, dtype=np.uint8)
    Image.fromarray(grey).convert(mode).save(path)
    picture = read_picture(path)
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), grey)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(UserError, match=r"00007\.png is missing"):
        read_picture(tmp_path / "00007.png")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_picture_is_named(tmp_path, damage):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path = tmp_path / "00003.png"
    path.write_bytes(
        {"truncated": whole[:-40], "flipped": bytes(flipped), "empty": b"", "text": b"not a picture"}[damage]
    )
    with pytest.raises(UserError, match=r"00003\.png cannot be read") as caught:
        read_picture(path)
    assert "generate it again" in caught.value.hint


def png(depth: int, colour: int, pixels: np.ndarray) -> bytes:
    """A PNG file of any depth, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def rotated(path: Path) -> None:
    """The upper half red, the lower grey, stored lying on its side; EXIF says so."""
    exif = Image.Exif()
    exif[common_pictures.ORIENTATION] = 6
    upright = Image.new("RGB", (4, 8), (GREY,) * 3)
    upright.paste((255, 0, 0), (0, 0, 4, 4))
    upright.rotate(90, expand=True).save(path, exif=exif)


def see_through(path: Path, mode: str) -> None:
    """Black that nobody sees on the left, half of white's darkness on the right."""
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 0, 153))
    picture.convert(mode).save(path)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_become_eight(tmp_path, colour, channels):
    pixels = np.full((3, 2, channels), GREY * 257)
    pixels[0, 0] = 65535
    if channels in (2, 4):
        pixels[..., -1] = 65535
    (tmp_path / "deep.png").write_bytes(png(16, colour, pixels))
    seen = np.asarray(read_picture(tmp_path / "deep.png"))
    assert seen.shape == (3, 2, 3)
    assert (seen[1:] == GREY).all()
    assert (seen[0, 0] == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_laid_on_white(tmp_path, mode):
    see_through(tmp_path / "picture.png", mode)
    assert np.asarray(read_picture(tmp_path / "picture.png"))[0, :, 0].tolist() == [255, GREY]


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, GREY, GREY, GREY])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "picture.png", transparency=0)
    assert np.asarray(read_picture(tmp_path / "picture.png"))[0, :, 0].tolist() == [255, GREY]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_rotation_of_exif_is_followed(tmp_path, suffix):
    rotated(path := tmp_path / f"picture.{suffix}")
    assert Image.open(path).size == (8, 4)
    seen = read_picture(path)
    assert seen.size == (4, 8)
    (red, *_), grey = seen.getpixel((2, 1)), seen.getpixel((2, 6))
    assert red > 200
    assert max(abs(value - GREY) for value in grey) < 30


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def huge(path: Path) -> None:
    Image.new("1", (40_000, 2_000)).save(path)


REFUSED = {
    "cmyk.jpg": (lambda path: Image.new("CMYK", (4, 4)).save(path), "its colours are CMYK"),
    "moving.png": (animated, "it is animated"),
    "moving.webp": (animated, "it is animated"),
    "huge.png": (huge, "it is 40000 x 2000"),
    "named.png": (lambda path: Image.new("RGB", (4, 4)).save(path, "TIFF"), "it is no PNG, JPEG or WebP file"),
    "gif.png": (lambda path: Image.new("RGB", (4, 4)).save(path, "GIF"), "it is no PNG, JPEG or WebP file"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("error")
def test_what_cannot_be_shown_is_refused_by_name(tmp_path, name):
    draw, says = REFUSED[name]
    draw(tmp_path / name)
    with pytest.raises(UserError) as refused:
        read_picture(tmp_path / name)
    assert f"{name} cannot be read: {says}" in refused.value.message


def test_other_programs_are_given_what_is_seen(tmp_path):
    """They read files in ways of their own: what they may read otherwise is a copy."""
    (copies := tmp_path / "copies").mkdir()
    Image.new("RGB", (4, 4)).save(plain := tmp_path / "plain.png")
    rotated(turned := tmp_path / "turned.jpg")
    see_through(clear := tmp_path / "clear.png", "RGBA")
    assert plain_file(plain, copies) == plain
    files = [plain_file(path, copies) for path in (turned, clear)]
    for file, path in zip(files, (turned, clear), strict=True):
        assert file.parent == copies
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(read_picture(path)))


def test_pictures_are_opened_in_one_place():
    root = Path(common_pictures.__file__).parents[1]
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True)
    sources = [name for name in listed.stdout.split() if not name.startswith("tests/")]
    assert len(sources) > 100
    users = [name for name in sources if "Image.open(" in (root / name).read_text(encoding="utf-8")]
    assert users == ["common/pictures.py"]
