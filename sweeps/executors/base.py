"""What denoises and decodes the plans of a sweep: this process, or workers elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from common.plugins import Plugin, discover, find
from sweeps.events import StageAdvanced
from sweeps.record import ExecutionFigures

if TYPE_CHECKING:
    from generators.conditioning import Conditioning
    from generators.denoiser_caches.base import DenoiserCache
    from generators.sharing.plan import SharingPlan
    from sweeps.events import Emit
    from sweeps.making import Maker
    from sweeps.spec import SweepSpec

# Puts a plan's pictures into a folder, when they are there, and says what they took.
Work: TypeAlias = Callable[[Path], ExecutionFigures]


class Executor(Plugin, ABC):
    """A place where plans are denoised and their latents decoded. The run folder is written here, whatever it is.

    Args:
        address: of machines to connect to; None: this one.
        workers: how many there are to be; None: as many as fit.
        store: a URL that all workers can read, for what they all need; None: the run folder.

    Attributes:
        ahead: how many plans may be begun while another is waited for.
        together: whether plans are denoised in this process, and so may be denoised as one.
    """

    ahead: int = 0
    together: bool = False

    def __init__(self, address: str | None = None, workers: int | None = None, store: str | None = None) -> None:
        self.address, self.workers, self.store = address, workers, store

    @contextmanager
    def opened(self, spec: "SweepSpec", device: str, emit: "Emit") -> Iterator[None]:
        """Ready to begin works while the block runs.

        Raises:
            UserError: it cannot be had, or cannot do what the sweep asks.
        """
        yield

    def encode(self, maker: "Maker") -> "tuple[Conditioning, list[str]]":
        """The conditioning of a maker's prompts, and what a record should say of it; in this process unless said.

        The encoders stay until something is denoised.
        """
        from generators.batching import Batches

        prompts, family, batches = maker.source.prompts, maker.family, Batches(maker.batch_size)
        heard = lambda done: maker.emit(StageAdvanced(done))  # noqa: E731 - too short for a name
        conditioning = family.encode(prompts.prompts, prompts.keys, maker.source.settings, batches, heard)
        return conditioning, batches.notes

    @abstractmethod
    def begin(self, maker: "Maker", plan: "SharingPlan", cache: "DenoiserCache | None" = None) -> Work:
        """Begin the pictures of a plan; they are waited for when the work is called.

        Args:
            maker: of the plan's source, its prompts encoded.
            plan: restricted to the prompts whose pictures are wanted.
            cache: reuse between the steps of each path.

        Raises:
            UserError: it cannot have such a cache here.
        """


def executors() -> dict[str, type[Executor]]:
    """Every executor by name."""
    return discover("sweeps.executors", Executor, "reusebench.executors")  # type: ignore[type-abstract]


def get_executor(name: str) -> type[Executor]:
    """The executor called `name`; a UserError with the nearest name if there is none."""
    return find(name, "sweeps.executors", Executor, "reusebench.executors")  # type: ignore[type-abstract]
