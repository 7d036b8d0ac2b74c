"""Downloads from a real server on loopback: cut, continued, wrong, missing, out of reach."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cutting_server import CuttingServer, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from generators.downloads import download

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[CuttingServer]:
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "prompts.npy"


def part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{SHA256[:8]}.part")


def left(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir())


def test_a_file_is_whole_and_alone(server, path):
    download(server.url, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert left(path) == [path]
    assert server.asked == [None]


def test_a_cut_connection_is_taken_up_where_it_was_cut(server, path):
    server.cuts = [1000, 2000]
    download(server.url, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=3000-"]


def test_where_a_try_brings_nothing_the_next_call_continues(server, path):
    server.cuts = [1000, 0]
    with pytest.raises(UserError, match=r"cut after 1,000 bytes \(run the same command again: it continues"):
        download(server.url, path, SHA256)
    assert left(path) == [part(path)]
    assert part(path).read_bytes() == CONTENT[:1000]
    server.asked.clear()
    download(server.url, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert left(path) == [path]
    assert server.asked == ["bytes=1000-"]


def test_a_redirect_keeps_the_range(server, path):
    server.cuts = [1000]
    download(server.url.replace("prompts.npy", "moved"), path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, len(CONTENT) // 2), max_size=6),
    ranges=st.booleans(),
    former=st.sampled_from([b"", CONTENT[:700], CONTENT[:-1], CONTENT, CONTENT + b"more", b"something else"]),
)
def test_whatever_is_cut_and_whatever_lay_there_the_file_comes_out(server, cuts, ranges, former):
    server.cuts, server.ranges = list(cuts), ranges
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.npy"
        part(path).write_bytes(former)
        for _ in range(len(cuts) + 1):
            try:
                download(server.url, path, SHA256)
                break
            except UserError as error:
                assert "it continues" in str(error)
                assert not path.exists()
        assert path.read_bytes() == CONTENT
        assert left(path) == [path]


def test_a_wrong_file_is_refused_and_removed(server, path):
    server.content = b"<html>log in first</html>"
    with pytest.raises(UserError, match=f"another file than the one described: its SHA-256 is not {SHA256}"):
        download(server.url, path, SHA256)
    assert left(path) == []


def test_a_wrong_file_does_not_replace_what_was_there(server, path):
    path.parent.mkdir()
    path.write_bytes(b"before")
    server.content = b"wrong"
    with pytest.raises(UserError, match="another file"):
        download(server.url, path, SHA256)
    assert path.read_bytes() == b"before"
    server.content = CONTENT
    download(server.url, path, SHA256)
    assert path.read_bytes() == CONTENT


def test_the_beginning_of_another_file_is_not_continued_for_ever(server, path):
    path.parent.mkdir()
    part(path).write_bytes(b"x" * 1000)
    download(server.url, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize(
    ("status", "hint"), [(404, f"put it into .* as prompts.npy; its SHA-256 is {SHA256}"), (503, "try again later")]
)
def test_a_refusal_says_what_to_do_and_keeps_what_is_held(server, path, status, hint):
    path.parent.mkdir()
    part(path).write_bytes(CONTENT[:1000])
    server.status = status
    with pytest.raises(UserError, match=rf"the server answers {status} .*{hint}"):
        download(server.url, path, SHA256)
    assert part(path).read_bytes() == CONTENT[:1000]
    assert not path.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/prompts.npy", "http://nowhere.invalid/prompts.npy"])
def test_offline_says_how_to_go_on(path, url):
    with pytest.raises(
        UserError, match=f"cannot reach .*offline, get the file elsewhere and put it into {path.parent}"
    ):
        download(url, path, SHA256)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "our lab's disk", ""])
def test_only_web_addresses_are_fetched(path, url):
    with pytest.raises(UserError, match="is no web address"):
        download(url, path, SHA256)
