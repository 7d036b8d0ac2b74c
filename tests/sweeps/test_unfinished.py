"""What a killed group leaves of itself, however it was left."""

from pathlib import Path

import pytest

from common.files import sha256_file
from sweeps.unfinished import Unfinished, begun, belonged, unfinished


@pytest.fixture
def group(tmp_path: Path) -> Unfinished:
    """A group of two folders, a picture of each written."""
    for folder in ("shared/a", "cells/b"):
        (tmp_path / folder / "images").mkdir(parents=True)
        (tmp_path / folder / "images" / "00001.png").write_text(folder)
    begins = again(tmp_path)
    with begins.writing():
        for folder in ("shared/a", "cells/b"):
            begins.written((tmp_path / folder, 1), sha256_file(tmp_path / folder / "images" / "00001.png"))
    return begins


def again(run: Path, identity: str = "identity") -> Unfinished:
    return begun(run, identity, ["shared/a", "cells/b"], ["shared/a", "cells/b"])


def test_what_was_written_is_known_again(tmp_path, group):
    assert [found.folders for found in unfinished(tmp_path)] == [["shared/a", "cells/b"]]
    assert again(tmp_path).whole() == {(tmp_path / "shared/a", 1), (tmp_path / "cells/b", 1)}


@pytest.mark.parametrize("harm", ["gone", "cut", "other"])
def test_a_picture_that_is_not_what_was_written_is_not_there(tmp_path, group, harm):
    picture = tmp_path / "cells/b/images/00001.png"
    picture.unlink() if harm == "gone" else picture.write_text({"cut": "cell", "other": "cells/x"}[harm])
    assert again(tmp_path).whole() == {(tmp_path / "shared/a", 1)}


@pytest.mark.parametrize("line", ['[1, 2, "ab', '[9, 2, "ab"]\n', '{"no": "line"}\n', "[1]\n", '["a", "b", "c"]\n'])
def test_a_torn_line_is_left_out_and_the_next_is_whole(tmp_path, group, line):
    with group.path.open("a") as file:
        file.write(line)
    found = again(tmp_path)
    assert len(found.whole()) == 2
    (tmp_path / "cells/b/images/00002.png").write_text("two")
    with found.writing():
        found.written((tmp_path / "cells/b", 2), sha256_file(tmp_path / "cells/b/images/00002.png"))
    assert (tmp_path / "cells/b", 2) in again(tmp_path).whole()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"a": 1}\n', b"[1, 2]\n", b'{"folders": ["shared/a"'])
def test_a_damaged_file_is_no_group_and_is_begun_anew(tmp_path, group, content):
    group.path.write_bytes(content)
    assert unfinished(tmp_path) == []
    assert again(tmp_path).whole() == set()
    assert len(unfinished(tmp_path)) == 1


def test_another_group_that_begins_is_the_only_one(tmp_path, group):
    other = again(tmp_path, "another")
    assert [found.path for found in unfinished(tmp_path)] == [other.path]
    other.end()
    assert not (tmp_path / "states").exists()


def test_who_belonged_together_is_kept_for_what_is_lost_later(tmp_path, group):
    group.end()
    both = ["shared/a", "cells/b"]
    assert belonged(tmp_path) == {"shared/a": both, "cells/b": both}
    begun(tmp_path, "alone", ["cells/b"], ["cells/b"]).end()
    assert belonged(tmp_path) == {"shared/a": both}, "the latest that made a folder's pictures"
    begun(tmp_path, "more", ["shared/a", "cells/c"], ["cells/c"]).end()
    assert belonged(tmp_path) == {"shared/a": both, "cells/c": ["shared/a", "cells/c"]}


@pytest.mark.parametrize("content", ["", "[]", '{"groups": [1], "of": {}}', '{"groups": [], "of": {"a": 3}}'])
def test_where_that_is_damaged_everything_is_made_by_itself(tmp_path, content):
    (tmp_path / "groups.json").write_text(content)
    assert belonged(tmp_path) == {}
