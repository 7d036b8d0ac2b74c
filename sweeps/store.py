"""A run folder: one writer, whole files, nothing of another sweep in it.

runs/<name>/sweep.yaml       the spec
            prompts/         the file of prompts that it names, if it does
            timeline.jsonl   the seconds of its stages, a line a stage, appended as stages end
            cells/<id>/      record.json (a cell is done when it is there), tree, plan, scores, images
            shared/<key>/    conditioning; baselines' pictures and their scores: computed once
"""

import importlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from common.errors import UserError
from common.files import (
    GoneError,
    atomic_write,
    local_folder,
    make_folder,
    parse_json,
    remove_leftovers,
    sha256_text,
    still_there,
    watched,
)
from generators.model_entry import models
from sweeps.record import RECORD, SCHEMA_VERSION, SPEC, Record, read_record, write_record
from sweeps.spec import SweepSpec, beside, make_spec, read_mapping

# which Windows lacks, whose own locks nothing mounts away
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

LOCK = "lock"
HOLDER = ".holder.json"  # beside the lock, because Windows lets nobody read a locked file
SPEC_HASH = "# sha256: "  # begins the first line of a spec's file
PROMPTS = "prompts"  # the folder of a run's own copy of a prompts file
MOUNTS = Path("/proc/mounts")
NETWORK = ("nfs", "lustre")
LOCAL_LOCKS = {"nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock"}
# Axes to which values may be added in a run: seeds are none, as the seed control of one is the baseline of the next.
ADDED = (
    *("model", "dataset", "steps", "scheduler", "guidance", "guidance_interval", "tau", "savings"),
    *("strategy", "features", "schedule", "combiner", "noise", "denoiser_cache", "variations"),
)


class Store:
    """A run folder that this process holds; made by `open_store`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self, cell_id: str, on_damage: Callable[[str], None]) -> Record | None:
        """Return the record of a cell that is done; None if it is not, or if it is damaged, which `on_damage` hears."""
        path = self.folder / "cells" / cell_id / RECORD
        if not os.path.lexists(path):
            return None
        try:
            record = read_record(path)
        except UserError as error:
            on_damage(error.message)
            return None
        return record if record.status == "done" else None

    def save(self, record: Record) -> None:
        """Write a record: its cell is done, or failed."""
        write_record(record.folder(self.folder) / RECORD, record)


def refuse_others(folder: Path, identities: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a folder whose records are of other weights, prompts or algorithm versions than a sweep's cells.

    `identities` are those of the cells and references, by id.

    Raises:
        UserError: the folder has a record of another cell; what differs is named.
    """
    for path in sorted(folder.glob(f"cells/*/{RECORD}")):
        if path.parent.name not in identities:
            raise UserError(
                f"{folder} was made with other {_differences(path, identities.values())} "
                f"(cell {path.parent.name} is none of this sweep's)",
                "choose another --name, or move that folder away",
            )


def _differences(path: Path, identities: Iterable[Mapping[str, Any]]) -> str:
    """Return the names by which a record's identity differs from the nearest of these."""
    try:
        theirs = _flat(read_record(path).identity)
    except UserError:
        return "weights, prompts or version of the algorithm"
    ours = [_flat(identity) for identity in identities]
    fewest = min(([name for name in {**theirs, **one} if theirs.get(name) != one.get(name)] for one in ours), key=len)
    return ", ".join(fewest)


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as one, by their inmost names."""
    parts = [
        _flat({f"{name} {key}" if name != "settings" else key: inner for key, inner in value.items()})
        if isinstance(value, Mapping)
        else {name: value}
        for name, value in identity.items()
    ]
    return {name: value for part in parts for name, value in part.items()}


@contextmanager
def open_store(folder: Path, spec: SweepSpec) -> Iterator[Store]:
    """Hold a run folder, new or of the same sweep, until the block ends or the process dies.

    Raises:
        UserError: a live process holds it; it is another sweep's, another version's, or no run folder; or it is
            moved or removed while it is held.
    """
    refuse_another(folder, spec)
    make_folder(folder)
    was_run = (folder / SPEC).exists()
    with watched(folder), _held(folder):
        if was_run and not (folder / SPEC).exists():  # locking makes the folder of a lock again
            raise GoneError(folder)
        refuse_another(folder, spec)  # again: another process may have written it before this one held it
        remove_leftovers(folder)
        if not (folder / SPEC).exists() or not same_text(saved_spec(folder), spec):  # cells are added
            save_spec(folder, spec)
        yield Store(folder)


def save_spec(folder: Path, spec: SweepSpec) -> None:
    """Write the spec of a folder's content, so that it says the same from anywhere: prompts files lie beside it."""
    content = {"schema_version": SCHEMA_VERSION, **spec.model_dump(mode="json"), "model": _located(spec.model)}
    if spec.prompts is not None and spec.prompts.is_file():
        content["prompts"] = f"{PROMPTS}/{spec.prompts.name}"
        atomic_write(folder / content["prompts"], spec.prompts.read_bytes())
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    atomic_write(folder / SPEC, f"{SPEC_HASH}{sha256_text(text)}\n{text}")


def saved_spec(folder: Path) -> SweepSpec:
    """Return the spec that a run folder was made with.

    Raises:
        UserError: the folder has none, or it is another version's.
    """
    if not (folder / SPEC).is_file():
        hint = "give a folder that `bench sweep` has written"
        raise UserError(f"{folder} is not a run folder: it has no {SPEC}", hint)
    content = read_mapping(folder / SPEC)
    first, _, text = (folder / SPEC).read_text(encoding="utf-8", errors="replace").partition("\n")
    if first.startswith(SPEC_HASH) and first.removeprefix(SPEC_HASH) != sha256_text(text):
        raise UserError(
            f"{folder / SPEC} is not what the sweep wrote: it was damaged or edited",
            "put it back; or delete its first line, if it says what you mean",
        )
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{folder} was written by another version of reusebench (schema {version}, here {SCHEMA_VERSION})",
            "choose another --name, or use the version that made it",
        )
    return make_spec([beside(folder, content, of_run=True)])


def _located(names: Iterable[str]) -> list[str]:
    """Return models' names, checkpoint folders by their absolute paths."""
    known = models()
    return [str(Path(name).resolve()) if name not in known and Path(name).is_dir() else name for name in names]


def same_text(saved: SweepSpec, spec: SweepSpec) -> bool:
    """Return True where two specs say the same of their pictures, word by word but for models' folders."""
    return _compared(saved) == _compared(spec)


def refuse_another(folder: Path, spec: SweepSpec) -> None:
    """Raise UserError if a folder is another sweep's, another version's, no run folder and not empty, or an address.

    A spec that says more on an axis than the folder's own is not another sweep's: its cells are added; nor is any where
    nothing was made yet.
    """
    if not (local_folder(folder) / SPEC).exists():
        if folder.exists() and any(entry.name != LOCK and not entry.name.startswith(".") for entry in folder.iterdir()):
            raise UserError(f"{folder} is not a run folder and not empty", "choose another --name or --out")
        return
    saved, new = (_compared(one) for one in (saved_spec(folder), spec))
    differs = [
        name
        for name in {**new, **saved}
        if new.get(name) != saved.get(name) and not (name in ADDED and _more(saved.get(name), new.get(name)))
    ]
    if differs and _begun(folder):
        there = _text(saved.get(differs[0], []))
        add = f", or name those too to add cells: {there}" if differs[0] in ADDED and saved.get(differs[0]) else ""
        raise UserError(
            f"{folder} holds another sweep: it differs in {', '.join(differs)}",
            f"choose another --name (there, {differs[0]} is {there}){add}",
        )


def _compared(spec: SweepSpec) -> dict[str, Any]:
    return {**spec.changes_result(), "model": _located(spec.model)}


def _more(saved: Any, new: Any) -> bool:
    """Return whether an axis has all values that it had, in their order, and others: nothing is the model's default."""
    return bool(saved) and bool(new) and [value for value in new if value in saved] == saved


def _begun(folder: Path) -> bool:
    """Return whether anything was made in a run folder."""
    return any(True for place in ("cells", "shared") for _ in (folder / place).glob("*/*"))


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "not given" if isinstance(value, list) else str(value)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock, holder = FileLock(folder / LOCK, thread_local=False), folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        hint = "wait until it ends, or choose another --name"
        raise UserError(f"{folder} is in use by {_holder_text(holder)}", hint) from None
    except NotImplementedError:
        hint = "write to another disk and copy the folder there; on Lustre mount with `flock`"
        raise UserError(f"the disk that holds {folder} has no locks", hint) from None
    except OSError as error:
        hint = "see its permissions; on NFS the server's lock service has to run"
        raise UserError(f"cannot lock {folder / LOCK}: {error.strerror}", hint) from error
    try:
        _check_lock(folder)
    except BaseException:
        lock.release()
        raise
    try:
        still_there(folder)
        about = {"pid": os.getpid(), "host": platform.node(), "since": datetime.now(UTC).isoformat()}
        atomic_write(holder, json.dumps(about))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
        if [entry.name for entry in folder.glob("*")] == [LOCK]:  # made by locking: nothing else was ever written
            with suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()


def _check_lock(folder: Path) -> None:
    """Raise a UserError where the lock that this process holds would keep nobody out.

    NFS and Lustre may be mounted so that locks hold on one machine alone, or not at all. There the file that says who
    holds the folder is all that another machine can go by.
    """
    if fcntl is None:
        return
    with (folder / LOCK).open("r+b") as second:
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pass
        else:
            hint = "write to another disk and copy the folder there"
            raise UserError(f"the locks of the disk that holds {folder} do not hold", hint)
    try:
        host = json.loads((folder / HOLDER).read_text(encoding="utf-8"))["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if host != platform.node() and (mount := _locks_one_machine(folder)):
        raise UserError(
            f"{folder} is in use by {_holder_text(folder / HOLDER)}, or was when that ended; locks on {mount} hold on "
            "one machine alone",
            f"if that process is gone, delete {folder / HOLDER}; better mount with locks (docs/scaling.md)",
        )


def _locks_one_machine(folder: Path) -> str | None:
    """Return the mount point of a network file system whose locks no other machine sees; None where they are seen."""
    try:
        mounts = [line.split()[1:4] for line in MOUNTS.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return None
    place = folder.resolve()
    above = [mount for mount in mounts if len(mount) == 3 and place.is_relative_to(mount[0].replace("\\040", " "))]
    if not above:
        return None
    point, kind, options = max(above, key=lambda mount: len(mount[0]))
    return point if kind.startswith(NETWORK) and LOCAL_LOCKS & {*options.split(",")} else None


def _holder_text(holder: Path) -> str:
    try:
        who: dict[str, Any] = parse_json(holder.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since'][:19].replace('T', ' ')} UTC"
    except (OSError, ValueError, KeyError):
        return "another process"
