"""A writer of pictures: they are encoded and written in threads, while the next are decoded."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.files import make_folder, sha256_bytes
from sweeps.pictures import link, picture_name, png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THREADS = 4
AHEAD = 8  # pictures a thread that may wait

Place = tuple[Path, int]
Told = Callable[[Place, str], None]


class Writer:
    """Threads that write pictures; made by `writer`."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int, told: Told) -> None:
        self._pool, self._most, self._told = pool, threads * AHEAD, told
        self._waiting: set[Future[None]] = set()

    def write(self, pixels: "NDArray[np.uint8]", places: Sequence[Sequence[Place]]) -> None:
        """Begin to write the pictures [B, H, W, 3]; where many are not written yet, wait first.

        Args:
            pixels: not to be changed afterwards.
            places: of each picture, the folders it belongs in, and its prompt's number there: one file, linked; a
                picture that belongs nowhere is not written.

        Raises:
            OSError: one before could not be written.
        """
        for picture, wanted in zip(pixels, places, strict=True):
            if not wanted:
                continue
            while len(self._waiting) >= self._most:
                self._heard(wait(self._waiting, return_when=FIRST_COMPLETED).done)
            self._waiting.add(self._pool.submit(_written, picture, wanted, self._told))

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
def writer(told: Told = lambda place, content: None) -> Iterator[Writer]:
    """Yield a writer; when the block ends, however it does, nothing is being written any more.

    `told` hears of every picture that is in its place, and the SHA-256 of its file; in the thread that wrote it.
    """
    threads = min(THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
    try:
        yield Writer(pool, threads, told)
    finally:
        pool.shutdown(cancel_futures=True)


def _written(picture: "NDArray[np.uint8]", places: Sequence[Place], told: Told) -> None:
    paths = [folder / "images" / picture_name(prompt) for folder, prompt in places]
    for path in paths:
        make_folder(path.parent)
    file = png(picture)
    content = sha256_bytes(file)
    paths[0].write_bytes(file)
    told(places[0], content)
    for path, place in zip(paths[1:], places[1:], strict=True):
        link(paths[0], path)
        told(place, content)
