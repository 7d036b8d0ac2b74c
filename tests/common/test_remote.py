"""Folders behind addresses: whole objects, listings that are fresh, and errors that say what to do."""

import sys

import fsspec
import pytest

from common.errors import UserError
from common.remote import RemoteFolder, is_url, md5


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.pipe_file("/elsewhere/mine", b"mine")
    yield system
    for path in ("/pictures", "/elsewhere"):
        if system.exists(path):
            system.rm(path, recursive=True)


def test_what_is_written_is_listed_read_and_removed(memory):
    folder = RemoteFolder("memory://pictures/night/")
    assert folder.list() == {}
    assert folder.read("images/a.png") is None
    folder.write("images/a.png", b"one")
    folder.write("images/a.png", b"other")
    folder.write("table", b"")
    assert folder.list() == {"images/a.png": (5, None), "table": (0, None)}
    assert folder.read("images/a.png") == b"other"
    folder.remove("table")
    assert list(folder.list()) == ["images/a.png"]
    assert memory.cat_file("/elsewhere/mine") == b"mine"


def test_where_a_store_does_not_write_whole_objects_they_are_written_beside(tmp_path, monkeypatch):
    folder = RemoteFolder(f"local://{tmp_path}/night")
    folder.write("images/a.png", b"one")

    def cut(system, path, value, **_):
        system.open(path, "wb").write(value[:1])
        raise OSError("the connection is gone")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.pipe_file", cut)
    with pytest.raises(UserError, match="the connection is gone"):
        folder.write("images/a.png", b"other")
    assert {path.name: path.read_bytes() for path in (tmp_path / "night/images").iterdir()} == {"a.png": b"one"}


@pytest.mark.parametrize(
    ("raised", "hint"),
    [
        (FileNotFoundError("The specified bucket does not exist"), "make the bucket"),
        (PermissionError("Access Denied"), "credentials"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate"), "credentials"),
        (OSError(28, "No space left on device"), "run the same command again"),
    ],
)
def test_errors_of_a_store_say_what_to_do_and_hold_no_secret(monkeypatch, raised, hint):
    def refused(*_, **__):
        raised.args = (*raised.args[:-1], f"{raised.args[-1]}: memory://me:hunter2pass@pictures")
        raise raised

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", refused)
    with pytest.raises(UserError) as told:
        RemoteFolder("memory://me:hunter2pass@pictures").write("a", b"one")
    assert hint in str(told.value)
    assert "hunter2pass" not in str(told.value)
    assert "cannot write memory://***@pictures/a" in told.value.message


def test_a_package_that_is_not_here_is_named_by_our_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=r"pip install 'reusebench\[gcs\]'"):
        RemoteFolder("gs://bucket/night").list()
    with pytest.raises(UserError, match="knows no nosuch://"):
        RemoteFolder("nosuch://bucket/night").list()


def test_hashes_that_stores_list_are_md5():
    from common.remote import _md5

    assert _md5({"ETag": f'"{md5(b"a")}"'}) == md5(b"a")
    assert _md5({"ETag": f'"{md5(b"a")}-2"'}) is None, "of several parts it is another hash"
    assert _md5({"md5Hash": "DMF1ucDxtqgxw5niaXcmYQ=="}) == md5(b"a")
    assert _md5({}) is None


def test_a_drive_is_no_address():
    assert [is_url(text) for text in ("s3://b", "memory://b", "C:/b", "C:\\b", "runs/a")] == [True, True, *[False] * 3]
