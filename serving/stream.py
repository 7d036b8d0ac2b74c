"""A stream of requests: the prompts of a task in an order, and the times at which they arrive. A plain file holds it.

Whether a cache hits depends on what came before, so a stream is named by how it was made, seeded, and kept: whoever has
its file replays the very same requests.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import UserError, nearest
from common.files import atomic_write, canonical_json, input_file, parse_json, sha256_text
from metrics.scorer_audit import near_prompts

Order = Literal["set", "drawn", "zipf", "sessions"]
Arrivals = Literal["closed", "poisson", "burst"]
# What each is, where it was published; these sentences are printed and kept.
ORDERS: dict[Order, str] = {
    "set": "the set's own order, over and over",
    "drawn": "a drawn order, another each time the set begins again",
    "zipf": "the n-th most asked prompt is asked in proportion to 1 / n^skew, as pages are of web caches (Breslau et "
    "al., INFOCOM 1999, find a skew of 0.64 to 0.83); drawn order",
    "sessions": "runs of prompts that share words, as of users who refine a prompt (DiffusionDB, arXiv 2210.14896); "
    "their lengths are geometric; every prompt comes once before any comes again",
}
ARRIVALS: dict[Arrivals, str] = {
    "closed": "a closed loop: the next request is sent as soon as one of the requests under way is answered",
    "poisson": "an open loop: requests come independently at a mean rate, whether or not others were answered",
    "burst": "an open loop: so many requests come at one moment, and such moments independently at a mean rate",
}
LONGEST_RUN = 40  # requests of a session
MOST = 100_000  # requests
FILE = "requests.jsonl"
WORDS_ALONE, WORDS = "words", "shared words (cosine of TF-IDF)"
NEIGHBOURS = 30  # of a prompt, that a session goes on with; if all were asked, it ends


class StreamSpec(BaseModel):
    """How a stream is made of a set of prompts.

    Attributes:
        requests: their number.
        order: see `ORDERS`.
        arrivals: see `ARRIVALS`.
        seed: of all draws, the requests' own seeds among them.
        rate: of open loops, mean requests a second.
        burst: requests that come at one moment.
        skew: of ``zipf``.
        run: of ``sessions``, their mean length.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: Annotated[int, Field(ge=2, le=MOST)] = 500
    order: Order = "drawn"
    arrivals: Arrivals = "closed"
    seed: Annotated[int, Field(ge=0)] = 0
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    burst: Annotated[int, Field(ge=1)] = 8
    skew: Annotated[float, Field(ge=0, le=10)] = 0.8
    run: Annotated[float, Field(ge=1, le=1000)] = 5.0

    @property
    def described(self) -> list[str]:
        """Return in words what the stream is."""
        order = {"zipf": f", skew {self.skew:g}", "sessions": f", mean length {self.run:g}"}.get(self.order, "")
        come = {
            "poisson": f", {self.rate:g} a second",
            "burst": f", {self.burst} at once, {self.rate:g} a second in all",
        }.get(self.arrivals, "")
        return [
            f"{self.order}{order}: {ORDERS[self.order]}",
            f"{self.arrivals}{come}: {ARRIVALS[self.arrivals]}",
        ]

    @classmethod
    def made(cls, **settings: Any) -> Self:
        """Return a spec of settings from a command line, checked.

        Raises:
            UserError: a name is unknown or a number out of its range.
        """
        for name, known in (("order", get_args(Order)), ("arrivals", get_args(Arrivals))):
            if name in settings and settings[name] not in known:
                raise UserError(f"no {name} of a stream is called {settings[name]!r}", nearest(settings[name], known))
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            what = ".".join(map(str, first["loc"]))
            raise UserError(f"--{what} is {first['input']}: {first['msg'].lower()}", "give another number") from error


class Request(BaseModel):
    """One request of a stream.

    Attributes:
        id: its place in the stream, from 0.
        prompt_id: the prompt's place in its set.
        prompt: its text.
        at: seconds after the stream's begin at which it arrives; 0 in a closed loop.
        seed: of its picture, where the server takes one; in the second arm the same.
        control_seed: of its picture in the control, which is the first arm once more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[int, Field(ge=0)]
    prompt_id: Annotated[int, Field(ge=0)]
    prompt: str
    at: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    control_seed: Annotated[int, Field(ge=0, lt=2**31)]


class Stream(BaseModel):
    """Requests in the order that they come, and how they were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: StreamSpec
    requests: tuple[Request, ...]

    @property
    def prompts(self) -> list[str]:
        """The requests' texts."""
        return [request.prompt for request in self.requests]

    @property
    def hash(self) -> str:
        """Return the hash of all requests."""
        return sha256_text(canonical_json([request.model_dump() for request in self.requests]))

    @classmethod
    def of(cls, prompts: Sequence[str], spec: StreamSpec) -> Self:
        """Return the stream that the spec makes of a set's prompts; the same for the same of both.

        Raises:
            UserError: there is no prompt.

        Examples:
            >>> stream = Stream.of(["a fox", "a wolf"], StreamSpec(requests=3, order="set"))
            >>> stream.prompts
            ['a fox', 'a wolf', 'a fox']
        """
        if not prompts:
            raise UserError("a stream has no prompts", "give a card or a set that has some")
        order, come, seeds = (np.random.default_rng([spec.seed, part]) for part in range(3))
        rows = _ordered(list(prompts), spec, order)
        at = _arrivals(spec, come)
        drawn = seeds.choice(2**31, size=(2, spec.requests), replace=False)
        return cls(
            spec=spec,
            requests=tuple(
                Request(
                    id=i,
                    prompt_id=int(rows[i]),
                    prompt=prompts[rows[i]],
                    at=float(at[i]),
                    seed=int(drawn[0, i]),
                    control_seed=int(drawn[1, i]),
                )
                for i in range(spec.requests)
            ),
        )

    def write(self, path: Path) -> None:
        """Write a JSON line that says how it was made, and one a request."""
        lines = [self.spec.model_dump(), *(request.model_dump() for request in self.requests)]
        atomic_write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the stream that a file holds.

        Raises:
            UserError: it is none, or its requests are not numbered from 0 in the order that they come.
        """
        try:
            lines = input_file(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
            first, *others = (parse_json(line) for line in lines)
            found = cls(spec=StreamSpec(**first), requests=tuple(Request(**line) for line in others))
        except FileNotFoundError:
            raise UserError(f"there is no stream {path}", "check the path") from None
        except (ValueError, TypeError) as error:  # pydantic's errors too
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path} holds no stream: {reason}", f"give the {FILE} of a drive") from error
        at = [request.at for request in found.requests]
        if [request.id for request in found.requests] != list(range(found.spec.requests)) or at != sorted(at):
            raise UserError(
                f"{path}: the requests are not numbered from 0 in the order that they come",
                f"give the {FILE} of a drive",
            )
        return found


class Likeness(BaseModel):
    """How alike requests are to those before them: to the nearest earlier one, from -1 to 1.

    Attributes:
        by: what tells it.
        mean: over all requests but the first; one whose very prompt was asked before counts 1.
        others: the mean where earlier requests of the very same prompt are left out; None where all are one prompt.
        repeated: the share of requests whose very prompt was asked before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    mean: float
    others: float | None
    repeated: float


def likeness(prompts: Sequence[str], encoder: str | None = None) -> Likeness:
    """Return how alike the requests of a stream are to earlier ones.

    Args:
        prompts: of the requests, in order; at least two.
        encoder: what tells it: the name of a text encoder, or ``words`` for shared words; None: an encoder that is
            here, else words.

    Examples:
        >>> found = likeness(["a red fox", "a blue van", "a red fox", "a red wolf"], "words")
        >>> found.repeated, round(found.others, 2) < round(found.mean, 2) < 1
        (0.25, True)
    """
    by, rows = text_features(prompts, encoder)
    kinds = np.unique(list(prompts), return_inverse=True)[1]
    near, others, again = [], [], 0
    for i in range(1, len(rows)):
        alike, same = rows[:i] @ rows[i], kinds[:i] == kinds[i]
        near.append(1.0 if same.any() else float(alike.max()))
        again += bool(same.any())
        if not same.all():
            others.append(float(alike[~same].max()))
    return Likeness(
        by=by,
        mean=float(np.mean(near)),
        others=float(np.mean(others)) if others else None,
        repeated=again / len(rows),
    )


def text_features(prompts: Sequence[str], encoder: str | None = None) -> tuple[str, NDArray[np.float64]]:
    """Return what embeds prompts, and their unit rows [N, D]; `encoder` as in `likeness`."""
    from generators.text_encoders.base import encoders, text_embeddings
    from metrics.statistics import unit_rows

    here = [name for name, kind in encoders().items() if not kind.unavailable()] if encoder is None else [encoder]
    if here and here[0] != WORDS_ALONE:
        return f"the text encoder {here[0]}", unit_rows(text_embeddings(here[0], prompts))
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = TfidfVectorizer(token_pattern=r"\S+").fit_transform([prompt.strip() or "." for prompt in prompts])
    return WORDS, np.asarray(rows.toarray(), dtype=np.float64)


def _ordered(prompts: list[str], spec: StreamSpec, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which prompt each request asks for."""
    n, size = spec.requests, len(prompts)
    if spec.order == "zipf":
        rows = np.repeat(rng.permutation(size), zipf_counts(n, size, spec.skew))
        return np.asarray(rng.permutation(rows), dtype=np.int64)
    passes = -(-n // size)
    if spec.order == "set":
        return np.arange(n, dtype=np.int64) % size
    if spec.order == "drawn":
        return np.array([row for _ in range(passes) for row in rng.permutation(size)][:n], dtype=np.int64)
    near = near_prompts(prompts, NEIGHBOURS) if size > 1 else np.empty((size, 0), dtype=np.int64)
    return np.concatenate([_sessions(near, spec.run, rng) for _ in range(passes)])[:n]


def zipf_counts(requests: int, prompts: int, skew: float) -> NDArray[np.int64]:
    """Return how often the most asked prompt is asked, the second, ...; all requests together, by largest remainders.

    Examples:
        >>> zipf_counts(10, 3, 1.0).tolist(), zipf_counts(9, 3, 0.0).tolist()
        ([5, 3, 2], [3, 3, 3])
    """
    weights: NDArray[np.float64] = np.arange(1, prompts + 1, dtype=np.float64) ** -skew
    exact = requests * weights / weights.sum()
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: requests - counts.sum()]] += 1
    return counts


def _sessions(near: NDArray[np.int64], mean_length: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return all prompts once, in runs: each goes on with the nearest prompt that was not asked yet."""
    left = [int(row) for row in rng.permutation(len(near))]
    asked: set[int] = set()
    order: list[int] = []
    while left:
        row: int | None = left.pop()
        for _ in range(min(int(rng.geometric(1 / mean_length)), LONGEST_RUN)):
            if row is None:
                break
            order.append(row)
            asked.add(row)
            row = next((int(other) for other in near[row] if int(other) not in asked), None)
        left = [row for row in left if row not in asked]
    return np.array(order, dtype=np.int64)


def _arrivals(spec: StreamSpec, rng: np.random.Generator) -> NDArray[np.float64]:
    if spec.arrivals == "closed":
        return np.zeros(spec.requests)
    together = spec.burst if spec.arrivals == "burst" else 1
    moments = -(-spec.requests // together)
    at = np.cumsum(rng.exponential(together / spec.rate, moments))
    return np.repeat(at - at[0], together)[: spec.requests]  # the first does not keep anyone waiting
