"""Pictures written in threads: all there, one file where several places want it, no more waiting than agreed."""

import threading

import numpy as np
import pytest
from PIL import Image

from sweeps import writer as writing
from sweeps.writer import AHEAD, THREADS, writer


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(count, 8, 8, 3), dtype=np.uint8)


def test_every_picture_is_where_it_belongs_and_one_file_where_several_want_it(tmp_path):
    pixels, (a, b) = pictures(5), (tmp_path / "a", tmp_path / "b")
    with writer() as out:
        out.write(pixels, [[(a, 7 * i), (b, i)] for i in range(5)])
        out.drain()
        for i, picture in enumerate(pixels):
            here, there = a / f"images/{7 * i:05d}.png", b / f"images/{i:05d}.png"
            assert (np.asarray(Image.open(here)) == picture).all()
            assert here.samefile(there)


def test_what_waits_is_bounded(tmp_path, monkeypatch):
    go, begun = threading.Event(), []

    def slow(*_):
        begun.append(1)
        go.wait()

    monkeypatch.setattr(writing, "_written", slow)
    with writer() as out:
        ahead = threading.Thread(target=out.write, args=(pictures(100), [[(tmp_path, i)] for i in range(100)]))
        ahead.start()
        ahead.join(0.3)
        assert ahead.is_alive(), "who decodes waits for who writes"
        assert len(out._waiting) <= THREADS * AHEAD
        go.set()
        ahead.join()
        out.drain()
    assert len(begun) == 100


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(OSError, match="images"), writer() as out:
        out.write(pictures(1), [[(tmp_path, 0)]])
        out.drain()


def test_an_interruption_ends_it_and_what_waits_is_not_written(tmp_path, monkeypatch):
    go, written = threading.Event(), []
    monkeypatch.setattr(writing, "_written", lambda *_: (go.wait(), written.append(1)))
    with pytest.raises(KeyboardInterrupt), writer() as out:
        out.write(pictures(THREADS + 5), [[(tmp_path, i)] for i in range(THREADS + 5)])
        threading.Timer(0.1, go.set).start()
        raise KeyboardInterrupt
    assert 0 < len(written) <= THREADS
