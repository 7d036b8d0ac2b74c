"""The hub's files, from a hub on loopback: what is meant, what is here, what is told, and how it fails."""

import hashlib
import logging
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub, another_process, serving_hub, use_hub

from common import hub
from common.errors import UserError
from common.progress import listening

CONTENT = bytes(range(256)) * 400
NAMES = ("model_index.json", "unet/model.safetensors")


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackHub]:
    with serving_hub() as running:
        yield running


@pytest.fixture
def here(server: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The hub, with one repository of two files, and an empty cache."""
    server.reset()
    server.revisions.clear()
    server.put("me/model", saved(tmp_path / "repo"))
    use_hub(monkeypatch, server, tmp_path / "cache")
    return server


def saved(folder: Path, content: bytes = CONTENT) -> Path:
    for name, data in zip(NAMES, (b"{}", content), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def count(folder: Path) -> int:
    """How complete a snapshot is."""
    return sum((folder / name).is_file() for name in NAMES)


def fetch(source: str = "me/model", names: tuple[str, ...] = NAMES) -> Path:
    return hub.fetch(source, names, count)


def test_files_are_fetched_once_and_their_hashes_are_the_hubs(here: LoopbackHub):
    folder = fetch()
    assert (folder / NAMES[1]).read_bytes() == CONTENT
    assert folder.name == hub.snapshot("me/model", count).commit
    assert hub.snapshot("me/model", count).files[NAMES[1]].hash == hashlib.sha256(CONTENT).hexdigest()
    given = here.given
    assert fetch() == folder
    assert here.given == given


def test_a_download_says_what_how_much_and_how_fast(here: LoopbackHub, caplog: pytest.LogCaptureFixture):
    heard: list[tuple[str, int, int, str]] = []
    with caplog.at_level(logging.INFO, "reusebench"), listening(lambda *of: heard.append(of)):
        fetch()
    begin, end = caplog.messages
    commit = hub.snapshot("me/model", count).commit[:12]
    assert begin == f"downloading me/model at {commit}: 2 files, 102 kB"
    assert end.startswith(f"downloaded me/model at {commit}: 102 kB in ")
    assert end.endswith("/s")
    assert heard[-1] == ("downloading me/model", 102402, 102402, "B")
    assert [done for _, done, _, _ in heard] == sorted(done for _, done, _, _ in heard)


def test_a_cut_connection_is_taken_up_again(here: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    here.cuts[NAMES[1]] = [30_000]
    assert (fetch() / NAMES[1]).read_bytes() == CONTENT
    assert here.given < 2 + len(CONTENT) + 30_000, "it began anew"


def fails(**settings: object) -> Callable[[LoopbackHub], object]:
    return lambda server: vars(server).update(settings)


FAULTS: dict[str, tuple[Callable[[LoopbackHub], object], str]] = {
    "gated": (fails(gated={"me/model"}), r"me/model is gated: .*licence .*accept it at .*/me/model, .*hf auth login"),
    "disabled": (fails(disabled={"me/model"}), r"me/model is disabled on the Hugging Face hub"),
    "gone": (lambda server: server.revisions.clear(), r"the Hugging Face hub shows you no model me/model"),
    "429": (fails(status=429), r"the Hugging Face hub answers 429, too many requests"),
    "429 for files": (fails(file_status=429), r"the Hugging Face hub answers 429, too many requests"),
    "500": (fails(status=500), r"the Hugging Face hub has an error of its own, 500"),
    "503 for files": (fails(file_status=503), r"the Hugging Face hub has an error of its own, 503"),
    "403": (fails(file_status=403), r"the Hugging Face hub refuses me/model: 403 .*hf auth whoami"),
    "hangs up": (fails(hang_up=True), r"the Hugging Face hub \(127.*\) cut the connection .*files that are whole stay"),
    "cut for good": (
        fails(always_cut=1),
        r"the Hugging Face hub \(127.*\) cut the connection .*files that are whole stay",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_hub_is_one_line_of_its_own(here: LoopbackHub, fault: str):
    break_it, message = FAULTS[fault]
    break_it(here)
    with pytest.raises(UserError, match=message) as error:
        fetch()
    assert "\n" not in str(error.value)


def test_an_unknown_revision_and_an_unknown_file_are_named(here: LoopbackHub):
    with pytest.raises(UserError, match="me/model has no revision 'v2' on the Hugging Face hub"):
        fetch("me/model@v2")
    with pytest.raises(UserError, match=r"me/model holds no unet/config\.json on the Hugging Face hub"):
        hub.hub_file("me/model", "unet/config.json", count)


def test_a_hub_that_nobody_listens_at_is_out_of_reach(here: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot reach the Hugging Face hub \(127.0.0.1:9\) .*give the folder"):
        fetch()


def test_offline_says_so(here: LoopbackHub, monkeypatch: pytest.MonkeyPatch):
    another_process(monkeypatch, offline=True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE keeps from asking the Hugging Face hub"):
        fetch()


def test_a_full_disk_is_named_before_anything_is_fetched(
    here: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage, asked = namedtuple("usage", "free"), []
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or usage(90_000))
    with pytest.raises(
        UserError, match=r"needs 102 kB more in the hub's cache .*/cache, where 90 kB are free .*HF_HOME"
    ):
        fetch()
    assert here.given == 0
    assert asked[0] == tmp_path, "the cache is not there yet, its disk is"


def test_a_renamed_repository_is_followed(here: LoopbackHub):
    here.renamed["old/name"] = "me/model"
    assert (fetch("old/name") / NAMES[1]).read_bytes() == CONTENT


def test_revisions_are_told_apart(here: LoopbackHub, tmp_path: Path):
    here.put("me/model", saved(tmp_path / "other", b"other"), "refs/pr/1", "1" * 40)
    assert (fetch("me/model@refs/pr/1") / NAMES[1]).read_bytes() == b"other"
    assert (fetch("me/model@" + "1" * 40) / NAMES[1]).read_bytes() == b"other"
    assert (fetch() / NAMES[1]).read_bytes() == CONTENT


def test_offline_the_newest_complete_snapshot_is_used(
    here: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Not another branch's, and not the newest commit, of which only the index is here."""
    old = fetch().name
    here.put("me/model", saved(tmp_path / "branch", b"branch"), "branch")
    fetch("me/model@branch")
    another_process(monkeypatch)
    here.put("me/model", saved(tmp_path / "moved", b"moved"), commit="2" * 40)
    hub.hub_file("me/model", NAMES[0], count)
    assert hub.snapshot("me/model", count).commit == "2" * 40
    another_process(monkeypatch, offline=True)
    assert fetch().name == old
    another_process(monkeypatch)
    here.status = 503
    with caplog.at_level(logging.INFO, "reusebench"):
        assert fetch().name == old
    assert "an error of its own, 503" in caplog.text
    assert f"me/model at {old[:12]} is used" in caplog.text
