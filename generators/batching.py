"""Rows cut into batches that fit in memory, and into few sizes where every size has to be compiled."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.memory import is_out_of_memory
from generators.device_memory import accelerator, give_back

T = TypeVar("T")


class Batches:
    """A batch size that halves, and stays halved, when memory runs out.

    Args:
        size: rows a batch, at most.
        few_sizes: cut rows into batches of `size`, `size`/2, ... 1 alone, the largest first: for a compiled denoiser,
            which then meets log2(`size`) + 1 shapes at most, halvings included.
        wanted: bool [count]; a batch without a row that is wanted is passed over: those of the others are as without.
        start: the row to begin with, where those before it are done.

    Attributes:
        size: rows a batch, as of now.
        rows: those of the batch that was yielded last.
        notes: a sentence for every halving; whoever works in these batches may add what a record should say.
        memo: what whoever works in these batches remembers of the rows that are done, as JSON has it: who begins behind
            them gets it back.
    """

    def __init__(
        self, size: int, *, few_sizes: bool = False, wanted: NDArray[np.bool_] | None = None, start: int = 0
    ) -> None:
        if size < 1:
            raise UserError(f"a batch of {size} holds nothing", "use a batch size of 1 or more")
        self.size = size
        self.few_sizes, self.wanted = few_sizes, wanted
        self.start, self.rows = start, slice(0, 0)
        self.notes: list[str] = []
        self.memo: dict[str, Any] = {}

    def map(self, count: int, work: Callable[[slice], T]) -> Iterator[T]:
        """Yield `work(rows)` for rows start..count-1, in order; what did not fit is tried again in a smaller batch.

        Raises:
            UserError: a single row does not fit.
        """
        start = self.start
        while start < count:
            rows = slice(start, start + self._next(count - start))
            if self.wanted is not None and not self.wanted[rows].any():
                start = rows.stop
                continue
            try:
                result = work(rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self.rows = rows
                yield result
                start = rows.stop
                continue
            # Out here the traceback is gone, and with it what held the memory.
            self._halve(rows.stop - rows.start)

    def _next(self, left: int) -> int:
        """Return the number of rows of the next batch."""
        if self.few_sizes:
            return next(size for size in ladder(self.size) if size <= left)
        return min(self.size, left)

    def _halve(self, failed: int) -> None:
        if failed == 1:
            raise UserError(
                "memory ran out with a single row in the batch",
                "use --offload model or sequential, smaller pictures, --dtype fp16, or another device",
            )
        self.size = failed // 2
        self.notes.append(f"memory ran out at batch size {failed}: went on with {self.size}")
        give_back(accelerator())


def ladder(size: int) -> list[int]:
    """Return `size`, its half, and so on, rounded down, to 1.

    Examples:
        >>> ladder(20)
        [20, 10, 5, 2, 1]
    """
    return [size >> times for times in range(size.bit_length())]
