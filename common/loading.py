"""Seconds spent loading weights, which happens inside whatever first needs them and is counted apart from it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from common.errors import NoRoomError, without_frames
from common.memory import is_out_of_memory

Listener = Callable[[bool], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_within: ContextVar[bool] = ContextVar("within", default=False)
_seconds: ContextVar[float] = ContextVar("seconds", default=0.0)


@contextmanager
def loading(what: str = "", hint: str = "") -> Iterator[None]:
    """Count the block, or the function that this decorates, as loading weights; of nested ones the outermost counts.

    Args:
        what: the weights, and where they go.
        hint: what to do where they do not fit.

    Raises:
        NoRoomError: they do not fit; without `what`, the error stays as it is.
    """
    with _counted():
        if not what:
            yield
            return
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failed = without_frames(error)  # which hold the part that did fit
        if failed is not None:
            raise NoRoomError(f"{what} do not fit into its memory", hint) from None


@contextmanager
def _counted() -> Iterator[None]:
    if _within.get():
        yield
        return
    listener, start, token = _listener.get(), time.perf_counter(), _within.set(True)
    if listener:
        listener(True)
    try:
        yield
    finally:
        _within.reset(token)
        _seconds.set(_seconds.get() + time.perf_counter() - start)
        if listener:
            listener(False)


@contextmanager
def hearing_loads(listener: Listener) -> Iterator[None]:
    """Call `listener` with True where loading begins in the block, with False where it ends."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def seconds_loading() -> float:
    """Return the seconds that this thread has spent loading so far; the difference of two calls is what lay between."""
    return _seconds.get()
