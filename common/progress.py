"""How far a long computation is, for whoever listens: what computes need not know who that is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def progress(what: str, done: int, total: int) -> None:
    """Tell that `done` of `total` are done; nobody need be listening."""
    if listener := _listener.get():
        listener(what, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """`listener` hears (what, done, total) of everything that is computed in the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
