import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.page.thumbnails import ACROSS, Album


@pytest.fixture
def pictures(tmp_path):
    """Noise, which compresses badly, with a corner that tells each picture's number."""

    def made(n: int, side: int = 64, seed: int = 0) -> list[Path]:
        rng, paths = np.random.default_rng(seed), []
        for i in range(n):
            pixels = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
            pixels[: side // 2] = 12 * (i % 20)
            paths.append(tmp_path / f"{seed}-{i:05d}.png")
            Image.fromarray(pixels).save(paths[-1])
        return paths

    return made


def sheet(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def test_every_picture_is_where_its_number_says(pictures) -> None:
    album = Album()
    number = album.add(pictures(37), range(37))
    found = album.sprites()[number]
    assert found["places"] is None
    assert len(found["sheets"]) == 3
    assert album.notes == []
    for i in range(37):
        within = i % ACROSS**2
        y, x = (album.side * each for each in divmod(within, ACROSS))
        shown = sheet(found["sheets"][i // ACROSS**2])[y : y + album.side, x : x + album.side]
        assert abs(float(shown[8:24, 8:56].mean()) - 12 * (i % 20)) < 6


def test_the_same_pictures_are_held_once(pictures) -> None:
    album, paths = Album(), pictures(5)
    assert album.add(paths, range(5)) == album.add(list(paths), range(5)) == 0
    assert album.add(pictures(5, seed=1), range(5)) == 1
    assert album.add([], []) is None
    assert len(album.sprites()) == 2


def test_pictures_get_smaller_before_any_is_left_out(pictures) -> None:
    album = Album(most=150_000)
    album.add(pictures(100, side=128), range(100))
    (found,) = album.sprites()
    assert album.side < 128
    assert found["places"] is None
    assert sum(map(len, found["sheets"])) < 1.3 * 150_000
    (note,) = album.notes
    assert f"at {album.side} pixels" in note
    assert "128" in note


def test_where_not_even_small_ones_fit_the_worst_prompts_stay_and_the_rest_is_told(pictures) -> None:
    album = Album(most=30_000)
    first = list(reversed(range(100)))
    album.add(pictures(100), first)
    (found,) = album.sprites()
    kept = [i for i, place in enumerate(found["places"]) if place >= 0]
    assert 0 < len(kept) < 100
    assert kept == list(range(100 - len(kept), 100))
    assert [found["places"][i] for i in kept] == list(range(len(kept)))
    assert sum(map(len, found["sheets"])) < 1.5 * 30_000
    (note,) = album.notes
    assert "of 100 pictures are shown" in note


def test_a_damaged_picture_costs_itself_and_is_told(pictures) -> None:
    paths = pictures(20)
    paths[3].write_bytes(b"damaged")
    album = Album()
    album.add(paths, range(20))
    (found,) = album.sprites()
    assert found["places"][3] == -1
    assert found["places"][4] == 3
    assert any(str(paths[3]) in note for note in album.damaged)
