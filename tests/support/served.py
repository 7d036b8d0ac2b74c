"""A server of `bench serve` in this process: uvicorn in a thread, on a free loopback port."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from serving.engine import STRATEGY, Engine, engine_cell
from serving.server import Limits, Server, address_of, listening, make_app
from serving.shelf import Shelf
from sweeps.spec import make_spec


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        url: its address, without a path.
    """

    url: str
    engine: Engine


def engine_of(reuse: str = "cache", *, shelf: Any = Shelf, **settings: Any) -> Engine:
    """Return an engine that is not started; settings are those of a spec, or of an `Engine`."""
    own = {name: settings.pop(name) for name in ("window", "batch", "queue", "tell") if name in settings}
    spec = make_spec([{"strategy": STRATEGY[reuse], "tau": "1", "device": "cpu"}, settings])
    return Engine(engine_cell(spec, "cpu"), "cpu", reuse=reuse, shelf=shelf, **own)


@contextmanager
def served(
    reuse: str = "cache", *, shelf: Any = Shelf, limits: Limits | None = None, port: int = 0, **settings: Any
) -> Iterator[Served]:
    """Serve a model while the block runs.

    Args:
        reuse: ``none``, ``cache`` or ``plans``.
        shelf: makes the store of latents; `faulty_cache.faulty` makes one that errs.
        limits: of a request.
        port: that it listens on; 0: a free one.
        settings: of a spec (model, steps, strategy, tau, ...) or of an `Engine` (window, batch, queue).
    """
    engine = engine_of(reuse, shelf=shelf, **settings)
    engine.start()
    bound = listening("127.0.0.1", port)
    server = Server(make_app(engine, limits=limits), engine)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield Served(address_of(bound), engine)
    finally:
        server.end()
        thread.join(60)
        bound.close()


def held() -> tuple[threading.Event, threading.Event, type[Shelf]]:
    """Return an event that is set when a request is at the shelf, one that lets it go on, and that shelf."""
    entered, go_on = threading.Event(), threading.Event()

    class Held(Shelf):
        def arrive(self, row, name, making):
            entered.set()
            assert go_on.wait(60)
            return super().arrive(row, name, making)

    return entered, go_on, Held


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Return the status, headers (named in lower case) and document of a request: a GET, or a POST of a body.

    Args:
        url: whole.
        body: sent as JSON, or as it is if it is bytes; None: nothing is posted.
        headers: further ones, with underscores for hyphens.
    """
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(url, data, sent)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, json.load(error)
