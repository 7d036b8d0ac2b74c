"""A scorer in a process of its own: JSON lines over pipes, by the protocol in docs/workers.md. The harness's end."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any
from weakref import finalize

from common.errors import UserError

PROTOCOL = 1
GREETING_SECONDS, ENDING_SECONDS = 120, 5
LAST_WORDS = 4000  # bytes of standard error that are searched for its last line
AGAIN = "run the same command again; what is finished is kept"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Hello:
    """A worker's greeting.

    Attributes:
        worker: its name.
        version: its script's own.
        packages: installed versions by distribution name.
    """

    worker: str
    version: int
    packages: dict[str, str]


class Worker:
    """A running worker. It ends with this object, with this process, and with its own first failure.

    It has a process group of its own: Ctrl-C reaches the harness alone, which then ends the whole group.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        """Start it and wait for its greeting.

        Args:
            name: by which it must greet.
            command: a program and its arguments.

        Raises:
            UserError: it cannot be started, says nothing, or is another worker or of another protocol version.
        """
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # a pipe that nobody reads would fill up and block it
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"cannot start the worker {name}: {error}", "set it up again: bench setup") from error
        self._end = finalize(self, _end, self._process, self._errors)
        try:
            self.hello = self._receive_greeting()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while it can be asked."""
        return self._end.alive and self._process.poll() is None

    def close(self) -> None:
        """End the process and all that it started; a second time does nothing."""
        self._end()

    def ask(self, do: str, on_progress: Progress | None = None, **arguments: Any) -> dict[str, Any]:
        """Send one request and return its result.

        Args:
            do: the request's name: ``open``, ``check``, ``load`` or ``score``.
            on_progress: called with a line of text whenever the worker reports progress.
            arguments: the request's other fields, which JSON must be able to hold.

        Raises:
            UserError: it refuses, fails, or ends; only one that refused, or ran out of memory, goes on living.
            MemoryError: it ran out of memory, and smaller requests may fit.
        """
        try:
            self._send({"do": do, **arguments})
            message = self._receive()
            while "progress" in message:
                if on_progress:
                    on_progress(_progress(message))
                message = self._receive()
            if "result" in message:
                return dict(message["result"])
            kind, text, hint = (message["error"][key] for key in ("kind", "message", "hint"))
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise UserError(f"the worker {self.name} answered {do!r} with what is no answer", AGAIN) from error
        except BaseException:  # Ctrl-C, say: the next answer would be this request's
            self.close()
            raise
        if kind == "refused":
            raise UserError(text, hint or None)
        if kind == "memory":
            raise MemoryError(f"the worker {self.name} ran out of memory: {text}")
        self.close()
        raise UserError(f"the worker {self.name} failed to {do}: {text}", AGAIN)

    def _receive_greeting(self) -> Hello:
        stdout = self._pipe(self._process.stdout)
        if not select.select([stdout], [], [], GREETING_SECONDS)[0]:
            raise UserError(f"the worker {self.name} said nothing for {GREETING_SECONDS} s", AGAIN)
        try:
            fields = self._receive()["hello"]
            protocol, hello = fields["protocol"], Hello(fields["worker"], fields["version"], fields["packages"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"what runs as the worker {self.name} is none: it does not greet", "mend its script"
            ) from error
        if protocol != PROTOCOL:
            raise UserError(
                f"the worker {hello.worker} speaks protocol version {protocol}, and this reusebench {PROTOCOL}",
                "use a worker and a reusebench that were released together",
            )
        if hello.worker != self.name:
            raise UserError(f"the worker {self.name} was started, and {hello.worker} greeted", "mend its recipe")
        return hello

    def _send(self, request: dict[str, Any]) -> None:
        stdin = self._pipe(self._process.stdin)
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._death() from None

    def _receive(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        if not line.endswith(b"\n"):
            raise self._death()
        message = json.loads(line)
        return message if isinstance(message, dict) else {}

    def _death(self) -> UserError:
        """Return the error of a process that has ended: its exit status, and the last line of its log."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_SECONDS)
        status = self._process.returncode
        end = f"exit status {status}"
        if status is not None and status < 0:
            end = f"killed by {signal.Signals(-status).name}"
        hint = "the machine's memory may have run out; " + AGAIN if end == "killed by SIGKILL" else AGAIN
        return UserError(f"the worker {self.name} ended early ({end}){self._last_words()}", hint)

    def _last_words(self) -> str:
        if self._errors.closed:
            return ""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - LAST_WORDS))
        lines = self._errors.read().decode(errors="replace").split("\n")
        written = [line.strip() for line in lines if line.strip()]
        return f": {written[-1]}" if written else ""

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def _progress(message: dict[str, Any]) -> str:
    done, total = message.get("done", 0), message.get("total", 0)
    return f"{message['progress']} ({done + 1} of {total})" if total > 1 else str(message["progress"])


def _end(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
    """End a worker: standard input's end tells it to, with its group; one that does not is killed, with its group."""
    with suppress(OSError):
        Worker._pipe(process.stdin).close()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()
    Worker._pipe(process.stdout).close()
    errors.close()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a worker and all that it started: its group, or where systems have none, what descends from it."""
    if sys.platform != "win32":
        os.killpg(process.pid, signal.SIGKILL)
        return
    import psutil

    with suppress(psutil.NoSuchProcess):
        for descendant in psutil.Process(process.pid).children(recursive=True):
            descendant.kill()
    process.kill()
