import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from metrics.images import read_picture


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
def test_a_damaged_picture_is_named(tmp_path, pictures, damage):
    whole = pictures[0].read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path = tmp_path / "00003.png"
    path.write_bytes(
        {"truncated": whole[:-40], "flipped": bytes(flipped), "empty": b"", "text": b"not a picture"}[damage]
    )
    with pytest.raises(UserError, match=r"00003\.png cannot be read") as caught:
        read_picture(path)
    assert "generate it again" in caught.value.hint
