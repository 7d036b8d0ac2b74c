"""Files from the network: checked, whole or absent, and continued where they were cut."""

from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from common.errors import UserError
from common.files import CHUNK, atomic_path, sha256_file

SECONDS = 30
SCHEMES = ("http", "https")
PARTIAL, NO_SUCH_RANGE = 206, 416  # HTTP's answers to a request for the rest of a file
LATER = (408, 425, 429, 500, 502, 503, 504)


def download(url: str, path: Path, sha256: str) -> None:
    """Put the file at `url` into `path`.

    What arrives lies in ``.NAME.HASH.part`` beside `path`. A cut connection is taken up again while every try brings
    more; where one brings nothing, the part stays, and the next call continues it (HTTP's ``Range``). It becomes
    `path` only with the right hash.

    Args:
        sha256: of the whole file, in hex.

    Raises:
        UserError: the server is out of reach, has no such file, or gives another one, which is removed.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise UserError(f"{url} is no web address", _by_hand(path, sha256))
    partial = path.with_name(f".{path.name}.{sha256[:8]}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    former = held = _held(partial)
    while not _continue(url, partial, path, sha256):
        if _held(partial) <= held:
            raise UserError(
                f"the connection to {_host(url)} was cut after {_held(partial):,} bytes",
                "run the same command again: it continues",
            )
        held = _held(partial)
    if sha256_file(partial) == sha256:
        with atomic_path(path) as beside:
            partial.replace(beside)
        return
    partial.unlink()
    if former:  # it may have been the beginning of something else
        download(url, path, sha256)
        return
    raise UserError(
        f"{url} gave another file than the one described: its SHA-256 is not {sha256}",
        "it was removed; a proxy or a login page may stand in between: look at the address in a browser",
    )


def _continue(url: str, partial: Path, path: Path, sha256: str) -> bool:
    """Ask for what is not held yet, and keep what comes; False if the connection was cut before its end."""
    held = _held(partial)
    try:
        answer = _ask(url, held)
    except HTTPError as error:
        error.close()
        if held and error.code == NO_SUCH_RANGE:  # all of it is held, or more: the hash will tell
            return True
        hint = "try again later" if error.code in LATER else _by_hand(path, sha256)
        raise UserError(f"{url}: the server answers {error.code} {error.reason}", hint) from error
    except (URLError, OSError, HTTPException) as error:
        raise UserError(
            f"cannot reach {_host(url)}: {_reason(error)}",
            f"connect and run the same command again; offline, {_by_hand(path, sha256)}",
        ) from error
    with answer:
        length, came = answer.headers.get("Content-Length"), 0
        onward = answer.status == PARTIAL and answer.headers.get("Content-Range", "").startswith(f"bytes {held}-")
        with partial.open("ab" if onward else "wb") as file:
            while chunk := _read(answer):
                came += file.write(chunk)
        return chunk is not None and (length is None or came == int(length))


def _ask(url: str, held: int) -> HTTPResponse:
    headers = {"User-Agent": "reusebench", **({"Range": f"bytes={held}-"} if held else {})}
    answer: HTTPResponse = urlopen(Request(url, headers=headers), timeout=SECONDS)
    return answer


def _read(answer: HTTPResponse) -> bytes | None:
    """The next bytes, none at the end, None where the connection is cut."""
    try:
        return answer.read(CHUNK)
    except (OSError, HTTPException):
        return None


def _held(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _by_hand(path: Path, sha256: str) -> str:
    return f"get the file elsewhere and put it into {path.parent} as {path.name}; its SHA-256 is {sha256}"
