"""Progress bars, a line a cell and notes while a command works, all on standard error."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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

from common.addresses import without_secrets
from common.hub import BYTES
from common.logs import errors_alone
from common.progress import listening
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
    """Shows a stream of events, and keeps the time line of its stages."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._timeline = Timeline()
        self._cells: TaskID | None = None
        self._stages: dict[int, list[TaskID]] = {}
        self._part: tuple[str, TaskID] | None = None

    def __call__(self, event: Event) -> None:
        self._timeline(event)
        stages = self._stages.setdefault(threading.get_ident(), [])
        match event:
            case SweepStarted(jobs=jobs):
                self._cells = self.progress.add_task("cells", total=len(jobs))
            case StageStarted(stage=name, total=total, job=job, before=before):
                which = f", tau {job.config.tau:f}" if job and job.role == "sharing" else ""
                stages.append(self.progress.add_task(f"{NAMES.get(name, name)}{which}", total=total, completed=before))
            case StageAdvanced(done=done) if stages:
                self.progress.advance(stages[-1], done)
            case StageFinished() if stages:
                self.progress.remove_task(stages.pop())
            case CellFinished(record=record, kept=kept):
                self._finished(record, kept)
            case CellScored(record=record, number=number, total=total, error=error):
                which = f"{number} of {total}: {place(record)}"
                self.say(f"not scored: {which}: {error}" if error else f"scored: {which}")
            case Note(text=text):
                self.say(f"note: {text}")
            case _:
                pass

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Show a stage of the command's own while the block runs."""
        return stage(self, name)

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

    def say(self, text: str) -> None:
        self.progress.console.print(without_secrets(text), markup=False, highlight=False, soft_wrap=True)

    def _finished(self, record: Record, kept: bool) -> None:
        if self._cells is not None:
            self.progress.advance(self._cells)
        if record.error:
            self.say(f"failed: {place(record)}: {record.error.message.partition(chr(10))[0]}")
        elif record.plan:
            taken = "kept" if kept else f"{sum(record.timings.values()):.1f} s"
            self.say(f"done: {place(record)}: {record.plan.savings:.1%} of denoising saved, {taken}")


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
    """Give a screen whose bars are gone when the block ends; its lines stay. What libraries show themselves is off."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _DoneColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        seen = Screen(progress)
        with _libraries_quiet(), _logged(seen), loads_told(seen), listening(seen.heard):
            yield seen


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
