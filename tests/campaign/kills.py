"""Kill a small sweep at the worst moments, run the same command again, and compare with one that nothing disturbed.

`python -m tests.campaign.kills --injections 40 --seed 1` prints a table by kind of disturbance: how often it was
injected, survived (the same command ended it with the same tables and pictures), noticed (the disturbed command ended
with one line and the exit code that is right for it), silent (the disturbed command ended with 0, or the same command
did, and what came out differs), and how many tracebacks were shown. The last two have to be 0.

One process imports everything and forks for each sweep, so that one costs seconds. Where in a sweep something happens
is counted in file operations below the run folder, as Python's audit hooks hear them, and in events of the sweep.
"""

import argparse
import atexit
import csv
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

SWEEP = ("--model", "mini-sd", "--limit", "4", "--tau", "0,2,4", "--steps", "4")  # unless another is asked for
# In batches that hold no whole step, a step a checkpoint.
AS_ALWAYS = ("--batch-size", "3", "--save-every", "0", "--no-mlflow", "--no-audit", "--name", "run", "--out", "runs")
RUN = Path("runs/run")
SECONDS = 120  # a sweep that takes longer hangs
USER_ERROR, INTERRUPTED, TERMINATED = 2, 130, 143
# Tables of seconds, which no two runs have in common.
MEASURED = ("pace.csv", "timeline.csv")
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT


@dataclass
class Ended:
    """A command that has ended: its exit code (negative: the signal) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Return the lines on standard error but notes, costs, progress and finished cells."""
        told = ("note: ", "cost: ", "progress: ", "done: ", "scored: ", "failed: ", "hint: ")
        return [line for line in self.err.splitlines() if line.strip() and not line.startswith(told)]

    @property
    def tables(self) -> str:
        """Return the tables as they were printed, without places and times."""
        return self.out.partition("\nresults ")[0]


@dataclass
class Row:
    """What became of the injections of one kind."""

    injected: int = 0
    survived: int = 0
    noticed: int = 0
    silent: int = 0
    tracebacks: int = 0
    wrong: list[str] = field(default_factory=list)


class Operations:
    """Counts a process's file operations below a folder and calls `strike` at the N-th one, or at every one from there.

    Args:
        root: the folder.
        at: N; 0 for never.
        strike: called with the path, before the operation.
        on: whether it is called again at those that follow.
    """

    def __init__(self, root: Path, at: int, strike: Callable[[Path], None], *, on: bool = False) -> None:
        self.root, self.at, self.strike, self.on = str(root.resolve()), at, strike, on
        self.count, self.last, self._inside = 0, Path(), False
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if (event not in CHANGES and event != "open") or self._inside or self.at < 0:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        if not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = Path(os.fsdecode(arguments[0])).absolute()
        if not str(path).startswith(self.root):
            return
        self.count += 1
        if self.count == self.at or (self.on and self.at and self.count > self.at):
            self._inside = True
            try:
                self.strike(path)
            finally:
                self._inside = False
        if event == "open":
            self.last = path


def forked(arguments: Sequence[str], before: Callable[[], None] = lambda: None, folder: Path | None = None) -> Ended:
    """Run `bench` in a fork of this process, in `folder`, after `before` was called there."""
    folder = folder or Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    out, err = folder / "stdout", folder / "stderr"
    if (child := os.fork()) == 0:
        try:
            os.chdir(folder)
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
            for signal_number in (signal.SIGINT, signal.SIGTERM):  # in the background they may be ignored
                signal.signal(signal_number, signal.SIG_DFL)
            before()
            as_bench(arguments)
        finally:
            os._exit(99)
    deadline = time.monotonic() + SECONDS
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Ended(os.waitstatus_to_exitcode(ended[1]), *texts)


def as_bench(arguments: Sequence[str]) -> NoReturn:
    """Be the process that `bench ARGUMENTS` is, to its end."""
    from bench.main import main

    sys.argv, code = ["bench", *arguments], 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    os._exit(code)


def warm(sweep: Sequence[str]) -> None:
    """Run a sweep here, so that all forks have what it imports and remembers; draw one figure only, for speed."""
    import torch
    from typer.testing import CliRunner

    from bench.main import app
    from reports import render
    from reports.base import figures

    torch.set_num_threads(1)
    one = {"timeline": figures()["timeline"]}
    render.figures = lambda: one
    done = CliRunner().invoke(app, [*sweep, "--out", "warm"])
    assert done.exit_code == 0, done.output


def die(_: Path = Path()) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_operation(number: int, strike: Callable[[Path], None], **more: Any) -> Callable[[], None]:
    """Return what has `strike` called at the N-th file operation of the run."""
    return lambda: void(Operations(Path("runs"), number, strike, **more))


def void(_: object) -> None:
    """Keep nothing of it."""


def torn(number: int) -> Callable[[], None]:
    """Return what kills at the N-th operation, with half of the file on disk that was written last."""

    def before() -> None:
        def strike(_: Path) -> None:
            if operations.last.is_file():
                os.truncate(operations.last, operations.last.stat().st_size // 2)
            die()

        operations = Operations(Path("runs"), number, strike)

    return before


def at_event(number: int, strike: Callable[[], None] = die) -> Callable[[], None]:
    """Return what has `strike` called at the N-th event of the sweep."""

    def before() -> None:
        from bench.screen import Screen

        heard, call = [0], Screen.__call__

        def counted(self: Screen, event: Any) -> None:
            heard[0] += 1
            if heard[0] == number:
                strike()
            call(self, event)

        Screen.__call__ = counted  # type: ignore[method-assign]

    return before


def counts(sweep: Sequence[str], folder: Path) -> tuple[int, int]:
    """Return how many file operations and events an undisturbed sweep has; they are written as it ends."""

    def before() -> None:
        import bench.main
        from bench.screen import Screen

        operations, heard, call = Operations(Path("runs"), 0, void), [0], Screen.__call__

        def counted(self: Screen, event: Any) -> None:
            heard[0] += 1
            call(self, event)

        Screen.__call__ = counted  # type: ignore[method-assign]
        end = bench.main._end

        def written(status: list[int]) -> None:
            Path("counts").write_text(f"{operations.count} {heard[0]}")
            end(status)

        bench.main._end = written

    assert forked(sweep, before, folder).code == 0
    first, second = (folder / "counts").read_text().split()
    return int(first), int(second)


def pictures(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("images/[0-9]*.png"))}


def sheets(run: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of every CSV table, without the seconds, which no two runs have in common."""
    found = {}
    for path in sorted(run.glob("report/tables/*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found[path.name] = [{name: row[name] for name in row if not name.startswith("seconds")} for row in rows]
    return {name: rows for name, rows in found.items() if name not in MEASURED}


def leftovers(run: Path) -> list[str]:
    """Return what has no business in a run folder that is finished."""
    found = [*run.rglob(".*.tmp*"), *run.glob("states"), *run.glob(".holder.json"), *run.rglob("*.part")]
    return [str(path.relative_to(run)) for path in found]


@dataclass
class Campaign:
    """Disturbed sweeps, each in a folder of its own below `folder`.

    Args:
        sweep: the command.

    Attributes:
        rows: by kind, what became of them.
    """

    sweep: Sequence[str]
    folder: Path
    random: random.Random
    rows: dict[str, Row] = field(default_factory=dict)
    show: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        whole = self.folder / "undisturbed"
        self.operations, self.events = counts(self.sweep, whole)
        self.whole = forked(self.sweep, folder=whole)
        assert self.whole.code == 0, self.whole.err
        self.pictures, self.sheets = pictures(whole / RUN), sheets(whole / RUN)
        self.number = 0

    def moments(self, count: int, of: int) -> list[int]:
        """Return random moments of 1..of, one in each of `count` equal stretches."""
        return [1 + min(of - 1, int((i + self.random.random()) * of / count)) for i in range(count)]

    def inject(
        self,
        kind: str,
        where: str,
        before: Callable[[], None],
        right: Callable[[Ended], str | None],
        mend: Callable[[Path], None] = lambda folder: None,
        place: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        """Disturb one sweep, run its command again, and note what came out.

        Args:
            kind: the row of the table.
            where: the moment, for who reads.
            before: called in the sweep's process before it begins.
            right: of how the disturbed command ended: None where that is right, else what is wrong.
            mend: called with the sweep's folder before the same command is run again, after `right`.
            place: called with the sweep's folder when it is new.
        """
        row = self.rows.setdefault(kind, Row())
        self.number += 1
        folder = self.folder / f"{self.number:03d}"
        folder.mkdir(parents=True)
        place(folder)
        disturbed = forked(self.sweep, before, folder)
        row.injected += 1
        wrong = [text] if (text := right(disturbed)) else []
        row.noticed += not wrong and disturbed.code not in (0, -signal.SIGKILL)
        mend(folder)
        again = forked(self.sweep, folder=folder)
        differs = self.differences(again, folder / RUN)
        row.survived += not differs
        row.silent += bool(wrong and disturbed.code == 0) or bool(differs and again.code == 0)
        row.tracebacks += sum("Traceback" in ended.err for ended in (disturbed, again))
        if wrong or differs:
            texts = [*wrong, *differs]
            row.wrong += texts
            self.show(f"{kind}, {where}: {'; '.join(texts)} (in {folder})")
            (folder / "stderr.disturbed").write_text(disturbed.err)
        else:
            with suppress(OSError):
                shutil.rmtree(folder)

    def differences(self, again: Ended, run: Path) -> list[str]:
        """Return in what the sweep that was taken up again is not the undisturbed one."""
        if again.code != 0:
            return [f"again: exit code {again.code}: {again.lines[-1:]}"]
        theirs, found = pictures(run), []
        if again.tables != self.whole.tables:
            found.append("printed tables differ")
        if names := [name for name, rows in sheets(run).items() if self.sheets.get(name) != rows]:
            found.append(f"other CSV: {', '.join(names)}")
        if missing := self.sheets.keys() - sheets(run).keys():
            found.append(f"no {', '.join(sorted(missing))}")
        if theirs.keys() != self.pictures.keys() or any(self.pictures[name] != theirs[name] for name in theirs):
            found.append("pictures differ")
        if left := leftovers(run):
            found.append(f"left over: {', '.join(left)}")
        return found

    def kills(self, count: int) -> None:
        """Kill by SIGKILL: before a file operation, at one with the file before half written, and at an event."""
        thirds = [len(range(start, count, 3)) for start in range(3)]
        for number in self.moments(thirds[0], self.operations):
            self.inject("SIGKILL at a file operation", str(number), at_operation(number, die), killed)
        for number in self.moments(thirds[1], self.operations):
            self.inject("SIGKILL, the last file half written", str(number), torn(number), killed)
        for number in self.moments(thirds[2], self.events):
            self.inject("SIGKILL between two steps or stages", str(number), at_event(number), killed)

    def signals(self, count: int) -> None:
        """Interrupt once, twice, and terminate."""
        for number in self.moments(count, self.operations):
            self.inject(
                *("SIGINT", str(number), at_operation(number, lambda _: os.kill(os.getpid(), signal.SIGINT))),
                told(INTERRUPTED, "interrupted"),
            )
        for number in self.moments(count, self.operations):
            self.inject("SIGINT twice", str(number), at_operation(number, twice), told(INTERRUPTED, "interrupted"))
        for number in self.moments(count, self.operations):
            self.inject(
                *("SIGTERM", str(number), at_operation(number, lambda _: os.kill(os.getpid(), signal.SIGTERM))),
                told(TERMINATED, "terminated"),
            )

    def disks(self, count: int) -> None:
        """Let every write fail for want of space from some operation on."""
        for number in self.moments(count, self.operations):
            self.inject(
                "a full disk", str(number), at_operation(number, no_space, on=True), told(USER_ERROR, "is full")
            )

    def folders(self, count: int) -> None:
        """Rename and remove the run folder while it is written."""

        def back(folder: Path) -> None:
            if (folder / "moved").exists():
                shutil.rmtree(folder / RUN, ignore_errors=True)
                (folder / "moved").rename(folder / RUN)

        for number in self.moments(count, self.operations):
            self.inject(
                *("the run folder renamed", str(number), at_operation(number, rename, on=True)),
                *(told(USER_ERROR, "was moved or removed"), back),
            )
        for number in self.moments(count, self.operations):
            self.inject(
                *("the run folder removed", str(number), at_operation(number, remove, on=True)),
                told(USER_ERROR, "was moved or removed"),
            )

    def small_disks(self, count: int) -> None:
        """Run in tmpfs of sizes that do not suffice, where this machine lets one mount any."""
        whole = int(
            subprocess.run(["du", "-s", self.folder / "undisturbed" / RUN], capture_output=True).stdout.split()[0]
        )
        for size in self.moments(count, whole * 3 // 4):  # folders take no room there, and whole files less
            folder = self.folder / f"{self.number + 1:03d}" / "runs"

            def place(there: Path, size: int = size) -> None:
                (there / "runs").mkdir()
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", there / "runs"], check=True)

            def larger(there: Path) -> None:
                subprocess.run(["mount", "-o", "remount,size=64m", there / "runs"], check=True)

            try:
                self.inject(
                    f"tmpfs of less than {whole} KiB",
                    f"{size} KiB",
                    void_before,
                    told(USER_ERROR, "is full"),
                    larger,
                    place,
                )
            finally:
                subprocess.run(["umount", folder], check=False)

    def table(self) -> str:
        """Return the table in Markdown."""
        lines = [
            "| disturbed by | injected | survived | noticed | silent | tracebacks |",
            "| :--- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for kind, row in self.rows.items():
            cells = (row.injected, row.survived, row.noticed, row.silent, row.tracebacks)
            lines.append(f"| {kind} | {' | '.join(map(str, cells))} |")
        return "\n".join(lines)


def void_before() -> None:
    """Change nothing in the sweep's process."""


def killed(ended: Ended) -> str | None:
    return None if ended.code == -signal.SIGKILL else f"exit code {ended.code} in place of a kill"


def told(code: int, words: str) -> Callable[[Ended], str | None]:
    """Return what says whether a command ended with this code and one line, in which these words stand."""

    def right(ended: Ended) -> str | None:
        if "Traceback" in ended.err:
            return f"a traceback: {ended.lines[-1:]}"
        if ended.code != code:
            return f"exit code {ended.code} in place of {code}: {ended.lines}"
        if len(ended.lines) != 1 or words not in ended.lines[0]:
            return f"said {ended.lines}"
        return None

    return right


def twice(_: Path) -> None:
    """Interrupt, and once more while the first is being told."""
    import threading

    os.kill(os.getpid(), signal.SIGINT)
    for delay in (0.0, 0.001, 0.02, 0.1, 0.3):
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()


def no_space(path: Path) -> None:
    if path.exists() and path.suffix == ".tmp":
        return
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def rename(_: Path) -> None:
    """Rename the run folder, once, as soon as it is one."""
    if (RUN / "sweep.yaml").exists() and not Path("moved").exists():
        RUN.rename("moved")


def remove(_: Path) -> None:
    """Remove the run folder, once, as soon as it is one."""
    if (RUN / "sweep.yaml").exists() and not Path("removed").exists():
        Path("removed").touch()
        shutil.rmtree(RUN, ignore_errors=True)


def may_mount(folder: Path) -> bool:
    """Return whether a tmpfs can be mounted here."""
    folder.mkdir(parents=True)
    try:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    except OSError:
        return False
    return True


@contextmanager
def surroundings(folder: Path) -> Iterator[None]:
    """Give the forks a cache of their own, and work in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.environ["REUSEBENCH_CACHE"] = str(folder.resolve() / "cache")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--injections", type=int, default=40, help="kills; a quarter as many of each other kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("campaign-kills"), help="a new folder; what went wrong stays")
    parser.add_argument("--only", nargs="*", default=["kills", "signals", "disks", "small_disks", "folders"])
    parser.add_argument("--sweep", nargs=argparse.REMAINDER, default=SWEEP, help="arguments of `bench sweep`")
    asked = parser.parse_args()
    sweep = ("sweep", *asked.sweep, *AS_ALWAYS)
    out = asked.out.resolve()
    with surroundings(out):
        warm(sweep)
        campaign = Campaign(sweep, out, random.Random(asked.seed), show=lambda line: print(line, flush=True))
        print(f"{campaign.operations} file operations, {campaign.events} events", flush=True)
        few = max(1, asked.injections // 4)
        for name in asked.only:
            if name == "small_disks" and not may_mount(out / "mounted"):
                print("no tmpfs: this machine lets nobody mount one")
                continue
            getattr(campaign, name)(asked.injections if name == "kills" else few)
    print(campaign.table())
    bad = [
        row
        for row in campaign.rows.values()
        if row.silent or row.tracebacks or row.survived < row.injected or row.wrong
    ]
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
