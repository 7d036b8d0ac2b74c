"""Weights on their way into memory: it happens inside of whatever first needs them, and is told apart from that."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[bool], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_within: ContextVar[bool] = ContextVar("within", default=False)
_seconds: ContextVar[float] = ContextVar("seconds", default=0.0)


@contextmanager
def loading() -> Iterator[None]:
    """Weights are loaded in the block, or in the function that this decorates; of nested ones the outermost counts."""
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
    """`listener` hears True where loading begins in the block, False where it is over."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def seconds_loading() -> float:
    """Seconds that this thread has spent loading so far: a difference of two is what went by between."""
    return _seconds.get()
