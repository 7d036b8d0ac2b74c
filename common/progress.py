"""The progress of long computations: what computes reports it, and need not know who listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def progress(what: str, done: int, total: int) -> None:
    """Report that `done` of `total` parts of `what` are done, to the listener if there is one."""
    if listener := _listener.get():
        listener(what, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` with (what, done, total) whenever something computed in the block reports progress."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
