"""The progress of long computations: what computes reports it, and need not know who listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int, str], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def progress(what: str, done: int, total: int) -> None:
    """Report that `done` of `total` parts of `what` are done, to the listener if there is one."""
    if listener := _listener.get():
        listener(what, done, total, "")


def current_listener() -> Listener | None:
    """Return who listens to this thread, for work that goes on in other threads."""
    return _listener.get()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` with (what, done, total, unit) whenever something in the block reports progress.

    The unit is ``B`` for bytes, and empty for parts.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
