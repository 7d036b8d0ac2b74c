"""Ray's workers: they denoise several jobs at once, and the subtrees of a large plan apart."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from sweeps.events import Note, StageAdvanced, StageFinished, StageStarted
from sweeps.executors.base import Executor, Outcome, overflowed
from sweeps.executors.local import Local
from sweeps.pictures import write_files
from sweeps.record import ExecutionStats

if TYPE_CHECKING:
    from generators.acceleration import Acceleration
    from generators.batching import Batches
    from generators.conditioning import Conditioning
    from generators.sharing.parts import Part
    from sweeps.encodings import Encoded
    from sweeps.events import Emit
    from sweeps.grid import Source
    from sweeps.jobs import Job
    from sweeps.session import Session
    from sweeps.spec import SweepSpec
    from sweeps.worker import PartOutcome, Task

RETRIES = 3  # of one part whose worker dies
PATIENCE = 300  # seconds for the workers to start
REACH = 10  # seconds for a cluster to answer


@dataclass(eq=False)
class _Parts:
    """A piece of work that was cut in parts.

    Attributes:
        left: how many parts are not back yet.
        waiting: by the place of the trunk, the parts that wait for it.
        done: the outcomes that are back.
        job: whose pictures they make; None for prompts that are encoded.
    """

    job: "Job | None"
    left: int
    waiting: "dict[int, list[Task]]" = field(default_factory=dict)
    done: "list[PartOutcome]" = field(default_factory=list)

    @property
    def error(self) -> UserError | str | None:
        return next((outcome.error for outcome in self.done if outcome.error), None)

    def check(self) -> None:
        """Raise what a worker failed with: a UserError as it is, anything else with the worker's traceback."""
        if isinstance(self.error, UserError):
            raise self.error
        if self.error:
            raise RuntimeError(f"a worker failed:\n{self.error}")


class Ray(Executor):
    """Ray's workers, on this machine or on those at --address: one GPU each where the device is one."""

    name = "ray"

    @classmethod
    def unavailable(cls) -> str | None:
        return None if find_spec("ray") else "it needs Ray: pip install 'reusebench[ray]'"

    @contextmanager
    def opened(self, spec: "SweepSpec", device: str, emit: "Emit") -> Iterator[None]:
        if reason := self.unavailable():
            raise UserError("--executor ray cannot run here", reason)
        if spec.energy:
            raise UserError("--energy reads this machine's counter, and the workers' are others", "leave it out")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        from sweeps.machine import versions

        self._open: dict[int, _Parts] = {}
        self._exported: dict[tuple[int, int], list[Any]] = {}
        self._conditionings: dict[tuple[Path, ...], Conditioning] = {}
        self._emit, self._numbers = emit, 0
        mine = not ray.is_initialized()  # a cluster that the caller has connected to stays connected
        try:
            emit(StageStarted("workers", 1))
            self._pool = self._started(device, spec.offload, spec.acceleration(device))
            emit(StageFinished())
            if any(about["versions"] != versions() for about in self.abouts):
                emit(Note("a worker has other libraries than this machine: its pictures may differ in their bits"))
            yield
        finally:
            if mine:
                ray.shutdown()

    def _started(self, device: str, offload: str, acceleration: "Acceleration") -> Any:
        """Return a pool of actors, each with a model of its own."""
        import ray
        import torch
        from ray.util import ActorPool

        from sweeps.worker import Worker

        threads, gpus = torch.get_num_threads(), int(device.startswith("cuda"))
        # as many threads as here: their number decides the order of sums, and with it the last bits of a picture
        same_threads = acceleration.model_copy(update={"threads": threads})
        cpus = max(os.cpu_count() or 1, (self.workers or 1) * threads)
        try:
            if not ray.is_initialized():
                _reach(self.address)
                local = {} if self.address else {"num_cpus": cpus, "include_dashboard": False}
                ray.init(address=self.address or "local", log_to_driver=False, logging_level="warning", **local)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise UserError(f"no Ray at {self.address or 'this machine'}: {error}", "see docs/scaling.md") from error
        there = ray.cluster_resources()
        fit = int(there.get("GPU", 0)) if gpus else int(there.get("CPU", 0)) // threads
        if max(1, self.workers or 1) > fit:
            need = "a GPU" if gpus else f"{threads} CPUs"
            raise UserError(f"{self.workers or 1} workers need {need} each: {fit} fit", "ask for fewer --workers")
        self.workers = self.workers or fit
        kind = ray.remote(num_cpus=0 if gpus else threads, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES)
        actors = [kind(Worker).remote("cuda" if gpus else device, offload, same_threads) for _ in range(self.workers)]
        try:
            self.abouts = ray.get([actor.about.remote() for actor in actors], timeout=PATIENCE)
        except ray.exceptions.RayError as error:
            raise UserError(f"the workers do not start: {error}", "see docs/scaling.md") from error
        return ActorPool(actors)

    def encode(self, session: "Session", source: "Source", batches: "Batches") -> "Iterator[Conditioning]":
        from generators.sharing.parts import PIECES
        from metrics.memory import conditioning_bytes
        from sweeps.encodings import SHARD
        from sweeps.worker import Encoding

        prompts, settings, size = source.prompts, source.settings, batches.size
        if settings.noise == "official":
            yield from super().encode(session, source, batches)
            return
        assert self.workers
        one = conditioning_bytes(session.family(source).conditioning_of(source.entry, settings))
        most = min(-(-len(prompts) // (size * PIECES * self.workers)), max(1, SHARD // max(1, size * one)))
        chunk = size * most  # whole batches: the same as in one process
        starts = range(batches.start, len(prompts), chunk)
        number, parts = self._new(None, len(starts))
        entry = source.entry.pinned()
        for place, start in enumerate(starts):
            rows = slice(start, start + chunk)
            task = Encoding(number, place, entry, settings, prompts.prompts[rows], prompts.keys[rows], size)
            self._pool.submit(lambda actor, ready: actor.encode.remote(ready), task)
        notes: dict[int, tuple[str, ...]] = {}
        place = 0  # whose turn it is; those behind it wait
        while parts.left and not parts.error:
            if self._heard() is None:
                raise UserError("workers died encoding these prompts", "see what killed them")
            ready = {outcome.place: outcome for outcome in parts.done}
            while place in ready and not parts.error:
                outcome = ready[place]
                parts.done.remove(outcome)
                notes[place] = outcome.notes
                if outcome.conditioning:
                    yield outcome.conditioning
                place += 1
        del self._open[number]
        parts.check()
        batches.notes += dict.fromkeys(note for _, own in sorted(notes.items()) for note in own)

    def run(self, jobs: "Sequence[Job]", session: "Session") -> Iterator[Outcome]:
        if jobs[0].cache or jobs[0].one_stream:
            # one stream of noise is drawn in one place, and what a cache remembers does not travel
            yield from Local().run(jobs, session)
            return
        session.emit(StageStarted("denoise", sum(job.needed(isolate=session.isolate).node_steps for job in jobs)))
        try:
            mine = {number: parts for job in jobs for number, parts in [self._submitted(job, session)]}
            while mine:
                for number, parts in list(mine.items()):
                    if parts.error or not parts.left:
                        del mine[number], self._open[number]
                        yield self._outcome(parts, session)
                if mine and self._heard() is None:
                    error = UserError("workers died making this, and nothing can be sent again", "see what killed them")
                    yield from (Outcome(parts.job, error=error) for parts in mine.values() if parts.job)
                    return
        finally:
            session.emit(StageFinished())

    def _submitted(self, job: "Job", session: "Session") -> "tuple[int, _Parts]":
        """Submit those parts of a job that wait for no trunk; the others go out as their trunks come back."""
        from generators.sharing.parts import Part, parts
        from sweeps.worker import Task

        assert self.workers
        source, plan = job.source, job.needed(isolate=session.isolate)
        keys, (batch_size, _), entry = source.prompts.keys, session.batch_size(source), source.entry.pinned()
        conditioning = self._published(session.encoded(source, job.run))
        cut = parts(plan, self.workers, least=plan.steps * batch_size)
        number, pieces = self._new(job, len(cut.subtrees) + len(cut.trunks))

        def task(place: int, part: "Part", **more: Any) -> Task:
            own_keys = tuple(keys[prompt] for prompt in part.prompts.tolist())
            own_rows = conditioning.taken(part.prompts)
            return Task(number, place, entry, source.settings, part, own_keys, own_rows, batch_size, **more)

        subtrees = [task(place, Part.of(plan, nodes)) for place, nodes in enumerate(cut.subtrees)]
        for subtree, trunk in zip(subtrees, cut.waits.tolist(), strict=True):
            pieces.waiting.setdefault(trunk, []).append(subtree)
        for trunk, nodes in enumerate(cut.trunks):
            waiting = [(subtree.part, subtree.part.plan) for subtree in pieces.waiting[trunk]]
            heirs = tuple(
                (np.searchsorted(nodes, part.sources), heir.first[heir.from_states], heir.from_states)
                for part, heir in waiting
            )
            self._pool.submit(self._send_trunk, task(trunk, Part.of(plan, nodes), heirs=heirs))
        for subtree in pieces.waiting.pop(-1, []):
            self._pool.submit(lambda actor, ready: actor.part.remote(ready), subtree)
        return number, pieces

    def _new(self, job: "Job | None", parts: int) -> "tuple[int, _Parts]":
        self._numbers += 1
        self._open[self._numbers] = _Parts(job, parts)
        return self._numbers, self._open[self._numbers]

    def _published(self, encoded: "Encoded") -> "Conditioning":
        files = tuple(encoded.files)
        if files not in self._conditionings:
            self._conditionings[files] = encoded.published(self.store)
        return self._conditionings[files]

    def _send_trunk(self, actor: Any, task: "Task") -> Any:
        """Return a trunk's outcome; its exported states stay in the object store until its heirs take them."""
        outcome, *self._exported[task.work, task.place] = actor.trunk.options(num_returns=1 + len(task.heirs)).remote(
            task
        )
        return outcome

    def _heard(self) -> "PartOutcome | None":
        """Wait for whatever comes back next, and send out what waited for it; None if nothing can come back."""
        import ray

        while self._pool.has_next():
            try:
                outcome: PartOutcome = self._pool.get_next_unordered()
            except ray.exceptions.RayError as error:  # whose part it was comes out when nothing is left to wait for
                self._emit(Note(f"a worker was lost {RETRIES + 1} times over one part: {_line(error)}"))
                continue
            states = self._exported.pop((outcome.work, outcome.place)) if outcome.trunk else []
            if (parts := self._open.get(outcome.work)) is None:  # its job failed on another part
                continue
            parts.left -= 1
            parts.done.append(outcome)
            if parts.job and outcome.files:
                write_files(parts.job.folder, outcome.files, outcome.files.values())
                outcome.files.clear()
            if parts.job:
                self._emit(StageAdvanced(outcome.rows))
            if states:
                for task, initial in zip(parts.waiting.pop(outcome.place), states, strict=True):
                    if outcome.error:
                        parts.left -= 1  # without its trunk it never runs
                    else:
                        self._pool.submit(lambda actor, ready: actor.part.remote(*ready), (task, initial))
            return outcome
        return None

    def _outcome(self, parts: _Parts, session: "Session") -> Outcome:
        """Return what became of a job whose parts are all back, or one of which failed."""
        assert parts.job
        try:
            parts.check()
        except (UserError, RuntimeError) as error:
            return Outcome(parts.job, error=error)
        if where := {prompt: text for outcome in parts.done for prompt, text in outcome.overflows.items()}:
            return Outcome(parts.job, error=overflowed(parts.job, where))
        notes = list(dict.fromkeys(note for outcome in parts.done for note in outcome.notes))
        for note in notes:
            session.emit(Note(note))
        # as if one after the other: what the pictures took, not who waited how long
        took = [outcome.seconds for outcome in parts.done]
        seconds = {stage: sum(one.get(stage, 0.0) for one in took) for stage in ("denoise", "decode")}
        execution = ExecutionStats(
            calls=sum(outcome.calls for outcome in parts.done),
            rows=sum(outcome.rows for outcome in parts.done),
            batch_size=min(outcome.batch_size for outcome in parts.done),
            options=parts.done[0].options,
            notes=[*notes, f"made by {self.workers} Ray workers: its seconds are theirs, added up"],
        )
        return Outcome(parts.job, execution, seconds)


def _reach(address: str | None) -> None:
    """Raise an OSError if nobody listens at HOST:PORT, which Ray takes minutes to find out."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=REACH).close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
