"""A writer of pictures: they are encoded and written in threads, while the next are decoded."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.files import make_folder
from sweeps.delivery.files import IMAGES, PLAIN, PictureFiles
from sweeps.pictures import link

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THREADS = 4
AHEAD = 8  # pictures a thread that may wait

Place = tuple[Path, int]
Told = Callable[[Place, str], None]
Files = Mapping[Path, PictureFiles]


class Writer:
    """Threads that write pictures; made by `writer`."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int, told: Told, files: Files) -> None:
        self._pool, self._most, self._told, self._files = pool, threads * AHEAD, told, files
        self._waiting: set[Future[None]] = set()

    def write(self, pixels: "NDArray[np.uint8]", places: Sequence[Sequence[Place]]) -> None:
        """Begin to write the pictures [B, H, W, 3]; where many are not written yet, wait first.

        Args:
            pixels: not to be changed afterwards.
            places: of each picture, the folders it belongs in, and its prompt's number there: one file, linked; a
                picture that belongs nowhere is not written.

        Raises:
            OSError: one before could not be written; a UserError where it goes to an address.
        """
        for picture, wanted in zip(pixels, places, strict=True):
            if not wanted:
                continue
            while len(self._waiting) >= self._most:
                self._heard(wait(self._waiting, return_when=FIRST_COMPLETED).done)
            self._waiting.add(self._pool.submit(_written, picture, wanted, self._told, self._files))

    def drain(self) -> None:
        """Wait for the rest.

        Raises:
            OSError, UserError: one could not be written.
        """
        self._heard(wait(self._waiting).done)

    def _heard(self, done: set[Future[None]]) -> None:
        self._waiting -= done
        for written in done:
            written.result()


@contextmanager
def writer(told: Told = lambda place, content: None, files: Files | None = None) -> Iterator[Writer]:
    """Yield a writer; when the block ends, however it does, nothing is being written any more.

    Args:
        told: hears of every picture that is in its place, and the SHA-256 of its file; in the thread that wrote it.
        files: by folder, what its pictures' files are like; plain PNG files unless given.
    """
    threads = min(THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
    try:
        yield Writer(pool, threads, told, files or {})
    finally:
        pool.shutdown(cancel_futures=True)


def _written(picture: "NDArray[np.uint8]", places: Sequence[Place], told: Told, files: Files) -> None:
    plain: tuple[Path, str] | None = None
    for folder, prompt in places:
        kind = files.get(folder, PLAIN)
        path = folder / IMAGES / kind.name(prompt)
        if kind is PLAIN and plain:
            make_folder(path.parent)
            link(plain[0], path)
            told((folder, prompt), plain[1])
            continue
        file = kind.encode(prompt, picture)
        kind.write(folder, prompt, file)
        if kind is PLAIN:
            plain = path, file.sha256
        told((folder, prompt), file.sha256)
