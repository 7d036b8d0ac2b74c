"""Ray's workers: they denoise several jobs at once, and the parts of a large plan apart."""

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.files import canonical_json, sha256_text
from sweeps.events import Note, StageAdvanced, StageFinished, StageStarted
from sweeps.executors.base import Executor, Outcome, overflowed
from sweeps.executors.local import Local, finished, made_by, missing_places, plain, relative
from sweeps.record import ExecutionStats
from sweeps.unfinished import Wave, begun
from sweeps.waves import Waves, added, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generators.acceleration import Acceleration
    from generators.batching import Batches
    from generators.conditioning import Conditioning
    from sweeps.encodings import Encoded
    from sweeps.events import Emit
    from sweeps.grid import Source, ToEncode
    from sweeps.jobs import Job
    from sweeps.session import Session
    from sweeps.spec import SweepSpec
    from sweeps.unfinished import Unfinished
    from sweeps.worker import PartOutcome, Task

CUDA_DEVICE = re.compile(r"cuda:[0-9]{1,3}")
RETRIES = 3  # of one part whose worker dies
PATIENCE = 300  # seconds for the workers to start
REACH = 10  # seconds for a cluster to answer


@dataclass(eq=False)
class _Parts:
    """A piece of work that was cut in parts.

    Attributes:
        job: whose pictures they make; None for prompts that are encoded.
        left: how many parts are not back yet.
        waves: of the job: which of them are done, and what those took.
        waiting: by the place of the trunk, the parts that wait for it.
        done: the outcomes that are back.
    """

    job: "Job | None"
    left: int
    waves: "Waves | None" = None
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
    resumes = True

    def __init__(self, *of_all: Any, **by_name: Any) -> None:
        super().__init__(*of_all, **by_name)
        self._visible = checked_devices(self.devices)

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
            with _seen_by_ray(self._visible):
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

        if self.devices:
            self.workers = len(self.devices)
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

    def encode(
        self, session: "Session", source: "Source", one: "ToEncode", batches: "Batches"
    ) -> "Iterator[Conditioning]":
        from generators.sharing.parts import PIECES
        from metrics.memory import conditioning_bytes
        from sweeps.encodings import SHARD
        from sweeps.worker import Encoding

        settings, size, count = one.settings, batches.size, len(one.prompts)
        if settings.noise == "official":
            yield from super().encode(session, source, one, batches)
            return
        assert self.workers
        row = conditioning_bytes(session.family(source).conditioning_of(source.entry, settings))
        most = min(-(-count // (size * PIECES * self.workers)), max(1, SHARD // max(1, size * row)))
        chunk = size * most  # whole batches: the same as in one process
        starts = range(batches.start, count, chunk)
        number, parts = self._new(None, len(starts))
        entry = source.entry.pinned()
        for place, start in enumerate(starts):
            rows = slice(start, start + chunk)
            task = Encoding(number, place, entry, one.settings, one.prompts[rows], one.keys[rows], size)
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
        if jobs[0].cache or jobs[0].one_stream or jobs[0].from_pictures:
            # one stream of noise is drawn in one place; neither what a cache remembers travels nor finished latents
            yield from Local().run(jobs, session)
            return
        jobs = sorted(jobs, key=lambda job: job.folder)
        run, made = jobs[0].run, made_by(jobs)
        identity = sha256_text(canonical_json([self.name, *(job.id for job in jobs), *(job.id for job in made)]))
        group = begun(run, identity, relative(jobs, run), relative(made, run))
        rows = self._rows(jobs, group, session)
        cut = [self._waves(number, job, rows, group, session) for number, job in enumerate(jobs) if not finished(job)]
        left = {id(waves): waves.left(lacking) for _, waves, lacking in cut}
        total = sum(waves.plan.node_steps for _, waves, _ in cut)
        ahead = sum(waves.node_steps(left[id(waves)]) for _, waves, _ in cut)
        session.emit(StageStarted("denoise", total, before=total - ahead))
        try:
            with group.writing():
                if group.rows != rows:
                    group.cut(rows)
                mine = dict(self._submitted(job, waves, left[id(waves)], session) for job, waves, _ in cut)
                while mine:
                    for number, parts in list(mine.items()):
                        if parts.error or not parts.left:
                            del mine[number], self._open[number]
                            yield self._outcome(parts, session)
                    if mine and self._heard() is None:
                        error = UserError(
                            "workers died making this, and nothing can be sent again", "see what killed them"
                        )
                        yield from (Outcome(parts.job, error=error) for parts in mine.values() if parts.job)
                        return
        finally:
            session.emit(StageFinished())
        if all(map(finished, jobs)):
            group.end(together=False)

    def _rows(self, jobs: "Sequence[Job]", group: "Unfinished", session: "Session") -> int:
        """Return the most rows of a part: a share of the work that memory holds, or as it was begun."""
        from generators.sharing.parts import part_rows

        assert self.workers
        if group.rows and session.wave in (None, group.rows):
            return group.rows
        plans = [job.needed(isolate=session.isolate) for job in jobs]
        share = part_rows(sum(plan.leaves for plan in plans), self.workers, session.batch_size(jobs[0].source)[0])
        if session.wave is not None:
            return min(session.wave, share)
        if self.address:  # of other machines' memory nothing is known here
            return share
        fit = [rows_of([job], plan, session) for job, plan in zip(jobs, plans, strict=True)]
        scarce = [rows // self.workers for rows, plan in zip(fit, plans, strict=True) if rows < plan.leaves]
        return max(1, min([share, *scarce]))

    def _waves(
        self, number: int, job: "Job", rows: int, group: "Unfinished", session: "Session"
    ) -> "tuple[Job, Waves, NDArray[np.bool_]]":
        """Return a job's waves, and bool [R], which of its pictures are not there."""
        waves = Waves(plain(job, job.needed(isolate=session.isolate), session), rows, group, None, of=number)
        return job, waves, np.array([bool(places) for places in missing_places([job], waves, session)], dtype=np.bool_)

    def _submitted(self, job: "Job", waves: "Waves", left: Sequence[int], session: "Session") -> "tuple[int, _Parts]":
        """Submit those parts of a job that wait for no trunk; the others go out as their trunks come back."""
        from generators.sharing.critical import following
        from sweeps.worker import Task

        source = job.source
        keys, (batch_size, _), entry = source.keys, session.batch_size(source), source.entry.pinned()
        conditioning = self._published(session.encoded(source, job.run))
        number, pieces = self._new(job, len(left))
        renoised = waves.renoised(source.settings)
        pieces.waves = waves
        parts, heirs = {wave: waves.part(wave) for wave in left}, waves.cut.heirs
        follow = following(waves.cut.waits.tolist())
        about = job.files.about
        for wave in sorted(left, key=lambda wave: -follow[wave]):  # first those that most depends on
            part, nodes, trunk = parts[wave], waves.cut.nodes[wave], int(waves.cut.waits[wave])
            ends = part.prompts[part.plan.output >= 0].tolist()
            said = {prompt: about(prompt) for prompt in ends} if about else {}
            task = Task(
                *(number, wave, entry, source.settings, part),
                tuple(keys[prompt] for prompt in part.prompts.tolist()),
                conditioning.taken(part.prompts),
                batch_size,
                tuple(parts[heir].inherits(nodes) for heir in heirs[wave] if heir in parts),
                job.files.format,
                said,
                None if renoised is None else renoised[part.nodes],
            )
            if trunk >= 0:
                pieces.waiting.setdefault(trunk, []).append(task)
            else:
                self._pool.submit(self._send, (task, ()))
        for tasks in pieces.waiting.values():
            tasks.sort(key=lambda task: task.place)  # as their trunk has them
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

    def _send(self, actor: Any, ready: "tuple[Task, Any]") -> Any:
        """Return a part's outcome; what a trunk exports stays in the object store until its heirs take it."""
        task, initial_states = ready
        if not task.heirs:
            return actor.part.remote(task, initial_states)
        returns = 1 + len(task.heirs)
        outcome, *self._exported[task.work, task.place] = actor.part.options(num_returns=returns).remote(*ready)
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
            if parts.job and parts.waves:
                self._taken(outcome, parts.job, parts.waves)
            if not outcome.error:
                for task, initial in zip(parts.waiting.pop(outcome.place, ()), states, strict=True):
                    self._pool.submit(self._send, (task, initial))
            return outcome
        return None

    def _taken(self, outcome: "PartOutcome", job: "Job", waves: Waves) -> None:
        """Write a part's pictures, and note that it is done if none is lacking."""
        for prompt, file in outcome.files.items():
            job.files.write(job.folder, prompt, file)
            waves.group.written((job.folder, prompt), file.sha256)
        outcome.files.clear()
        self._emit(StageAdvanced(outcome.rows))
        if outcome.error:
            return
        execution = ExecutionStats(
            calls=outcome.calls,
            rows=outcome.rows,
            batch_size=outcome.batch_size,
            options=outcome.options,
            notes=list(outcome.notes),
        )
        wave = Wave(of=waves.of, wave=outcome.place, rows=waves.rows, execution=execution, seconds=outcome.seconds)
        waves.took(wave, (), noted=not outcome.overflows)

    def _outcome(self, parts: _Parts, session: "Session") -> Outcome:
        """Return what became of a job whose parts are all back, or one of which failed."""
        assert parts.job
        try:
            parts.check()
        except (UserError, RuntimeError) as error:
            return Outcome(parts.job, error=error)
        if where := {prompt: text for outcome in parts.done for prompt, text in outcome.overflows.items()}:
            return Outcome(parts.job, error=overflowed(parts.job, where))
        assert parts.waves
        # as if one after the other: what the pictures took, not who waited how long
        execution, seconds = added(parts.waves.known)
        for note in execution.notes:
            session.emit(Note(note))
        about = f"made by {self.workers} Ray workers: its seconds are theirs, added up"
        return Outcome(parts.job, execution.model_copy(update={"notes": [*execution.notes, about]}), seconds)


def checked_devices(devices: Sequence[str]) -> str | None:
    """Return what CUDA_VISIBLE_DEVICES has to be, for CUDA devices of this machine; None where none are named.

    Raises:
        UserError: a device is unknown, not there or named twice.
    """
    for device in devices:
        if device != "cpu" and not CUDA_DEVICE.fullmatch(device):
            raise UserError(f"--devices: there is no device {device!r}", "write cuda:0,cuda:1 or cpu,cpu")
    named = [int(device.partition(":")[2]) for device in devices if device != "cpu"]
    if not named:
        return None
    import torch

    count = torch.cuda.device_count()
    if missing := [number for number in named if number >= count]:
        there = f"those of this machine are cuda:0 to cuda:{count - 1}" if count else "this machine has no CUDA device"
        raise UserError(f"--devices: there is no cuda:{missing[0]}", there)
    if len(set(named)) < len(named):
        twice = next(number for number in named if named.count(number) > 1)
        raise UserError(f"--devices names cuda:{twice} twice", "name each once: a worker fills a GPU")
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return ",".join(seen[number] if seen else str(number) for number in named)


@contextmanager
def _seen_by_ray(visible: str | None) -> Iterator[None]:
    """Let a Ray that starts in this block have these CUDA devices alone; None: all."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    try:
        yield
    finally:
        if visible is not None:
            os.environ.pop("CUDA_VISIBLE_DEVICES")
            if before is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _reach(address: str | None) -> None:
    """Raise an OSError if nobody listens at HOST:PORT, which Ray takes minutes to find out."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=REACH).close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
