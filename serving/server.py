"""The images API that OpenAI's clients speak, before an `Engine`. Imports FastAPI, which is an extra."""

import asyncio
import base64
import io
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from common.errors import UserError, nearest
from serving.engine import MOST_PICTURES, Answer, BusyError, ClosingError, Engine, FailedError, Wanted, checked_prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_BODY, LONGEST_PROMPT = 64 * 1024, 4000  # bytes, characters
PATIENCE = 30.0  # seconds within which a body is there


@dataclass(frozen=True)
class Limits:
    """The bounds of what a request may ask for; bytes, characters, pictures."""

    body: int = LARGEST_BODY
    prompt: int = LONGEST_PROMPT
    pictures: int = MOST_PICTURES


class ImagesRequest(BaseModel):
    """The body of a request for pictures: OpenAI's fields, those that other servers add, and `reuse`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str
    model: str | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    size: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    user: str | None = None
    stream: Literal[False] | None = None
    quality: Literal["auto", "standard"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = None
    negative_prompt: str | None = None
    reuse: bool | None = None


class RefusedError(Exception):
    """A request is answered with an error, in the shape that OpenAI's clients read."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, kind: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")
        self.message, self.param, self.code = message, param, code

    @property
    def response(self) -> JSONResponse:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        headers = {"Retry-After": "1"} if self.status in (429, 503) else {}
        return JSONResponse({"error": error}, self.status, headers)


def make_app(engine: Engine, *, limits: Limits | None = None, host: str = "127.0.0.1") -> FastAPI:
    """Return the server of an engine that has been started, which it closes when it is shut down.

    Args:
        engine: makes the pictures.
        limits: of a request.
        host: that it is served on: where that is a loopback address, requests that name another host are refused.
    """
    bounds = limits or Limits()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close()
        await run_in_threadpool(engine.join)

    app = FastAPI(title="bench serve", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    created = int(time.time())
    own = {"id": engine.cell.source.entry.name, "object": "model", "created": created, "owned_by": "reusebench"}

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return error.response

    @app.exception_handler(HTTPException)
    async def no_such(request: Request, error: HTTPException) -> JSONResponse:
        what = f"{request.method} {request.url.path}: {error.detail}"
        return RefusedError(error.status_code, what, code="unknown_url").response

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        return RefusedError(500, f"the server failed: {type(error).__name__}", code="server_failed").response

    @app.middleware("http")
    async def own_name(request: Request, call_next: Callable[..., Any]) -> Any:
        # a page that a browser shows may have its own name lead here, and read what is answered
        if is_loopback(host) and not is_loopback(_named(request.headers.get("host", ""))):
            return RefusedError(403, "this server is reached by a loopback address only", code="wrong_host").response
        return await call_next(request)

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok" if engine.alive else "closing"}, 200 if engine.alive else 503)

    @app.get("/metrics")
    async def metrics() -> dict[str, Any]:
        return {"model": own["id"], "reuse": engine.reuse, **asdict(engine.counts)}

    @app.get("/v1/models")
    async def known() -> dict[str, Any]:
        return {"object": "list", "data": [own]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        _check_model(name, str(own["id"]))
        return own

    @app.post("/v1/images/generations")
    async def generate(request: Request) -> JSONResponse:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "the body is JSON: send it with Content-Type: application/json")
        body = _parsed(await _body(request, bounds.body))
        # checking settings prepares a scheduler, which is torch's work
        wanted = await run_in_threadpool(_wanted, body, engine, bounds)
        try:
            answer = await asyncio.wrap_future(engine.submit(wanted))
        except BusyError:
            what = f"{engine.queue} requests wait already"
            raise RefusedError(429, what, code="queue_full", kind="rate_limit_error") from None
        except ClosingError:
            raise RefusedError(503, "the server is shutting down", code="closing") from None
        except FailedError as error:
            raise RefusedError(500, str(error), code="engine_failed") from None
        document = await run_in_threadpool(_document, answer)
        return JSONResponse(document, headers={"X-Cache": "hit" if answer.hit else "miss", "X-Request-Id": answer.id})

    return app


async def _body(request: Request, most: int) -> bytes:
    """Return the body, of which no more is read than is allowed."""
    too_large = RefusedError(413, f"the body has more than {most:,} bytes", code="body_too_large")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise too_large
    except ClientDisconnect:
        raise RefusedError(400, "the body ended early") from None  # which nobody may be there to read
    except TimeoutError:
        raise RefusedError(408, f"the body was not there after {PATIENCE:g} seconds") from None
    return bytes(body)


def _parsed(body: bytes) -> ImagesRequest:
    try:
        return ImagesRequest.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, fault["loc"])) or None
        if fault["type"] == "json_invalid":
            raise RefusedError(400, f"the body is no JSON: {fault['msg']}") from None
        if fault["type"] == "extra_forbidden":
            what = f"there is no field {name!r}: {nearest(str(name), ImagesRequest.model_fields)}"
            raise RefusedError(422, what[:400], param=name and name[:60], code="unknown_field") from None
        raise RefusedError(422, f"{name or 'the body'}: {fault['msg']}", param=name, code=fault["type"]) from None


def _wanted(body: ImagesRequest, engine: Engine, bounds: Limits) -> Wanted:
    """Return what a request asks for; a field whose value this server does not take is named."""
    source = engine.cell.source
    _check_model(body.model, source.entry.name)
    if body.response_format not in (None, "b64_json"):
        what = f"response_format {_short(body.response_format)}: pictures come as b64_json; nothing is kept under a URL"
        raise RefusedError(400, what, param="response_format", code="unsupported_value")
    if body.output_format not in (None, "png"):
        what = f"output_format {_short(body.output_format)}: pictures are png"
        raise RefusedError(400, what, param="output_format", code="unsupported_value")
    size = f"{source.settings.width}x{source.settings.height}"
    if body.size not in (None, "auto", size):
        what = f"size {_short(body.size)}: {source.entry.name} makes {size} here"
        raise RefusedError(400, what, param="size", code="unsupported_value")
    most = min(bounds.pictures, engine.batch)
    if (n := body.n or 1) > most:
        raise RefusedError(400, f"n is {n}: {most} pictures are the most here", param="n", code="unsupported_value")
    try:
        prompt = checked_prompt(body.prompt, bounds.prompt)
    except UserError as error:
        raise RefusedError(400, str(error), param="prompt", code="invalid_prompt") from None
    if len(body.negative_prompt or "") > bounds.prompt:
        what = f"the negative prompt is longer than {bounds.prompt:,} characters"
        raise RefusedError(400, what, param="negative_prompt", code="invalid_prompt")
    asked = {
        "steps": body.num_inference_steps,
        "guidance": body.guidance_scale,
        "negative_prompt": body.negative_prompt,
    }
    try:
        settings = engine.settings({name: value for name, value in asked.items() if value is not None})
    except UserError as error:
        raise RefusedError(400, str(error), code="unsupported_value") from None
    return Wanted(prompt, settings, n, body.seed, body.reuse is not False)


def _check_model(name: str | None, own: str) -> None:
    if name not in (None, own):
        what = f"the model {_short(name)} is not here: this server has {own}"
        raise RefusedError(404, what, param="model", code="model_not_found")


def _document(answer: Answer) -> dict[str, Any]:
    pictures = answer.pictures
    return {
        "created": int(time.time()),
        "data": [{"b64_json": base64.b64encode(png(picture.pixels)).decode()} for picture in pictures],
        "output_format": "png",
        "reuse": {
            "request": answer.id,
            "cache": "hit" if answer.hit else "miss",
            "from_request": pictures[0].from_request,
            "similarity": pictures[0].similarity,
            "together": answer.together,
            "steps": sum(picture.steps for picture in pictures),
            "steps_run": sum(picture.steps_run for picture in pictures),
            "steps_skipped": sum(picture.steps - picture.steps_run for picture in pictures),
            "nfe_rows": None if pictures[0].rows is None else sum(picture.rows or 0 for picture in pictures),
            "seed": pictures[0].seed,
            "waited_seconds": answer.waited,
            "seconds": answer.seconds,
        },
    }


def png(pixels: "NDArray[Any]") -> bytes:
    """Return a picture, uint8 [height, width, 3], as a PNG file."""
    from PIL import Image

    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, as only this machine can reach it.

    Examples:
        >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
        [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _named(host: str) -> str:
    """Return the name in a Host header, without the port.

    Examples:
        >>> _named("[::1]:8000"), _named("localhost:8000"), _named("127.0.0.1")
        ('::1', 'localhost', '127.0.0.1')
    """
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _short(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 60 else f"{text[:57]}...")


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        UserError: it cannot be.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host} port {port}: {error.strerror or error}", "choose another --port"
        ) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """Return the URL of a socket that is bound."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """A uvicorn that ends in order when it is told to: what is being made is finished, what waits is refused.

    Args:
        app: as `make_app` returns it.
        engine: of the app.
    """

    def __init__(self, app: FastAPI, engine: Engine) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, access_log=False, log_level="error", lifespan="on"))
        self._engine = engine

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Have signals end the server while the block runs; uvicorn's own would raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        numbers = [getattr(signal, name) for name in names]
        before = {number: signal.getsignal(number) for number in numbers}
        taken = [number for number in numbers if before[number] is not signal.SIG_IGN]
        for number in taken:
            signal.signal(number, self._told)
        try:
            yield
        finally:
            for number in taken:
                signal.signal(number, before[number])

    def end(self) -> None:
        """Take no more requests, and end when what is being made is finished."""
        self._engine.close()
        self.should_exit = True

    def _told(self, number: int, _: Any) -> None:
        self.force_exit = self.should_exit  # whoever tells it twice does not want to wait
        self.should_exit = True
        # a handler may have interrupted whoever holds the engine's lock
        asyncio.get_running_loop().call_soon_threadsafe(self._engine.close)
