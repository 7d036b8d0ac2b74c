"""What to tell where the Hugging Face hub refuses, cannot be reached, or its files cannot be kept: a line for each."""

import errno
import shutil
from pathlib import Path

from common.errors import NotHereError, UserError
from common.files import split_revision
from common.units import size

AGAIN = "run the same command again: files that are whole stay"
TOO_MANY, SERVER_ERRORS, UNKNOWN = 429, 500, (401, 404)
# What HTTP libraries call it. The hub's library has used three of them, so that no class is named here.
CUT = {"RemoteProtocolError", "ReadError", "IncompleteRead", "ChunkedEncodingError"}
SILENT = {"ConnectError", "ConnectionError", "TimeoutException", "TimeoutError", "Timeout", "ProxyError"}
OFFLINE = "OfflineModeIsEnabled"
NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
NO_LEAVE = {errno.EACCES, errno.EPERM, errno.EROFS}


def refused(error: BaseException, source: str) -> UserError:
    """Return what to tell of an error that the hub's library raised on the way to a repository's files."""
    from huggingface_hub import constants

    hub_id, revision = split_revision(source)
    page = f"{constants.ENDPOINT}/{hub_id}"
    by_class = {
        "GatedRepoError": (
            f"{hub_id} is gated: the Hugging Face hub gives its files to those who accepted its licence",
            f"accept it at {page}, then run: hf auth login",
        ),
        "DisabledRepoError": (f"{hub_id} is disabled on the Hugging Face hub", f"{page} may say why; use another copy"),
        "RevisionNotFoundError": (
            f"{hub_id} has no revision {revision!r} on the Hugging Face hub",
            f"branches, tags and commits are listed at {page}/tree/main",
        ),
        "RepositoryNotFoundError": _unknown(hub_id),
        "RemoteEntryNotFoundError": (f"{hub_id} lacks a file on the Hugging Face hub", f"look at {page}/tree/main"),
        OFFLINE: (
            f"{source} is not here in full, and HF_HUB_OFFLINE keeps from asking the Hugging Face hub",
            "unset HF_HUB_OFFLINE, or download it elsewhere and give the folder in its place",
        ),
    }
    for name, (message, hint) in by_class.items():
        if named(error, name):
            return (NotHereError if name == OFFLINE else UserError)(message, hint)
    return _failed(error, source)


def _failed(error: BaseException, source: str) -> UserError:
    """Return what to tell where nothing is wrong with the repository, but on the way."""
    from huggingface_hub import constants

    elsewhere = "or download it elsewhere and give the folder in its place"
    host, causes = constants.ENDPOINT.partition("://")[2], _causes(error)
    for status in (getattr(getattr(cause, "response", None), "status_code", None) for cause in causes):
        if status == TOO_MANY:
            return UserError(
                f"the Hugging Face hub answers 429, too many requests, for {source}",
                f"wait some minutes; hf auth login raises the limit. Then {AGAIN}",
            )
        if status and status >= SERVER_ERRORS:
            return UserError(
                f"the Hugging Face hub has an error of its own, {status}, for {source}",
                f"wait some minutes, then {AGAIN}",
            )
        if status in UNKNOWN:
            return UserError(*_unknown(split_revision(source)[0]))
        if status:
            return UserError(f"the Hugging Face hub refuses {source}: {status}", "check your token: hf auth whoami")
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if kinds & CUT or any("Consistency check failed" in str(cause) for cause in causes):
        return UserError(f"the Hugging Face hub ({host}) cut the connection while {source} was fetched", AGAIN)
    if kinds & SILENT:
        return NotHereError(
            f"cannot reach the Hugging Face hub ({host}) for {source}: {_line(causes[0])}",
            f"check the network, {elsewhere}",
        )
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return no_room(source, None)
        if isinstance(cause, OSError) and cause.errno in NO_LEAVE:
            return UserError(
                f"{source} cannot be kept in {constants.HF_HUB_CACHE}: {cause.strerror}",
                "set HF_HOME to a folder that can be written",
            )
    return UserError(f"cannot fetch {source} from the Hugging Face hub: {_line(error)}", f"check the name, {elsewhere}")


def _unknown(hub_id: str) -> tuple[str, str]:
    """Return what to tell of a repository that is not there; the hub says the same of private and some gated ones."""
    from huggingface_hub import constants

    page = f"{constants.ENDPOINT}/{hub_id}"
    hint = f"check the name; if {page} asks for it, accept the licence there and run: hf auth login"
    return f"the Hugging Face hub shows you no model {hub_id}", hint


def named(error: BaseException, name: str) -> bool:
    """Return whether an error is of a class of that name, or its cause is; the library's versions nest them apart."""
    return any(kind.__name__ == name for cause in _causes(error) for kind in type(cause).__mro__)


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it came from, the innermost first: libraries say the least at the top."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return chain[::-1]


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def no_room(what: str, needed: int | None) -> UserError:
    """Return what to tell where files do not fit on the disk that the hub's cache is on."""
    from huggingface_hub import constants

    more = f"needs {size(needed)} more" if needed else "does not fit"
    return UserError(
        f"{what} {more} in the hub's cache {constants.HF_HUB_CACHE}, where {size(free_bytes())} are free",
        "free some space on that disk, or set HF_HOME to a folder on another",
    )


def free_bytes() -> int:
    """Return what is free on the disk of the hub's cache, which need not be there yet."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE).resolve()
    return shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free
