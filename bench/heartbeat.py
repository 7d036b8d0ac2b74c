"""One line now and then from a command that nobody watches: also while one long call runs."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import UserError

EVERY = "REUSEBENCH_PROGRESS_SECONDS"  # between two lines; 0 for none
USUAL, FIRST = 60.0, 5.0


def interval() -> float:
    """Return the seconds between two lines; 0 where there is to be none.

    Raises:
        UserError: the environment variable is no such number.
    """
    text = os.environ.get(EVERY, str(USUAL))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < threading.TIMEOUT_MAX:
        raise UserError(f"{EVERY}={text} is no number of seconds", "set it to 60, or to 0 for no lines of progress")
    return seconds


@contextmanager
def heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` while the block runs, from a thread: soon after it began, then at `interval`; never after its end."""
    seconds = interval()
    if not seconds:
        yield
        return
    over = threading.Event()

    def beats() -> None:
        wait = min(FIRST, seconds)
        while not over.wait(wait):
            beat()
            wait = seconds

    thread = threading.Thread(target=beats, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
