"""A folder at an address that fsspec reads: objects that are whole or absent, and errors that say what to do."""

import base64
import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from common.addresses import shown, without_secrets
from common.errors import UserError

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Their stores put an object whole or not at all; elsewhere it is written beside and moved to its name.
WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # of our package, by scheme
MD5 = re.compile(r"[0-9a-f]{32}")


def is_url(text: str) -> bool:
    """Return whether a text is an address, such as ``s3://bucket/folder``; a Windows drive is none.

    Examples:
        >>> is_url("s3://bucket/night"), is_url("runs"), is_url("C:/runs")
        (True, False, False)
    """
    return bool(URL.match(text))


class RemoteFolder:
    """A folder behind an address. Every method raises a UserError for what goes wrong, without the address's secrets.

    Args:
        url: of the folder; nothing is asked of its server before a method is called.

    Examples:
        >>> night = RemoteFolder("memory://examples/night")
        >>> night.write("images/00000.png", b"a picture")
        >>> night.list(), night.read("images/00000.png")
        ({'images/00000.png': (9, None)}, b'a picture')
        >>> night.remove("images/00000.png")
    """

    def __init__(self, url: str) -> None:
        self.url, self.shown = url.rstrip("/"), shown(url.rstrip("/"))
        self._scheme = url.partition("://")[0].lower()

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whole or not at all; what had its name is replaced."""
        with self._told(f"cannot write {self.shown}/{name}"):
            system, root = self._opened
            path = f"{root}/{name}"
            if self._scheme in WHOLE:
                system.pipe_file(path, content)
                return
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            beside = f"{path}.{uuid.uuid4().hex}.tmp"
            try:
                system.pipe_file(beside, content)
                system.mv(beside, path)
            except BaseException:
                if system.exists(beside):
                    system.rm_file(beside)
                raise

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None where there is none."""
        with self._told(f"cannot read {self.shown}/{name}"):
            system, root = self._opened
            try:
                content: bytes = system.cat_file(f"{root}/{name}")
            except FileNotFoundError:
                return None
            return content

    def list(self) -> dict[str, tuple[int, str | None]]:
        """Return the objects in it: by name, their bytes, and the MD5 of their content where the store tells one."""
        with self._told(f"cannot list {self.shown}"):
            system, root = self._opened
            system.invalidate_cache()  # others may have written there since
            try:
                found: Mapping[str, Mapping[str, Any]] = system.find(root, detail=True)
            except FileNotFoundError:
                return {}
            base = f"{root.strip('/')}/"
            return {
                path.lstrip("/").removeprefix(base): (int(about.get("size") or 0), _md5(about))
                for path, about in found.items()
            }

    def remove(self, name: str) -> None:
        """Remove an object that is there."""
        with self._told(f"cannot remove {self.shown}/{name}"):
            system, root = self._opened
            system.rm_file(f"{root}/{name}")

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        system, root = url_to_fs(self.url)
        return system, root.rstrip("/")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Raise a UserError in place of whatever a file system's library raises."""
        try:
            yield
        except UserError:
            raise
        except ImportError as error:
            extra = EXTRAS.get(self._scheme)
            hint = f"pip install 'reusebench[{extra}]'" if extra else "install the package that it names"
            raise UserError(f"{what}: {self._scheme}:// needs a package that is not here ({error})", hint) from error
        except Exception as error:  # every store's library has exceptions of its own
            reason = " ".join(without_secrets(str(error)).split()) or type(error).__name__
            raise UserError(f"{what}: {reason}", _hint(error, self._scheme)) from error


def _hint(error: Exception, scheme: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "make the bucket, or the folder, first; or check its name"
    if isinstance(error, PermissionError) or "credential" in f"{type(error).__name__} {error}".lower():
        return "check that your credentials may list, read, write and delete there"
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return f"fsspec knows no {scheme}://: check the address, or install the package that brings it"
    return "what was written stays: when that is mended, run the same command again"


def _md5(about: Mapping[str, Any]) -> str | None:
    """Return the MD5 that a store lists: S3's ETag, which is one unless parts or keys went into it, or Google's."""
    if hashed := about.get("md5Hash"):
        return base64.b64decode(hashed).hex()
    tag = str(about.get("ETag", "")).strip('"').lower()
    return tag if MD5.fullmatch(tag) else None


def md5(content: bytes) -> str:
    """Return the MD5 of bytes, in hex: to know again what was written, not to trust it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
