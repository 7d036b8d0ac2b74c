"""What a command says while it works: how much of it on standard error, and all of it in a log file."""

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import typer

from common.addresses import without_secrets
from common.files import local_folder

LONGEST = 4000  # characters of an error's line


@dataclass
class Voice:
    """How much is said.

    Attributes:
        quiet: errors and results only.
        verbose: also what libraries say, tracebacks, versions and the device.
        debug: also the traceback of an error.
        file: the log file, where it was named before there was a command.
    """

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    file: Path | None = None
    _log: "IO[str] | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def logs(self) -> bool:
        """Return True where there is a log file."""
        return self._log is not None

    def open(self, path: Path) -> None:
        """Have everything that is said from now on appended to a file, with the time.

        Raises:
            UserError: it is the address of something that is no file here.
            OSError: it cannot be written.
        """
        local_folder(path)
        self.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        self.log(f"begins: {' '.join(sys.argv)}")

    def log(self, text: str) -> None:
        """Append a text to the log file, the time before every line, if there is one."""
        with self._lock:
            if self._log is None:
                return
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._log.writelines(f"{now}  {line}\n" for line in without_secrets(text).splitlines())

    def close(self) -> None:
        """Close the log file."""
        self.log("ends")
        with self._lock:
            if self._log is not None:
                self._log.close()
                self._log = None

    def note(self, text: str) -> None:
        """Say a line on standard error, which is no error and no result."""
        self.log(text)
        if not self.quiet:
            typer.echo(without_secrets(text), err=True)

    def error(self, text: str) -> None:
        """Say an error, as one line; of one beyond all bounds the beginning."""
        line = without_secrets(" ".join(text.split()))
        self.log(line)
        print(line if len(line) <= LONGEST else f"{line[:LONGEST]}...", file=sys.stderr)

    def trace(self) -> None:
        """Say where the error that is handled was raised, to those who want to know; the log file has it anyway."""
        text = without_secrets(traceback.format_exc())
        self.log(text)
        if self.debug or self.verbose:
            print(text, end="", file=sys.stderr)


_voice: ContextVar[Voice | None] = ContextVar("voice", default=None)


def voice() -> Voice:
    """Return the voice of the command that runs; outside of any, one that says what is usual."""
    return _voice.get() or Voice()


@contextmanager
def speaking() -> Iterator[Voice]:
    """Give a command a voice of its own while the block runs; its log file is closed afterwards."""
    said = Voice()
    token = _voice.set(said)
    try:
        yield said
    finally:
        said.close()
        _voice.reset(token)


def note(text: str) -> None:
    """Say ``note:`` and a text, as `Voice.note` does."""
    voice().note(f"note: {text}")
