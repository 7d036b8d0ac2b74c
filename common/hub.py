"""Files on the Hugging Face hub: the commit that is meant, what it holds, what of that is here, getting the rest."""

import glob
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from common.errors import UserError
from common.files import sha256_file, split_revision
from common.hub_errors import AGAIN, free_bytes, named, no_room, refused
from common.progress import current_listener
from common.units import size

LOG = logging.getLogger("reusebench")
BYTES = "B"  # the unit of a download's progress
MAIN = "main"
SHORTEST = 7  # characters by which a commit is called
BLOBS = "blobs"  # the folder of the hub's cache whose files are named by their hashes

Rank = Callable[[Path], int]  # of a snapshot's folder, how complete it is


@dataclass(frozen=True)
class RemoteFile:
    """A file's size in bytes, and its hash as the hub tells it: SHA-256 of large files, git's of small ones."""

    size: int
    hash: str


@dataclass(frozen=True)
class Snapshot:
    """One commit of a repository.

    Attributes:
        files: by their names; those that are here, where the hub did not tell.
        told: whether the hub did.
    """

    hub_id: str
    commit: str
    files: Mapping[str, RemoteFile]
    told: bool = True

    def here(self, name: str) -> Path | None:
        """Return where a file is in the hub's cache; None if it is not there."""
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.hub_id, name, revision=self.commit)
        return Path(path) if isinstance(path, str) else None

    def missing(self, names: Iterable[str]) -> dict[str, int]:
        """Return those of these files that are not here, and their sizes."""
        return {name: self.files[name].size for name in names if self.here(name) is None}


_settled: dict[str, Snapshot] = {}


def settled(source: str) -> bool:
    """Return whether this process has settled already which commit of a repository is meant."""
    return source in _settled


def snapshot(source: str, rank: Rank) -> Snapshot:
    """Return the commit that is meant: the hub's, or where the hub cannot tell, the most complete one that is here.

    It stays the same while this process runs.

    Args:
        source: ``OWNER/NAME``, or ``OWNER/NAME@REVISION`` with a branch, tag or commit.
        rank: how complete a snapshot's folder is; of equals the newest counts.

    Raises:
        UserError: the hub refuses, or cannot be reached, and nothing is here.
    """
    if source not in _settled:
        try:
            _settled[source] = told(source)
        except UserError as refusal:
            found = cached(source, rank)
            if not found or named(refusal, "RevisionNotFoundError"):
                raise
            if not named(refusal, "OfflineModeIsEnabled"):
                LOG.info("%s; %s is used, of which there are files here", refusal.message, _at(found[0]))
            _settled[source] = found[0]
    return _settled[source]


def told(source: str) -> Snapshot:
    """Return the commit that a repository or a revision of it is at on the hub now.

    Raises:
        UserError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    hub_id, revision = split_revision(source)
    try:
        with _quiet():
            about = HfApi().model_info(hub_id, revision=revision, files_metadata=True)
    except Exception as error:  # network, hub and library errors share no base class
        raise refused(error, source) from error
    files = {
        file.rfilename: RemoteFile(file.size or 0, file.lfs.sha256 if file.lfs else str(file.blob_id))
        for file in about.siblings or ()
    }
    return Snapshot(hub_id, str(about.sha), files)


def cached(source: str, rank: Rank) -> list[Snapshot]:
    """Return what the hub's cache has of a repository, the most complete snapshot first, and of equals the newest.

    Of a revision, only what the cache knows as such. Without one, what was downloaded for other branches is left out,
    and the last one that was called main comes before its equals.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    hub_id, revision = split_revision(source)
    # `scan_cache_dir` leaves out repositories with a branch whose new commit never arrived, as where a download was cut
    repo = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")
    branches = {
        path.relative_to(repo / "refs").as_posix(): path for path in (repo / "refs").rglob("*") if path.is_file()
    }
    commits = {name: path.read_text(encoding="utf-8").strip() for name, path in branches.items()}
    others = {commit for name, commit in commits.items() if name != MAIN} - {commits.get(MAIN)}

    def meant(commit: str) -> bool:
        if revision:
            return commit == commits.get(revision) or (len(revision) >= SHORTEST and commit.startswith(revision))
        return commit not in others

    snapshots = (repo / "snapshots").iterdir() if (repo / "snapshots").is_dir() else ()
    found = [folder for folder in snapshots if meant(folder.name)]
    main = commits.get(MAIN)
    found.sort(key=lambda folder: (rank(folder), folder.name == main, folder.stat().st_mtime), reverse=True)
    return [Snapshot(hub_id, folder.name, _files(folder), told=False) for folder in found]


def listed(known: Snapshot) -> Mapping[str, RemoteFile] | None:
    """Return a commit's files as the hub's cache remembers them from an earlier download; None if it does not."""
    try:
        from huggingface_hub import get_cached_repo_tree  # of 2026
        from huggingface_hub.errors import CachedRepoTreeNotFoundError
    except ImportError:
        return None
    try:
        tree = get_cached_repo_tree(known.hub_id, revision=known.commit)
    except CachedRepoTreeNotFoundError:
        return None
    return {file.path: RemoteFile(file.size, file.lfs.sha256 if file.lfs else file.blob_id) for file in tree}


def hub_file(source: str, name: str, rank: Rank) -> Path:
    """Return one file of a repository, fetched if it is not here.

    Raises:
        UserError: as `snapshot`, or there is no such file.
    """
    from huggingface_hub import hf_hub_download

    known = snapshot(source, rank)
    if path := known.here(name):
        return path
    if name not in known.files and known.told:
        raise UserError(f"{source} holds no {name} on the Hugging Face hub", "look at its files there")
    try:
        with _quiet():
            return Path(hf_hub_download(known.hub_id, name, revision=known.commit))
    except Exception as error:  # as above
        raise refused(error, source) from error


def fetch(source: str, names: Collection[str], rank: Rank) -> Path:
    """Return the folder of a repository's snapshot with these files in it; those that are not here are fetched.

    What is fetched is logged before and after, and reported to the listener of `common.progress`.

    Raises:
        UserError: as `snapshot`, or the files do not fit on the disk, or the hub does not give them.
    """
    known = snapshot(source, rank)
    if missing := known.missing(names):
        _fit(known, sum(missing.values()))
        _download(source, known, missing)
    (first, *_) = names
    path = known.here(first)
    assert path
    return path.parents[len(Path(first).parts) - 1]


def _files(snapshot_folder: Path) -> dict[str, RemoteFile]:
    """Return the files of a folder in the hub's cache: links to blobs that are named by the hub's hashes.

    Where the cache has no links a file's hash is its SHA-256, which may not be the one that the hub tells.
    """
    files: dict[str, RemoteFile] = {}
    for path in snapshot_folder.rglob("*"):
        if path.is_file():
            blob = path.resolve()
            digest = blob.name if blob.parent.name == BLOBS else sha256_file(blob)
            files[path.relative_to(snapshot_folder).as_posix()] = RemoteFile(blob.stat().st_size, digest)
    return files


def _at(known: Snapshot) -> str:
    return f"{known.hub_id} at {known.commit[:12]}"


def _fit(known: Snapshot, needed: int) -> None:
    """Raise UserError where the disk of the hub's cache has no room for so many bytes."""
    if needed > free_bytes():
        raise no_room(_at(known), needed)


def _download(source: str, known: Snapshot, missing: Mapping[str, int]) -> None:
    """Fetch files of a snapshot, telling what, how much and how fast."""
    from huggingface_hub import snapshot_download

    total, start = sum(missing.values()), time.perf_counter()
    LOG.info("downloading %s: %d files, %s", _at(known), len(missing), size(total))
    patterns = [glob.escape(name) for name in missing]
    bar = _bar(f"downloading {known.hub_id}", total)
    try:
        # by the revision's own name first, which the cache then remembers for whoever asks it by that name
        for revision in (split_revision(source)[1], known.commit):
            if known.missing(missing):  # after the first, where it has moved on meanwhile
                with _quiet():
                    snapshot_download(known.hub_id, revision=revision, allow_patterns=patterns, tqdm_class=bar)
    except Exception as error:  # as above
        raise refused(error, source) from error
    if lacking := known.missing(missing):
        raise UserError(f"the Hugging Face hub did not give {next(iter(lacking))} of {source}", AGAIN)
    seconds = max(time.perf_counter() - start, 1e-3)
    LOG.info("downloaded %s: %s in %.1f s, %s/s", _at(known), size(total), seconds, size(total / seconds))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the hub's library from telling of every try; what comes of them is told once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _bar(what: str, total: int) -> Any:
    """Return a class of progress bars for the hub's library that shows none: it reports to this thread's listener."""
    from huggingface_hub.utils.tqdm import tqdm

    listener, lock = current_listener(), Lock()
    counts = {"done": 0}

    class Bar(tqdm):  # type: ignore[misc]
        """Of the bars that a download has, the one that counts the bytes on disk is heard."""

        def __init__(self, *args: Any, **options: Any) -> None:
            name = str(options.get("name") or "")
            self.heard = options.get("unit") == BYTES and not name.endswith(".transfer")
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            if self.heard and listener:
                with lock:
                    counts["done"] = max(0, min(total, counts["done"] + int(n or 0)))
                    listener(what, counts["done"], total, BYTES)

    return Bar
