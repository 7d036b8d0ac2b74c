"""The files of a job's pictures: written whole, known by their receipts, checked where they lie."""

import fsspec
import numpy as np
import pytest

from common.remote import RemoteFolder
from sweeps.delivery.about import About
from sweeps.delivery.files import LOG, PLAIN, PictureFiles
from sweeps.delivery.formats import PictureFormat
from sweeps.unfinished import begun
from sweeps.writer import writer

PIXELS = np.random.default_rng(0).integers(0, 256, size=(3, 8, 8, 3), dtype=np.uint8)


def about(prompt: int) -> About:
    return About(f"prompt {prompt}", "", 1, "0", "m", "w", 2, 1.0, "S", "run", "node", "reusebench 1")


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/kept"):
        system.rm("/kept", recursive=True)


@pytest.fixture(params=["here", "there"])
def files(request, memory) -> PictureFiles:
    remote = RemoteFolder("memory://kept") if request.param == "there" else None
    return PictureFiles(PictureFormat("webp"), ("a", "b", "c"), about, remote)


def test_what_is_written_is_known_again_and_what_is_harmed_is_not(files, tmp_path):
    hashes = {}
    for prompt, pixels in enumerate(PIXELS):
        file = files.encode(prompt, pixels)
        files.write(tmp_path, prompt, file)
        hashes[files.name(prompt)] = file.sha256
    again = PictureFiles(files.format, files.stems, about, files.remote)
    assert again.whole(tmp_path, hashes) == {"a.webp", "b.webp", "c.webp"}
    assert again.hashes(tmp_path, list(hashes)) == hashes
    again.images(tmp_path).write("b.webp", again.images(tmp_path).read("b.webp")[::-1])
    again.images(tmp_path).keep(["a.webp", "b.webp"])
    faults = dict(again.images(tmp_path).faults(hashes))
    assert faults == {"b.webp": "damaged", "c.webp": "missing"}
    assert again.whole(tmp_path, hashes) == {"a.webp"}


@pytest.mark.parametrize("line", ["", "[1]", '{"name": "a.webp", "seal": "0"}', "\x00", "[" * 5_000])
def test_a_damaged_receipt_is_none_and_its_picture_is_read(files, tmp_path, line):
    for prompt, pixels in enumerate(PIXELS):
        files.write(tmp_path, prompt, files.encode(prompt, pixels))
    known = files.known(tmp_path, ["a.webp", "b.webp"])
    lines = (tmp_path / LOG).read_text().splitlines()
    (tmp_path / LOG).write_text("\n".join([line, *lines[1:]]) + "\n{")
    again = PictureFiles(files.format, files.stems, about, files.remote)
    read = again.known(tmp_path, ["a.webp", "b.webp"])
    assert [(one.sha256, one.width, one.blank) for one in read] == [(one.sha256, 8, False) for one in known]
    assert read[1].pixels != known[1].pixels, "where one is lost, all are known by what a reader sees"
    again.write(tmp_path, 0, again.encode(0, PIXELS[0]))
    assert PictureFiles(files.format, files.stems, about, files.remote).known(tmp_path, ["a.webp"]) == known[:1]


def test_a_writer_writes_each_folder_its_own_kind_and_a_group_knows_them(files, tmp_path):
    mine, plain, other = (tmp_path / name for name in ("mine", "plain", "other"))
    kinds = {mine: files}
    group = begun(tmp_path, "identity", ["mine", "plain", "other"], ["mine", "plain", "other"])
    with group.writing(), writer(group.written, kinds) as out:
        out.write(PIXELS, [[(plain, i), (mine, i), (other, i)] for i in range(3)])
        out.drain()
    assert (plain / "images/00001.png").samefile(other / "images/00001.png")
    assert (plain / "images/00001.png").read_bytes() == PLAIN.encode(1, PIXELS[1]).content
    assert files.images(mine).read("b.webp") == files.encode(1, PIXELS[1]).content
    whole = {(folder, i) for folder in (mine, plain, other) for i in range(3)}
    assert group.whole(kinds) == whole
    files.images(mine).write("b.webp", b"harmed")
    assert group.whole(kinds) == whole - {(mine, 1)}
