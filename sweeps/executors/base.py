"""Executors: groups of jobs are denoised and decoded in this process, or by workers elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.plugins import Plugin, discover, find
from sweeps.record import ExecutionStats

if TYPE_CHECKING:
    from common.errors import UserError
    from generators.batching import Batches
    from generators.conditioning import Conditioning
    from sweeps.events import Emit
    from sweeps.grid import Source
    from sweeps.jobs import Job
    from sweeps.session import Session
    from sweeps.spec import SweepSpec


@dataclass(frozen=True, eq=False)
class Outcome:
    """A job's pictures are in its folder, or why they are not.

    Attributes:
        execution: what they took.
        seconds: of it, by stage.
        joules: what the accelerator took meanwhile, where that is measured.
        error: why there are none.
    """

    job: "Job"
    execution: ExecutionStats = field(default_factory=ExecutionStats)
    seconds: Mapping[str, float] = field(default_factory=dict)
    joules: float | None = None
    error: Exception | None = None


class Executor(Plugin, ABC):
    """A place where groups of jobs are denoised and their latents decoded. The run folder is written from here.

    Args:
        address: of machines to connect to; None: this one.
        workers: how many there are to be; None: as many as fit.
        store: a URL that all workers can read, for what they all need; None: the run folder.
        devices: of this machine, a worker each; (): as the sweep's device says.

    Attributes:
        resumes: whether it takes an interrupted group up again (`sweeps.unfinished`): it clears the folders itself, and
            may be given jobs whose manifests are there, of which it makes no pictures and yields nothing.
        unites: whether a group becomes one plan, so that prompts that several jobs denoise alike are denoised once.
    """

    resumes: bool = False
    unites: bool = False

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        store: str | None = None,
        devices: Sequence[str] = (),
    ) -> None:
        self.address, self.workers, self.store, self.devices = address, workers, store, devices

    @contextmanager
    def opened(self, spec: "SweepSpec", device: str, emit: "Emit") -> Iterator[None]:
        """Be ready to run groups of the sweep while the block lasts; `emit` hears of starting up.

        Raises:
            UserError: it cannot be had, or cannot do what the sweep asks.
        """
        yield

    def encode(self, session: "Session", source: "Source", batches: "Batches") -> "Iterator[Conditioning]":
        """Yield the conditioning of a source's prompts, part by part, in order; in this process unless overridden.

        Args:
            session: the device and the models.
            source: the model and the prompts.
            batches: how many prompts are encoded at once, and which is the first (`Batches.start`); its notes say what
                records should.
        """
        return session.encode(source, batches)

    @abstractmethod
    def run(self, jobs: "Sequence[Job]", session: "Session") -> Iterator[Outcome]:
        """Make the pictures of a group of jobs, each in its folder, which holds no others (but see `resumes`).

        Args:
            jobs: of one kind of source (`sweeps.generate.kind`), whose plans have something to denoise.
            session: the device, the model and the encoded prompts.

        Yields:
            A job's outcome when its pictures are all there, in any order; its manifest is there when the next is asked
            for.
        """


def overflowed(job: "Job", where: Mapping[int, str]) -> "UserError":
    """Return the error of a job some of whose prompts have no picture: `where` says where numbers overflowed."""
    from generators.overflow import overflow_error

    source = job.source
    return overflow_error(source.entry.name, source.settings.dtype, where, source.prompts.prompts)


def executors() -> dict[str, type[Executor]]:
    """Return every executor by name."""
    return discover("sweeps.executors", Executor, "reusebench.executors")  # type: ignore[type-abstract]


def get_executor(name: str) -> type[Executor]:
    """Return the executor called `name`; a UserError with the nearest name if there is none."""
    return find(name, "sweeps.executors", Executor, "reusebench.executors")  # type: ignore[type-abstract]
