"""A writer of pictures: they are encoded and written in threads, while the next are decoded."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.pictures import link, picture_name, png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THREADS = 4
AHEAD = 8  # pictures a thread that may wait

Place = tuple[Path, int]


class Writer:
    """Threads that write pictures; made by `writer`."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool, self._most = pool, threads * AHEAD
        self._waiting: set[Future[None]] = set()

    def write(self, pixels: "NDArray[np.uint8]", places: Sequence[Sequence[Place]]) -> None:
        """Begin to write the pictures [B, H, W, 3]; where many are not written yet, wait first.

        Args:
            pixels: not to be changed afterwards.
            places: of each picture, the folders it belongs in, and its prompt's number there: one file, linked.

        Raises:
            OSError: one before could not be written.
        """
        for picture, wanted in zip(pixels, places, strict=True):
            while len(self._waiting) >= self._most:
                self._heard(wait(self._waiting, return_when=FIRST_COMPLETED).done)
            self._waiting.add(self._pool.submit(_written, picture, wanted))

    def drain(self) -> None:
        """Wait for the rest.

        Raises:
            OSError: one could not be written.
        """
        self._heard(wait(self._waiting).done)

    def _heard(self, done: set[Future[None]]) -> None:
        self._waiting -= done
        for written in done:
            written.result()


@contextmanager
def writer() -> Iterator[Writer]:
    """Yield a writer; when the block ends, however it does, nothing is being written any more."""
    threads = min(THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
    try:
        yield Writer(pool, threads)
    finally:
        pool.shutdown(cancel_futures=True)


def _written(picture: "NDArray[np.uint8]", places: Sequence[Place]) -> None:
    paths = [folder / "images" / picture_name(prompt) for folder, prompt in places]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    paths[0].write_bytes(png(picture))
    for path in paths[1:]:
        link(paths[0], path)
