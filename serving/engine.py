"""The engine of `bench serve`: one thread has the model, and denoises together the requests that wait."""

import secrets
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, without_frames
from common.files import sha256_text
from common.plugins import no_exit
from generators.prompts import checked_text, given_prompts
from generators.strategies.arriving import Arriving
from generators.strategies.base import Strategy, check_features, grouped
from generators.strategies.contents import unit
from serving.shelf import Begin, Shelf, batch_plan, picture_plan

if TYPE_CHECKING:
    from torch import Tensor

    from generators.acceleration import Acceleration
    from generators.conditioning import Conditioning
    from generators.node_states import NodeState
    from generators.settings import GenerationSettings
    from generators.sharing.plan import SharingPlan
    from sweeps.grid import Cell

Reuse = Literal["none", "cache", "plans"]
STRATEGY: dict[str, str] = {"cache": "cache", "plans": "ward-cosine", "none": "none"}
KINDS = 8  # of settings in which requests may come at once, each with latents of its own
NAMES = 20_000  # requests that are found in one cache: with more it is emptied, whatever its rules say
DRAWN = 2**31  # seeds that are drawn are below
MOST_PICTURES, MOST_QUEUED, MOST_BATCH = 4, 64, 8


class BusyError(Exception):
    """As many requests wait as may."""


class ClosingError(Exception):
    """No request is taken any more."""


class FailedError(Exception):
    """A request could not be served, and not by any fault of its own; the message may be told to whoever asked."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks for, checked.

    Attributes:
        settings: of its pictures; their seed says nothing.
        n: how many pictures.
        seed: of their noise; None: one is drawn.
        reuse: whether it may take what others left, and leave something.
    """

    prompt: str
    settings: "GenerationSettings"
    n: int = 1
    seed: int | None = None
    reuse: bool = True
    id: str = field(default_factory=lambda: f"img-{secrets.token_hex(12)}")


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, and what it took.

    Attributes:
        pixels: uint8 [height, width, 3].
        seed: that its noise was drawn from.
        steps: K, the denoiser evaluations of a picture by itself.
        steps_run: those that were done for it; of one that was done for several it has its share.
        rows: the rows that the denoiser evaluated for it: two a step with guidance, where a model has it; None where
            the model's components do not tell.
        from_request: the id of the request whose latent it began with; None: nobody's, or several shared.
        similarity: to the nearest request with a latent; None where there is none, or nobody looked.
    """

    pixels: NDArray[np.uint8]
    seed: int
    steps: int
    steps_run: float
    rows: float | None
    from_request: str | None = None
    similarity: float | None = None

    @property
    def hit(self) -> bool:
        """Whether it took less than by itself."""
        return self.steps_run < self.steps


@dataclass(frozen=True)
class Answer:
    """The pictures of one request.

    Attributes:
        waited: seconds in the queue.
        seconds: from when it was taken out of the queue until its pictures were there.
        together: requests that were denoised with it, itself included.
    """

    id: str
    pictures: Sequence[Picture]
    waited: float
    seconds: float
    together: int

    @property
    def hit(self) -> bool:
        """Whether a picture of it took less than by itself."""
        return any(picture.hit for picture in self.pictures)


@dataclass
class Counts:
    """What the engine has done since it began.

    Attributes:
        steps: denoiser evaluations, counted by picture: what plans call node-steps.
        steps_alone: those that there would have been with nobody sharing.
        rows: that the denoiser evaluated, as far as its model tells.
        rows_alone: likewise with nobody sharing.
        latents: kept now.
    """

    requests: int = 0
    hits: int = 0
    failed: int = 0
    refused: int = 0
    pictures: int = 0
    batches: int = 0
    steps: int = 0
    steps_alone: int = 0
    rows: float = 0.0
    rows_alone: float = 0.0
    denoising_seconds: float = 0.0
    latents: int = 0
    waiting: int = 0


@dataclass
class _Waiting:
    wanted: Wanted
    future: "Future[Answer]"
    since: float


@dataclass(frozen=True, eq=False)
class _Asked:
    """One picture of a batch: whose, its number among that one's, and its seed."""

    wanted: Wanted
    number: int
    seed: int

    @property
    def shares(self) -> bool:
        """Only the first picture of a request does: the others would be copies of it."""
        return self.wanted.reuse and self.number == 0

    @property
    def key(self) -> str:
        """The key of its noise: that of `bench generate` with this seed."""
        from generators.noise import seeded

        return seeded(self.seed, f"{sha256_text(self.wanted.prompt)}#{self.number}")


@dataclass(frozen=True, eq=False)
class _Planned:
    """A batch, planned.

    Attributes:
        begins: where each picture begins.
        states: the initial states of nodes that begin from what was kept.
        keep: takes the states of nodes that stop.
        finished: the nodes whose pictures were finished before, and their last latents.
        keep_pictures: takes the last latents of all pictures.
    """

    plan: "SharingPlan"
    begins: Sequence[Begin]
    states: "Sequence[NodeState]" = ()
    keep: "Callable[[NodeState], None] | None" = None
    finished: "tuple[NDArray[np.int64], Tensor] | None" = None
    keep_pictures: "Callable[[Tensor], None] | None" = None


class Engine:
    """One model, its queue, and what requests leave for each other.

    Requests may differ in settings; only those of equal ones are denoised together or share.

    Args:
        cell: the model with its settings, and how requests share: the strategy, its features, schedule, combiner, tau.
        device: a torch device.
        reuse: ``cache``: a request begins from what an earlier one left, by the strategy's rules; ``plans``: those that
            wait at the same time are planned together; ``none``.
        window: seconds that the first of a batch waits for others.
        batch: pictures that are denoised together, at most.
        queue: requests that wait, at most.
        acceleration: how denoisers compute; None: the device's defaults.
        shelf: makes the store of latents of one kind of requests.
        tell: hears what went wrong, for whoever runs the server.

    Raises:
        UserError: the strategy is not for that kind of reuse.
    """

    def __init__(
        self,
        cell: "Cell",
        device: str,
        *,
        reuse: Reuse = "none",
        window: float = 0.0,
        batch: int = MOST_BATCH,
        queue: int = MOST_QUEUED,
        acceleration: "Acceleration | None" = None,
        shelf: Callable[..., Shelf] = Shelf,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        from sweeps.families import Families

        check_strategy(cell.strategy, reuse)
        self._pictures = _begins_from_pictures(cell.strategy) if reuse == "cache" else False
        self.cell, self.device, self.reuse = cell, device, reuse
        self.window, self.batch, self.queue = window, batch, queue
        self.counts = Counts()
        self._shelf, self._tell, self._tau = shelf, tell, float(cell.config.tau)
        # denoising lets go of the encoders of its model, which the next batch needs again: two models, half loaded each
        self._encoders, self._denoisers = (Families(device, acceleration=acceleration) for _ in range(2))
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()
        self._known: OrderedDict[str, GenerationSettings] = OrderedDict()
        self._rows: dict[tuple[bool, bool], float | None] = {}
        self._checking = threading.Lock()
        self._turn = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Load the model, by making a picture of one step, and begin to serve.

        Raises:
            UserError: the model cannot be had here.
        """
        settings = self.settings({})
        with suppress(UserError):
            settings = self.settings({"steps": 1})
        self._made([_Asked(Wanted("a warm-up", settings, reuse=False), 0, 0)])
        self.counts = Counts()
        self._thread.start()

    def settings(self, overrides: Mapping[str, Any]) -> "GenerationSettings":
        """Return the model's settings with a request's own in their place; to be called off the event loop.

        Raises:
            UserError: the model's family refuses them.
        """
        from sweeps.grid import idle_negative, sampler_of

        source = self.cell.source
        key = repr(sorted(overrides.items()))
        with self._checking:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            values = {**source.settings.model_dump(), **overrides, "seed": 0}
            settings = type(source.settings).resolve(values, device=self.device)
            if overrides.get("negative_prompt") and idle_negative(settings):
                what = f"a negative prompt changes nothing at guidance {settings.guidance:g}"
                raise UserError(what, "leave negative_prompt out, or ask for a guidance_scale above 1")
            sampler = sampler_of(source.entry, settings, self.device)
            if self._pictures and isinstance(self.cell.strategy, Arriving):
                for step in self.cell.strategy.opened(self._tau, sampler.K).begins:
                    sampler.begun_at(step)  # some schedulers cannot
            self._known[key] = settings
            if len(self._known) > 8 * KINDS:
                self._known.popitem(last=False)
            return settings

    def submit(self, wanted: Wanted) -> "Future[Answer]":
        """Have a request wait for its turn.

        Raises:
            BusyError: too many wait.
            ClosingError: the engine is being closed.
        """
        future: Future[Answer] = Future()
        with self._turn:
            if self._closing:
                raise ClosingError
            if len(self._queue) >= self.queue:
                self.counts.refused += 1
                raise BusyError
            self._queue.append(_Waiting(wanted, future, time.perf_counter()))
            self.counts.waiting = len(self._queue)
            self._turn.notify_all()
        return future

    @property
    def alive(self) -> bool:
        """Whether requests are taken."""
        return self._thread.is_alive() and not self._closing

    def close(self) -> None:
        """Take no more requests, and have those that wait refused; what is being made is finished."""
        with self._turn:
            self._closing = True
            left = list(self._queue)
            self._queue.clear()
            self.counts.waiting = 0
            self._turn.notify_all()
        for waiting in left:
            if waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(ClosingError())

    def join(self, seconds: float | None = None) -> None:
        """Wait until what is being made is finished."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _work(self) -> None:
        try:
            while batch := self._next():
                by_kind: dict[str, list[_Waiting]] = {}
                for waiting in batch:
                    by_kind.setdefault(_kind(waiting.wanted.settings), []).append(waiting)
                for together in by_kind.values():
                    self._serve(together)
        finally:
            self.close()

    def _next(self) -> list[_Waiting]:
        """Return the requests of the next batch, in the order in which they came; none when the engine closes."""
        with self._turn:
            while not self._queue and not self._closing:
                self._turn.wait()
            if self._closing:
                return []
            due = self._queue[0].since + self.window
            while (
                not self._closing and self._pictures_waiting() < self.batch and (left := due - time.perf_counter()) > 0
            ):
                self._turn.wait(left)
            batch: list[_Waiting] = []
            pictures = 0
            while self._queue and (not batch or pictures + self._queue[0].wanted.n <= self.batch):
                waiting = self._queue.popleft()
                if waiting.future.set_running_or_notify_cancel():
                    batch.append(waiting)
                    pictures += waiting.wanted.n
            self.counts.waiting = len(self._queue)
        return batch or self._next()

    def _pictures_waiting(self) -> int:
        return sum(waiting.wanted.n for waiting in self._queue)

    def _serve(self, together: Sequence[_Waiting]) -> None:
        """Make the pictures of requests of one kind; where that fails, of each by itself."""
        begun = time.perf_counter()
        seed = secrets.randbelow(DRAWN)  # one for all that name none, so that these may share
        asked = [
            _Asked(one.wanted, number, seed if one.wanted.seed is None else one.wanted.seed)
            for one in together
            for number in range(one.wanted.n)
        ]
        try:
            with no_exit():  # a model's code may end the process
                pictures = self._made(asked)
        except Exception as error:
            self._forget(together[0].wanted.settings)
            if len(together) > 1:
                self._tell(f"a batch of {len(together)} requests failed, and each is made by itself: {_told(error)}")
                for one in together:
                    self._serve([one])
                return
            self.counts.failed += 1
            self._tell("".join(traceback.format_exception(error)))
            what = str(error) if isinstance(error, UserError) else f"the engine failed: {type(error).__name__}"
            together[0].future.set_exception(without_frames(FailedError(what)))
            return
        ended = time.perf_counter()
        for one in together:
            own = [picture for each, picture in zip(asked, pictures, strict=True) if each.wanted is one.wanted]
            lost = next((picture for picture in own if isinstance(picture, FailedError)), None)
            if lost:
                self.counts.failed += 1
                one.future.set_exception(lost)
                continue
            made = [picture for picture in own if isinstance(picture, Picture)]
            answer = Answer(one.wanted.id, made, begun - one.since, ended - begun, len(together))
            self.counts.requests += 1
            self.counts.hits += answer.hit
            self.counts.pictures += len(made)
            one.future.set_result(answer)

    def _made(self, asked: Sequence[_Asked]) -> list[Picture | FailedError]:
        """Return the pictures, of settings that are equal; of one whose numbers overflowed, why there is none."""
        from generators.batching import Batches
        from generators.executor import decode_images, execute
        from generators.noise import KeyedNoise
        from generators.overflow import check_conditioning

        settings, entry = asked[0].wanted.settings, self.cell.source.entry
        keys, texts = [one.key for one in asked], [one.wanted.prompt for one in asked]
        encoders = self._encoders.get(entry, settings.dtype)
        family = self._denoisers.get(entry, settings.dtype)
        conditioning = encoders.encode(texts, keys, settings, Batches(self.batch))  # type: ignore[arg-type]
        check_conditioning(conditioning, entry.name, settings.dtype, texts)
        steps = family.sampler(settings).K
        planned = self._planned(asked, conditioning, settings, steps)
        noise = KeyedNoise(settings.seed, settings.noise)
        begun = time.perf_counter()
        execution = execute(
            planned.plan,
            family,
            conditioning,
            keys,
            settings,
            noise=noise,
            batch_size=self.batch,
            initial_states=planned.states,
            on_exit=planned.keep,
            finished=planned.finished,
        )
        if planned.keep_pictures:
            planned.keep_pictures(execution.latents)
        lost: dict[int, str] = {}
        decoded = decode_images(
            family, execution, keys, settings, noise=noise, batches=Batches(self.batch), overflows=lost
        )
        pixels = np.concatenate(list(decoded))
        taken, begins = _taken(planned), planned.begins
        rows = self._rows_a_step(settings)
        if lost or not all(shelf.whole for shelf in self._shelves.values()):
            self._forget(settings)
        self.counts.batches += 1
        self.counts.denoising_seconds += time.perf_counter() - begun
        self.counts.steps += execution.rows
        self.counts.steps_alone += steps * len(asked)
        self.counts.rows += execution.rows * (rows or 0)
        self.counts.rows_alone += steps * len(asked) * (rows or 0)
        self.counts.latents = sum(map(len, self._shelves.values()))
        return [
            FailedError(f"numbers of {entry.name} overflow in {settings.dtype} {lost[place]}: there is no picture")
            if place in lost
            else Picture(
                pixels[place],
                one.seed,
                steps,
                float(taken[place]),
                None if rows is None else float(taken[place]) * rows,
                begins[place].of,
                begins[place].similarity,
            )
            for place, one in enumerate(asked)
        ]

    def _planned(
        self, asked: Sequence[_Asked], conditioning: "Conditioning", settings: "GenerationSettings", steps: int
    ) -> "_Planned":
        """Return the plan of a batch, and what is to be kept of it."""
        from generators.sharing.plan import baseline_plan, build_plan

        alone = [Begin() for _ in asked]
        if self.reuse == "none" or not any(one.shares for one in asked):
            return _Planned(baseline_plan(len(asked), steps), alone)
        features = self._encoders.get(self.cell.source.entry, settings.dtype).features(
            conditioning, self.cell.config.features
        )
        if self.reuse == "plans":
            # those that do not share are of a class of their own; so are those of another seed, as everywhere
            kinds: dict[Any, int] = {}
            classes = np.array(
                [kinds.setdefault(one.seed if one.shares else object(), len(kinds)) for one in asked], dtype=np.int64
            )
            tree = grouped(self.cell.strategy, features, classes=classes if len(kinds) > 1 else None)
            return _Planned(build_plan(tree, self.cell.schedule, self._tau, steps, self.cell.config.combiner), alone)
        shelf = self._shelf_of(settings, steps)
        rows, begins, making = unit(check_features(features)), list[Begin](), dict[int, int]()
        for place, one in enumerate(asked):
            begins.append(shelf.arrive(rows[place], one.wanted.id, making) if one.shares else Begin())
            if begins[-1].keeps:
                making[begins[-1].arrival] = place
        return _of_pictures(shelf, begins, steps) if self._pictures else _of_latents(shelf, begins, steps)

    def _shelf_of(self, settings: "GenerationSettings", steps: int) -> Shelf:
        """Return the latents of requests of these settings; of too many settings those asked for longest ago go."""
        assert isinstance(self.cell.strategy, Arriving)
        kind = _kind(settings)
        if kind in self._shelves and self._shelves[kind].names > NAMES:
            self._forget(settings)
        if kind not in self._shelves:
            self._shelves[kind] = self._shelf(self.cell.strategy.opened(self._tau, steps))
            while len(self._shelves) > KINDS:
                self._shelves.popitem(last=False)
        self._shelves.move_to_end(kind)
        return self._shelves[kind]

    def _forget(self, settings: "GenerationSettings") -> None:
        """Let go of all latents of such requests: some that the rules count on were not made."""
        self._shelves.pop(_kind(settings), None)

    def _rows_a_step(self, settings: "GenerationSettings") -> float | None:
        """Return the rows that the denoiser evaluates of one step of one picture; None where its model does not tell.

        Tracing a model takes seconds, and a request may name any guidance: whether there is any is what matters.
        """
        from sweeps.cost import rows_of

        guided, negative = settings.guidance > 1, bool(settings.negative_prompt)
        if (guided, negative) not in self._rows:
            like = settings.model_copy(
                update={"guidance": 2.0 if guided else 1.0, "negative_prompt": "any" if negative else ""}
            )
            try:
                self._rows[guided, negative] = rows_of(replace(self.cell.source, settings=like))[0]
            except UserError:
                self._rows[guided, negative] = None
        return self._rows[guided, negative]


def engine_cell(spec: Any, device: str) -> "Cell":
    """Return the one cell of a spec that says what is served: a model, its settings, and how requests share.

    Raises:
        UserError: it says several, or something that is refused.
    """
    from sweeps.grid import cells, sources

    cell, *more = cells(spec, device, sources(spec, device, [given_prompts(["a request"])], hashed=False))
    if more:
        raise UserError(f"a server has one model and one way to share; this asks for {1 + len(more)}", "give one each")
    return cell


def check_strategy(strategy: Strategy, reuse: Reuse) -> None:
    """Refuse a strategy that cannot share in that way.

    Raises:
        UserError: it plans streams where those that wait are planned, or sets where they arrive.

    Examples:
        >>> from generators.strategies.base import get_strategy
        >>> try:
        ...     check_strategy(get_strategy("ward-cosine"), "cache")
        ... except UserError as error:
        ...     print(error.message)
        the strategy 'ward-cosine' has no rules for requests one by one
    """
    if reuse == "cache" and not isinstance(strategy, Arriving):
        what = f"the strategy {strategy.name!r} has no rules for requests one by one"
        raise UserError(what, "use --reuse plans, or one of cache, cachegenius, chorus, modm, vllm-omni")
    if reuse == "plans" and type(strategy).tree is Strategy.tree:
        raise UserError(f"the strategy {strategy.name!r} plans whole streams", "use --reuse cache, or ward-cosine")


def _begins_from_pictures(strategy: Strategy) -> bool:
    from generators.sharing.requests import Pictures

    assert isinstance(strategy, Arriving)
    return isinstance(strategy.stream(np.empty((0, 1)), np.empty(0, dtype=np.int64)), Pictures)


def checked_prompt(text: str, most: int) -> str:
    """Return the prompt of a request.

    Raises:
        UserError: it is empty, longer than `most` characters, or holds what is no character.
    """
    if len(text) > most:
        raise UserError(f"the prompt has {len(text):,} characters", f"{most:,} are the most here")
    return checked_text(text, "the prompt")


def _kind(settings: "GenerationSettings") -> str:
    """Return what requests that may share have in common: all settings; the seed, which each names itself, is 0."""
    return settings.model_dump_json()


def _of_latents(shelf: Shelf, begins: Sequence[Begin], steps: int) -> _Planned:
    """Return a batch whose pictures begin from, and leave, latents on their way."""
    import torch

    plan, states, owner = batch_plan(begins, steps)

    def keep(state: "NodeState") -> None:
        for row, node in enumerate(state.nodes.tolist()):
            latent = begins[owner[node]].arrival, state.k
            shelf.keep(latent, state.taken(torch.tensor([row]), torch.tensor([0])))

    return _Planned(plan, begins, states, keep)


def _of_pictures(shelf: Shelf, begins: Sequence[Begin], steps: int) -> _Planned:
    """Return a batch whose pictures begin from, and leave, finished pictures."""
    import torch

    from generators.node_states import NodeState

    plan, before = picture_plan(begins, steps)
    finished = None
    if before:
        nodes = np.arange(len(begins), len(plan.first))
        finished = nodes, torch.cat([state.latents for state in before])

    def keep_pictures(latents: "Tensor") -> None:
        for place, begin in enumerate(begins):
            state = NodeState(steps, torch.tensor([0]), latents[place : place + 1].clone(), ())
            for step in begin.keeps:
                shelf.keep((begin.arrival, step), state)

    return _Planned(plan, begins, finished=finished, keep_pictures=keep_pictures)


def _taken(planned: _Planned) -> NDArray[np.float64]:
    """Return the steps done for each picture, float64 [N]: a node's are divided among those that it serves."""
    plan, taken = planned.plan, np.zeros(planned.plan.n_prompts)
    for node in range(planned.finished[0][0] if planned.finished else len(plan.first)):
        members = plan.members(node)
        taken[members] += (plan.stop[node] - plan.first[node]) / len(members)
    return taken


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
