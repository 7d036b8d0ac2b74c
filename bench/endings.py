"""How a command ends that somebody ends: interrupted, terminated, or with nobody to print to."""

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# What ends a command, in words; the exit code is a shell's, 128 and the signal's number.
NAMES = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "its terminal was closed"}
CONTINUES = ("sweep", "compare", "generate", "score", "paper", "audit")


class Ended(KeyboardInterrupt):
    """A signal has ended the command: raised where it works, so that locks and half files go."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Signals:
    """Whether a command works, so that it can be ended in order; a second signal ends it wherever it is."""

    def __init__(self) -> None:
        self.works = self.told = False
        self.command = ""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.works:
            self.works = False
            raise Ended(number)
        if not self.told:
            with suppress(OSError):  # nobody may be there to read it
                os.write(2, f"{self.line(number)}\n".encode())
        os._exit(128 + number)

    def line(self, number: int) -> str:
        """Return what is said of a signal, which is said once."""
        self.told = True
        goes_on = ": run the same command again to continue" if self.command in CONTINUES else ""
        return NAMES[signal.Signals(number).name] + goes_on


signals = _Signals()


def listen() -> None:
    """Have signals end the command in order; one that is ignored, as under nohup, stays ignored."""
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signals)


@contextmanager
def ending() -> Iterator[None]:
    """Let a signal end the block, and say so.

    Raises:
        SystemExit: with the exit code for the signal.
    """
    signals.works, signals.told, signals.command = True, False, ""
    try:
        yield
    except KeyboardInterrupt as ended:
        number = ended.number if isinstance(ended, Ended) else signal.SIGINT
        print(signals.line(number), file=sys.stderr, flush=True)
        raise SystemExit(128 + number) from None
    finally:
        signals.works = False


class Lost(io.TextIOBase):
    """Standard output where it is closed: it knows whether anything should have been printed."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.anything = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, text: str) -> int:
        self.anything = self.anything or bool(text.strip())
        return len(text)


def open_closed_streams() -> None:
    """Have the numbers of closed standard streams taken, or the next file that is opened would be printed into."""
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    if sys.stdout is None:
        sys.stdout = Lost()  # type: ignore[unreachable]
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")  # type: ignore[unreachable]


def flushed(status: int) -> int:
    """Return the exit code of a command whose own is `status`, when all that it printed has been taken.

    What nobody could be told is an error, said in a line; one who has stopped reading, as `head` does, is not told.
    """
    why = "it is closed" if isinstance(sys.stdout, Lost) and sys.stdout.anything else ""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            why = why or (" " if error.errno == errno.EPIPE else error.strerror or str(error))
    if why.strip() and not status:
        with suppress(OSError):
            os.write(2, f"error: what was to be printed on standard output is lost: {why}\n".encode())
    return status or int(bool(why))
