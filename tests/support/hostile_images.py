"""A loopback server of the images API that does what it is told to, well or badly; real HTTP, pictures drawn here."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


def png(seed: int, size: tuple[int, int] = (16, 16)) -> bytes:
    """Return a picture that follows from a seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def document(picture: bytes, **more: Any) -> bytes:
    """Return the body of a good answer."""
    return json.dumps({"data": [{"b64_json": base64.b64encode(picture).decode()}], **more}).encode()


@dataclass
class Images:
    """What the server saw.

    Attributes:
        url: its address.
        bodies: of all requests, in the order that they came.
        headers: likewise.
        most_at_once: requests under way at once.
    """

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0


Answering = Callable[[BaseHTTPRequestHandler, dict[str, Any], Images], None]


def send(
    handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    """Answer with this content."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def well(handler: BaseHTTPRequestHandler, body: dict[str, Any], seen: Images) -> None:
    """Answer with the picture of the seed; every third request hits."""
    hit = body.get("reuse", True) and len(seen.bodies) % 3 == 0
    picture = png(int(body.get("seed", len(seen.bodies))))
    send(handler, document(picture, reuse={"steps": 3}), headers={"X-Cache": "hit" if hit else "miss"})


@contextmanager
def images(answer: Answering = well) -> Iterator[Images]:
    """Serve on a free loopback port while the block runs."""
    seen, lock = Images(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._do(json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}"))

        def do_GET(self) -> None:
            self._do({})

        def _do(self, body: dict[str, Any]) -> None:
            with lock:
                seen.bodies.append(body)
                seen.headers.append(dict(self.headers))
                seen.paths.append(self.path)
                seen.at_once += 1
                seen.most_at_once = max(seen.most_at_once, seen.at_once)
            try:
                answer(self, body, seen)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with lock:
                    seen.at_once -= 1

        def log_message(self, *_: Any) -> None:
            pass

    class Listening(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None:
            pass

    server = Listening(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
