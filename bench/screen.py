"""Progress bars, a line a cell and notes while a command works, all on standard error."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from bench.heartbeat import heartbeat
from bench.voice import Voice, voice
from common.addresses import without_secrets
from common.hub import BYTES
from common.logs import errors_alone
from common.progress import listening
from common.units import duration, size
from sweeps.events import (
    CellFinished,
    CellScored,
    Event,
    Note,
    StageAdvanced,
    StageFinished,
    StageStarted,
    SweepStarted,
    stage,
)
from sweeps.record import Record
from sweeps.timeline import Timeline, loads_told, walls

NAMES = {
    "identify": "reading checkpoints",
    "load": "loading weights",
    "encode": "encoding prompts",
    "cluster": "clustering",
    "plan": "planning",
    "batch size": "measuring batch sizes",
    "denoise": "denoising",
    "decode": "decoding images",
    "write": "writing images",
    "score": "scoring images",
    "report": "drawing tables and figures",
    "track": "logging to MLflow",
}
REST = "the rest"
CHATTY = ("transformers", "diffusers", "open_clip", "huggingface_hub", "torch", "timm")  # libraries


class Screen:
    """Shows a stream of events, and keeps the time line of its stages.

    Attributes:
        voice: how much of it is said.
    """

    def __init__(self, progress: Progress, voice: Voice | None = None) -> None:
        self.progress, self.voice = progress, voice or Voice()
        self._timeline = Timeline()
        self._cells: TaskID | None = None
        self._stages: dict[int, list[tuple[str, TaskID]]] = {}
        self._part: tuple[str, TaskID] | None = None
        self._expected: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        self._timeline(event)
        stages = self._stages.setdefault(threading.get_ident(), [])
        match event:
            case SweepStarted(jobs=jobs):
                self._cells = self.progress.add_task("cells", total=len(jobs))
            case StageStarted(stage=name, total=total, job=job, before=before):
                which = f", tau {job.config.tau:f}" if job and job.role == "sharing" else ""
                what = f"{NAMES.get(name, name)}{which}"
                task = self.progress.add_task(what, total=total, completed=before, before=before)
                stages.append((name, task))
                self._done[name] = self._done.get(name, 0) + before
            case StageAdvanced(done=done) if stages:
                name, task = stages[-1]
                self.progress.advance(task, done)
                self._done[name] = self._done.get(name, 0) + done
            case StageFinished() if stages:
                _, task = stages.pop()
                self._log_stage(task)
                self.progress.remove_task(task)
            case CellFinished(record=record, kept=kept):
                self._finished(record, kept)
            case CellScored(record=record, number=number, total=total, error=error):
                which = f"{place(record)} ({number} of {total})"
                self.say(f"not scored: {which}: {error}" if error else f"scored: {which}", error=error is not None)
            case Note(text=text):
                self.say(f"note: {text}")
            case _:
                pass

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Show a stage of the command's own while the block runs."""
        return stage(self, name)

    def expect(self, node_steps: int, pictures: int) -> None:
        """Know what the whole command is to make, of which the lines of progress then say how much is done."""
        self._expected = {"denoise": node_steps, "decode": pictures}

    def beat(self) -> None:
        """Say how far the command is, where no bars show it; the log file has it anyway."""
        self.say(f"progress: {self.so_far()}", shown=not self.progress.console.is_terminal)

    def so_far(self) -> str:
        """Say what the command does now, how far that is and for how long, and how far the whole command is."""
        running = [stages[-1][1] for stages in list(self._stages.values()) if stages]
        running += [self._part[1]] if self._part else []
        with self.progress._lock:  # a stage may end meanwhile
            tasks = [task for task in self.progress.tasks if task.id in running]
            now = "; ".join(map(_state, tasks)) or "at work"
            cells = next((task for task in self.progress.tasks if task.id == self._cells), None)
        whole = []
        if cells is not None:
            whole.append(f"{cells.completed:.0f} of {cells.total:.0f} cells")
        for name, unit in (("decode", "pictures"), ("denoise", "node-steps")):
            if (expected := self._expected.get(name)) and name in self._done:
                whole.append(f"{min(self._done.get(name, 0), expected):,} of {expected:,} {unit}")
        return f"{now}; in all {', '.join([*whole, f'{duration(round(self._timeline.elapsed()))} so far'])}"

    def heard(self, what: str, done: int, total: int, unit: str) -> None:
        """Show how far a computation or a download within a stage is (`common.progress`)."""
        if self._part is None or self._part[0] != what:
            self._forget_part()
            self._part = what, self.progress.add_task(what, total=total, unit=unit)
        self.progress.update(self._part[1], completed=done, total=total)
        if done >= total:
            self._forget_part()

    def _forget_part(self) -> None:
        if self._part:
            self.progress.remove_task(self._part[1])
            self._part = None

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every stage since this screen was made, none counted twice, and the rest."""
        stages = walls(self._timeline.spans)
        return {**stages, REST: self._timeline.elapsed() - sum(stages.values())}

    def check(self) -> None:
        """Raise the error that the time line could not be written for, if there was one."""
        self._timeline.check()

    def say(self, text: str, *, error: bool = False, shown: bool = True) -> None:
        """Say a line on standard error, unless the command is quiet and it is no error, and in the log file."""
        self.voice.log(text)
        if shown and (error or not self.voice.quiet):
            self.progress.console.print(without_secrets(text), markup=False, highlight=False, soft_wrap=True)

    def _log_stage(self, task: TaskID) -> None:
        if not self.voice.logs:
            return
        with self.progress._lock:
            ended = next((one for one in self.progress.tasks if one.id == task), None)
        if ended is not None:
            count = "" if ended.total in (None, 1) else f" {ended.completed:,.0f} of {ended.total:,.0f}"
            self.voice.log(f"done: {ended.description}{count} in {duration(ended.elapsed or 0.0)}")

    def _finished(self, record: Record, kept: bool) -> None:
        if self._cells is not None:
            self.progress.advance(self._cells)
        if record.error:
            self.say(f"failed: {place(record)}: {record.error.message.partition(chr(10))[0]}", error=True)
            if record.error.traceback:
                self.voice.log(record.error.traceback)
                if self.voice.verbose:
                    self.progress.console.print(without_secrets(record.error.traceback), markup=False, highlight=False)
        elif record.plan:
            taken = "kept" if kept else f"{sum(record.timings.values()):.1f} s"
            self.say(f"done: {place(record)}: {record.plan.savings:.1%} of denoising saved, {taken}")


def _state(task: Task) -> str:
    """Say what a stage is, how far it is, at which rate, and how long it still takes."""
    spent = task.elapsed or 0.0
    if not task.total or task.total == 1:
        return f"{task.description} for {duration(round(spent))}"
    if task.fields.get("unit") == BYTES:
        return f"{task.description}, {size(task.completed)} of {size(task.total)}"
    text = f"{task.description} {task.completed:,.0f} of {task.total:,.0f}"
    done = task.completed - task.fields.get("before", 0)
    if not done or not spent:
        return f"{text} for {duration(round(spent))}"
    rate = done / spent
    pace = f"{rate:.3g} a second" if rate >= 1 else f"{duration(1 / rate)} each"
    return f"{text}, {pace}, {duration(round((task.total - task.completed) / rate))} left"


def place(record: Record) -> str:
    """Name a cell in a few words."""
    asked = record.config
    way = ", ".join([asked.strategy, *([asked.denoiser_cache] if asked.denoiser_cache != "none" else [])])
    return f"{asked.model} on {asked.dataset}, {way}, seed {asked.seed}, tau {asked.tau:f}"


class _DoneColumn(ProgressColumn):
    """How many parts of all are done; of a download how many bytes, and how fast."""

    def __init__(self) -> None:
        super().__init__()
        self._parts, self._bytes, self._speed = MofNCompleteColumn(), DownloadColumn(), TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if task.fields.get("unit") != BYTES:
            return self._parts.render(task)
        return Text.assemble(self._bytes.render(task), " ", self._speed.render(task))


@contextmanager
def _libraries_quiet() -> Iterator[None]:
    """Keep off the screen what libraries tell who writes programs: of lengths, loading, what will be deprecated.

    What matters of it is a note or an error of ours.
    """
    from transformers.utils.logging import disable_progress_bar, get_verbosity

    disable_progress_bar()
    get_verbosity()  # sets its logger up, which it would do later, over what is set here
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # read when it is imported, which is not now
    with warnings.catch_warnings(), errors_alone(*CHATTY):
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"({'|'.join(CHATTY)})(\.|$)")
        yield


@contextmanager
def screen() -> Iterator[Screen]:
    """Give a screen whose bars are gone when the block ends; its lines stay.

    Where standard error is no terminal, a line says now and then how far it is (`heartbeat`). What libraries show
    themselves is off, unless the command is verbose.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _DoneColumn(),
        TimeRemainingColumn(),
    )
    console, said = Console(stderr=True), voice()
    bars = console.is_terminal and not said.quiet
    tells = said.logs or not (said.quiet or console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=not bars) as progress:
        seen = Screen(progress, said)
        with heartbeat(seen.beat) if tells else nullcontext():
            if said.verbose or said.logs:
                seen.say(_surroundings(), shown=said.verbose)
            libraries = _libraries_logged(said) if said.verbose else _libraries_quiet()
            with libraries, _logged(seen), loads_told(seen), listening(seen.heard):
                yield seen


def _surroundings() -> str:
    import torch

    from sweeps.machine import machine, versions

    device = "cuda" if torch.cuda.is_available() else "cpu"
    about = {**versions(), **machine(device)}
    return "on " + ", ".join(f"{name} {value}" for name, value in about.items())


@contextmanager
def _libraries_logged(said: Voice) -> Iterator[None]:
    """Let libraries say what they say, and have the log file hold it too."""
    handler = logging.Handler()
    handler.emit = lambda record: said.log(f"{record.name}: {record.getMessage()}")  # type: ignore[method-assign]
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        said.log(f"{category.__name__}: {message}")
        shown(message, category, *where, **more)

    for name in CHATTY:
        logging.getLogger(name).addHandler(handler)
    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = shown
        for name in CHATTY:
            logging.getLogger(name).removeHandler(handler)


@contextmanager
def _logged(seen: Screen) -> Iterator[None]:
    """Show what rooms log while the block runs, such as a download, as notes."""
    logger, handler = logging.getLogger("reusebench"), logging.Handler()
    handler.emit = lambda record: seen(Note(record.getMessage()))  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
