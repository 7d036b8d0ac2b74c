"""Pictures of any size become squares of one."""

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from reports.tiles import tile


def test_a_picture_is_padded_with_white_and_keeps_its_shape(tmp_path):
    Image.new("RGB", (40, 20), (0, 0, 255)).save(tmp_path / "wide.png")
    square = tile(tmp_path / "wide.png", 20)
    assert (square.shape, square.dtype) == ((20, 20, 3), np.uint8)
    assert (square[0] == 255).all()
    assert (square[10] == [0, 0, 255]).all()


def test_a_small_picture_grows_as_asked(tmp_path):
    Image.fromarray(np.array([[[0] * 3, [255] * 3]] * 2, dtype=np.uint8)).save(tmp_path / "two.png")
    assert set(np.unique(tile(tmp_path / "two.png", 16, enlarge="nearest"))) == {0, 255}
    assert len(np.unique(tile(tmp_path / "two.png", 16))) > 2


def test_what_cannot_be_read_says_what_to_run_again(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match="run the same study again"):
        tile(tmp_path / "cut.png", 16, made_by="study")
