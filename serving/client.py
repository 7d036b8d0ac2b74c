"""Requests to any server with the OpenAI-compatible images API, and what came of each; bounded in every way.

Every answer is a file of its own, written whole or not at all, with its picture beside it: a drive that was killed goes
on with what is missing. The server is a stranger: what it sends is read within limits, and what is wrong with it is a
failed request with its reason, never an error of the drive.
"""

import asyncio
import base64
import binascii
import json
import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from common.addresses import without_secrets
from common.errors import UserError
from common.files import atomic_write, parse_json, read_sealed, sha256_bytes, write_sealed
from common.pictures import is_blank, opened, read_picture
from serving.stream import Request

if TYPE_CHECKING:
    import httpx

PATH = "/v1/images/generations"
AGAIN = (429, 503)
SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
REDIRECTS = 3
LONGEST_WAIT = 60.0  # seconds before a request is sent again, whatever the server asks for
IN_A_ROW = 10  # failed requests, after which a server is left alone
LONGEST = 200  # characters kept of what a server says of itself
DEEPEST = 4  # levels of an answer in which it may say so
MOST_SAID = 40  # fields
# Names of headers and fields in which servers tell of their caches, and what they say there.
NAMED = re.compile(r"cache|hit|reuse", re.IGNORECASE)
COUNTED = re.compile(r"(^|[^a-z])hits?$", re.IGNORECASE)
HIT, MISS = re.compile(r"\W*hit\b", re.IGNORECASE), re.compile(r"\W*(miss|none|bypass)\b", re.IGNORECASE)
TRUTH = {"true": True, "yes": True, "false": False, "no": False}
SAYS = re.compile(r"hit|cached|reused", re.IGNORECASE)  # last parts of names that yes and no answer
RULE = (
    "read in headers and fields of the answer whose names have cache, hit or reuse in them: a request hit where one "
    "begins with hit, counts hits above 0, or is true and named by hit, cached or reused; it missed where they begin "
    "with miss, none or bypass, count 0 or are false, and none says hit"
)


class Limits(BaseModel):
    """What one drive may take.

    Attributes:
        concurrency: requests under way at once.
        timeout: seconds that one attempt may take, from sending to the last byte.
        attempts: how often a request is sent where the server says that it is busy (429, 503).
        most_bytes: of one answer.
        at_most: seconds of all; None: as long as it takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: Annotated[int, Field(ge=1, le=1024)] = 4
    timeout: Annotated[float, Field(gt=0)] = 120.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    most_bytes: Annotated[int, Field(ge=1024)] = 64 << 20
    at_most: Annotated[float, Field(gt=0)] | None = None


class Server(BaseModel):
    """Where requests go and what is in all of them.

    Attributes:
        url: of the images endpoint, without a user or password.
        fields: what each request's body has beside its prompt and seed; null takes a field away.
        seed_field: the body's field for the seed; None where the server takes none.
        size: width and height that are asked for and checked; None: whatever comes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    fields: dict[str, Any] = {}
    seed_field: str | None = "seed"
    size: tuple[int, int] | None = None

    def body(self, request: Request, seed: int) -> dict[str, Any]:
        """Return the JSON of one request."""
        size = {"size": f"{self.size[0]}x{self.size[1]}"} if self.size else {}
        seeded = {self.seed_field: seed} if self.seed_field else {}
        whole = {"prompt": request.prompt, "n": 1, "response_format": "b64_json", **size, **seeded, **self.fields}
        return {name: value for name, value in whole.items() if value is not None}


class Answer(BaseModel):
    """What came of one request.

    Attributes:
        id: the request's.
        failed: why there is no picture; None where there is one.
        status: the last HTTP status; None where none came.
        attempts: how often it was sent.
        begun: the run of the drive in which it was asked, from 0: a drive that is resumed begins another.
        at: seconds after that beginning at which it was to be sent.
        sent: seconds after it at which it first was.
        done: seconds after it at which its answer was there.
        hit: whether it began from what others left, by what the server says; None where it says nothing of it.
        said: the headers and fields of the answer that have to do with caching.
        file: the picture's name; None where there is none.
        picture_sha256: of that file.
        blank: whether the picture is of one colour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    failed: str | None = None
    status: int | None = None
    attempts: int
    begun: int
    at: float
    sent: float
    done: float
    hit: bool | None = None
    said: dict[str, str] = {}
    file: str | None = None
    picture_sha256: str | None = None
    blank: bool = False

    @property
    def seconds(self) -> float:
        """Return how long it took from when it was to be sent: what it waited for others counts."""
        return self.done - self.at

    @classmethod
    def read(cls, folder: Path, request_id: int) -> Self | None:
        """Return the answer that is kept of a request, if it and its picture are whole."""
        try:
            found = cls.model_validate(read_sealed(folder / f"{request_id:05d}.json")[0])
            whole = (
                found.file is None
                or sha256_bytes((folder / Path(found.file).name).read_bytes()) == found.picture_sha256
            )
        except (OSError, ValueError):  # pydantic's too
            return None
        return found if whole and found.id == request_id else None


class FailedError(Exception):
    """A request has no picture; the message says why."""


@dataclass
class Client:
    """Asks one server for pictures and keeps the answers in a folder.

    Attributes:
        server: who is asked.
        folder: of the answers.
        limits: what it may take.
        key: of the API; it is sent as a bearer token and in nothing that is written.
        told: hears of each answer.
    """

    server: Server
    folder: Path
    limits: Limits = field(default_factory=Limits)
    key: str | None = None
    told: Callable[[Answer], None] = lambda _: None

    def ask(self, requests: Sequence[Request], seeds: Sequence[int], *, until: float | None = None) -> list[Answer]:
        """Return the answers to all requests that there are when all were asked, or the time is over.

        Those that a folder has are not asked again. Requests of an open loop that is resumed come as far apart as the
        stream says, from now on.

        Args:
            requests: in the order that they come.
            seeds: of each.
            until: the time by `time.monotonic` at which it ends; what is under way then is asked again the next time.

        Raises:
            UserError: so many requests failed one after the other that the server is not asked further.
        """
        known = {request.id: Answer.read(self.folder, request.id) for request in requests}
        there = {number: answer for number, answer in known.items() if answer is not None}
        for answer in there.values():
            self.told(answer)
        left = [(one, seed) for one, seed in zip(requests, seeds, strict=True) if one.id not in there]
        if left:
            begun = max((answer.begun for answer in there.values()), default=-1) + 1
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                asyncio.run(_Asking(self, begun, left[0][0].at, until).all(left, there))
            except* (UserError, OSError) as several:  # of requests under way at once; one is told
                raise _first(several) from None
        return [there[one.id] for one in requests if one.id in there]

    def keep(self, answer: Answer, picture: bytes | None = None) -> None:
        """Write an answer, and before it its picture."""
        if answer.file is not None and picture is not None:
            atomic_write(self.folder / answer.file, picture)
        write_sealed(self.folder / f"{answer.id:05d}.json", answer.model_dump(mode="json"))


class _Asking:
    """One run of a client: its clock, its connection, and who waits."""

    def __init__(self, client: Client, begun: int, first: float, until: float | None) -> None:
        self.client, self.limits, self.server = client, client.limits, client.server
        self.begun, self.first, self.until = begun, first, until
        self.start = time.monotonic()
        self.failures: list[Answer] = []

    def now(self) -> float:
        return time.monotonic() - self.start

    async def all(self, left: Sequence[tuple[Request, int]], there: dict[int, Answer]) -> None:
        import httpx

        host = urlsplit(self.server.url).hostname
        slots = asyncio.Semaphore(self.limits.concurrency)
        async with httpx.AsyncClient(
            follow_redirects=False,
            timeout=self.limits.timeout,
            limits=httpx.Limits(max_connections=self.limits.concurrency),
            trust_env=host not in LOOPBACK,  # a proxy, for what is not here
        ) as http:
            self.start = time.monotonic()  # to load what connects took a while
            paced = any(request.at for request, _ in left)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self.until is None else max(self.until - time.monotonic(), 0)):
                    async with asyncio.TaskGroup() as group:
                        for request, seed in left:
                            at = request.at - self.first
                            if at > self.now():
                                await asyncio.sleep(at - self.now())
                            await slots.acquire()
                            if self.stopped:
                                break
                            due = at if paced else self.now()  # in a closed loop it is due when its turn comes
                            group.create_task(self.one(http, request, seed, due, slots, there))
        if self.stopped:
            for answer in self.failures:  # they are asked again the next time
                (self.client.folder / f"{answer.id:05d}.json").unlink(missing_ok=True)
            raise UserError(
                f"{len(self.failures)} requests to {self.server.url} failed one after the other: "
                f"{self.failures[-1].failed}",
                "look at the server, then run the same command again: what was answered is kept",
            )

    @property
    def stopped(self) -> bool:
        return len(self.failures) >= IN_A_ROW

    async def one(
        self,
        http: "httpx.AsyncClient",
        request: Request,
        seed: int,
        due: float,
        slots: asyncio.Semaphore,
        there: dict[int, Answer],
    ) -> None:
        sent, status, attempts, picture = self.now(), None, 0, None
        done: float | None = None
        known: dict[str, Any] = {}
        try:
            while True:
                attempts += 1
                status, headers, content = await self.attempt(http, self.server.body(request, seed))
                if status not in AGAIN or attempts >= self.limits.attempts:
                    break
                await asyncio.sleep(_wait(attempts, headers))
            done = self.now()  # what follows is our own work
            if status != 200:
                raise FailedError(f"the server answered {status}{_reason(content)}")
            parsed = _parsed(content)
            said = _said(headers, parsed)
            known = {"said": said, "hit": hit(said)}
            picture, fetched = await self.picture(http, parsed)
            done = self.now() if fetched else done
            known |= await asyncio.to_thread(_about, picture, self.server.size)  # others' times go on meanwhile
            known |= {"file": f"{request.id:05d}{known.pop('suffix')}", "picture_sha256": sha256_bytes(picture)}
        except FailedError as error:
            known |= {"failed": self.harmless(str(error))}
            picture = None
        finally:
            slots.release()
        known |= {"at": due, "sent": sent, "done": self.now() if done is None else done}
        known["said"] = {self.harmless(name): self.harmless(value) for name, value in known.get("said", {}).items()}
        answer = Answer(id=request.id, status=status, attempts=attempts, begun=self.begun, **known)
        await asyncio.to_thread(self.client.keep, answer, picture)
        there[request.id] = answer
        self.failures = [*self.failures, answer] if answer.failed else []
        self.client.told(answer)

    def harmless(self, text: str) -> str:
        """Return a server's text as one short line of printed letters, without secrets."""
        text = text.replace(self.client.key, "***") if self.client.key else text
        return "".join(letter if letter.isprintable() else " " for letter in without_secrets(text))[:LONGEST]

    async def attempt(
        self, http: "httpx.AsyncClient", body: Mapping[str, Any] | None, url: str | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and content of one exchange: a POST of a body, or a GET.

        Raises:
            FailedError: there is no whole answer within the limits, or it is elsewhere.
        """
        import httpx

        url = url or self.server.url
        headers = {"Accept-Encoding": "identity"}
        if self.client.key:
            headers["Authorization"] = f"Bearer {self.client.key}"
        try:
            async with asyncio.timeout(self.limits.timeout):
                for _ in range(REDIRECTS + 1):
                    method = "GET" if body is None else "POST"
                    async with http.stream(method, url, json=body, headers=headers) as response:
                        if response.status_code not in (301, 302, 303, 307, 308):
                            return response.status_code, response.headers, await self.read(response)
                        url = self.followed(url, response)
                raise FailedError(f"it was redirected more than {REDIRECTS} times")
        except TimeoutError:
            raise FailedError(f"no whole answer came within {self.limits.timeout:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            what = " ".join(str(error).split()) or type(error).__name__
            raise FailedError(f"the connection failed: {what}") from error

    def followed(self, url: str, response: "httpx.Response") -> str:
        """Return where a redirect leads, which is on the same server and takes the same body."""
        place = urljoin(url, response.headers.get("location", ""))
        if _origin(place) != _origin(self.server.url):
            raise FailedError("it was redirected to another server, which is not followed")
        if response.status_code not in (307, 308):
            raise FailedError(f"it was redirected by {response.status_code}, which drops the request's body")
        return str(place)

    async def read(self, response: "httpx.Response") -> bytes:
        most = self.limits.most_bytes
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise FailedError("the answer is compressed, which was not asked for")
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > most:
                raise FailedError(f"the answer has more than {most:,} bytes")
        return bytes(content)

    async def picture(self, http: "httpx.AsyncClient", answer: Any) -> tuple[bytes, bool]:
        """Return the file of the first picture of an answer, and whether it was fetched, from the same server."""
        data = answer.get("data") if isinstance(answer, dict) else None
        first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
        if isinstance(text := first.get("b64_json"), str):
            try:
                return base64.b64decode(text, validate=True), False
            except (binascii.Error, ValueError):
                raise FailedError("data[0].b64_json is no base64") from None
        if not isinstance(url := first.get("url"), str):
            raise FailedError("the answer has no data[0].b64_json")
        place = urljoin(self.server.url, url)
        if _origin(place) != _origin(self.server.url):
            raise FailedError("data[0].url is on another server, which is not asked")
        status, _, content = await self.attempt(http, None, place)
        if status != 200:
            raise FailedError(f"data[0].url answered {status}")
        return content, True


def endpoint(text: str) -> str:
    """Return the address of the images API at an endpoint, as users write it.

    Raises:
        UserError: it is no address of a server, or has a user or password in it.

    Examples:
        >>> endpoint("http://localhost:8000"), endpoint("https://api.example.org/v1/")
        ('http://localhost:8000/v1/images/generations', 'https://api.example.org/v1/images/generations')
    """
    try:
        parts = urlsplit(text.strip())
        _ = parts.port
    except ValueError:
        raise UserError("the endpoint is no address", "write it as http://localhost:8000") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{without_secrets(text)!r} is no address of a server", "write it as http://localhost:8000")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UserError(
            "an endpoint has no user, password or query",
            "put the key into an environment variable and name that: --api-key-env NAME",
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/images/generations"):
        path += PATH.removeprefix("/v1") if path.endswith("/v1") else PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def api_key(variable: str | None) -> str | None:
    """Return the key that an environment variable holds; None where none is named.

    Raises:
        UserError: it is not set, or cannot be sent in a header.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UserError(f"the environment variable {variable} holds no key", f"set it: export {variable}=...")
    return key


def json_fields(text: str | None, option: str) -> dict[str, Any]:
    """Return the fields that an option gives as a JSON object; none where it is not given.

    Raises:
        UserError: it is no object.
    """
    if text is None:
        return {}
    try:
        found = parse_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{option} {text} is no JSON object", f"""write it as {option} '{{"reuse": false}}'""")
    return found


def hit(said: Mapping[str, str]) -> bool | None:
    """Return whether a request hit, by what the server says (`RULE`); None where it says nothing that is understood.

    Examples:
        >>> hit({"x-cache": "HIT from edge"}), hit({"cache.hit": "false"}), hit({"cache-control": "no-store"})
        (True, False, None)
        >>> hit({"x-cache-hits": "3"}), hit({})
        (True, None)
    """
    found: set[bool] = set()
    for name, value in said.items():
        if name.lower().endswith("cache-control"):
            continue
        last, plain = name.rpartition(".")[2], value.strip().lower()
        if COUNTED.search(last) and plain.isdecimal():
            found.add(int(plain) > 0)
        elif plain in TRUTH and SAYS.search(last):
            found.add(TRUTH[plain])
        elif HIT.match(value):
            found.add(True)
        elif MISS.match(value):
            found.add(False)
    return any(found) if found else None


def _said(headers: Mapping[str, str], answer: Any) -> dict[str, str]:
    """Return the headers and fields of an answer that have to do with caching: by name, and all of such an object."""
    said = {name: str(value) for name, value in headers.items() if NAMED.search(name)}

    def walk(value: Any, path: str, within: bool, depth: int) -> None:
        if depth > DEEPEST or len(said) >= MOST_SAID:
            return
        if isinstance(value, dict):
            for name, one in value.items():
                walk(one, f"{path}.{name}" if path else str(name), within or bool(NAMED.search(str(name))), depth + 1)
        elif isinstance(value, list):
            for place, one in enumerate(value[:DEEPEST]):
                walk(one, f"{path}[{place}]", within, depth + 1)
        elif within and (value is None or isinstance(value, str | int | float | bool)):
            said[path] = json.dumps(value) if not isinstance(value, str) else value

    walk(answer, "", False, 0)
    return {name[:LONGEST]: value[:LONGEST] for name, value in said.items()}


def _parsed(content: bytes) -> Any:
    try:
        return parse_json(content)
    except ValueError:
        raise FailedError("the answer is no JSON") from None


def _reason(content: bytes) -> str:
    """Return what an answer that is no success says of itself, after a colon; nothing where it says nothing."""
    with suppress(ValueError):
        found = parse_json(content)
        error = found.get("error", found.get("detail")) if isinstance(found, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        if isinstance(message, str):
            return f": {message}"
    return ""


def _about(picture: bytes, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return what is kept of a picture.

    Raises:
        FailedError: it is none, or not of the size that was asked for.
    """
    try:
        with opened(BytesIO(picture)) as found:
            suffix, measured = SUFFIX[str(found.format)], found.size
            if size is not None and measured != size:
                raise FailedError(f"the picture is {measured[0]}x{measured[1]}, {size[0]}x{size[1]} was asked for")
        return {"suffix": suffix, "blank": is_blank(read_picture(BytesIO(picture)))}
    except UserError as error:
        raise FailedError(error.message) from None


def _wait(attempt: int, headers: Mapping[str, str]) -> float:
    """Return the seconds before the next attempt: what the server asks for, else twice as long each time."""
    with suppress(ValueError):
        return min(max(float(headers.get("retry-after", "")), 0.0), LONGEST_WAIT)
    return min(0.5 * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0), LONGEST_WAIT)


def _first(several: BaseExceptionGroup[Any]) -> BaseException:
    found: BaseException = several
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
