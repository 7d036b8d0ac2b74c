"""Plans denoised by Ray's workers: several cells at once, and a large plan's subtrees apart."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.files import sha256_file
from sweeps.events import Note, StageAdvanced, StageFinished, StageStarted
from sweeps.executors.base import Executor, Work
from sweeps.executors.local import Local
from sweeps.pictures import write_files
from sweeps.record import ExecutionFigures

if TYPE_CHECKING:
    from generators.acceleration import Acceleration
    from generators.conditioning import Conditioning
    from generators.denoiser_caches.base import DenoiserCache
    from generators.sharing.parts import Part
    from generators.sharing.plan import SharingPlan
    from sweeps.events import Emit
    from sweeps.making import Maker
    from sweeps.painter import Outcome, Task
    from sweeps.spec import SweepSpec

RETRIES = 3  # of one part whose worker dies
PATIENCE = 300  # seconds for the workers to start
REACH = 10  # seconds for a cluster to answer


@dataclass(eq=False)
class _Job:
    """A plan's parts under way: how many are left, which wait for a trunk, by its place, what came back."""

    left: int
    waiting: "dict[int, list[Task]]" = field(default_factory=dict)
    done: "list[Outcome]" = field(default_factory=list)

    @property
    def error(self) -> UserError | str | None:
        return next((outcome.error for outcome in self.done if outcome.error), None)


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

        self._jobs: dict[int, _Job] = {}
        self._handed: dict[tuple[int, int], list[Any]] = {}
        self._urls: dict[Path, str] = {}
        self._emit, self._begun = emit, 0
        mine = not ray.is_initialized()
        try:
            emit(StageStarted("workers", 1))
            self._pool = self._started(device, spec.offload, spec.acceleration(device))
            emit(StageFinished())
            for about in self.abouts:
                if about["versions"] != versions():
                    emit(Note("a worker has other libraries than this machine: its pictures may differ in their bits"))
                    break
            yield
        finally:
            if mine:
                ray.shutdown()

    def _started(self, device: str, offload: str, acceleration: "Acceleration") -> Any:
        """A pool of actors, each with a model of its own."""
        import ray
        import torch
        from ray.util import ActorPool

        from sweeps.painter import Painter

        threads, gpus = torch.get_num_threads(), int(device.startswith("cuda"))
        alike = acceleration.model_copy(update={"threads": threads})
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
        self.ahead = self.workers = self.workers or fit
        kind = ray.remote(num_cpus=0 if gpus else threads, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES)
        actors = [kind(Painter).remote("cuda" if gpus else device, offload, alike) for _ in range(self.workers)]
        try:
            self.abouts = ray.get([actor.about.remote() for actor in actors], timeout=PATIENCE)
        except ray.exceptions.RayError as error:
            raise UserError(f"the workers do not start: {error}", "see docs/scaling.md") from error
        return ActorPool(actors)

    def encode(self, maker: "Maker") -> "tuple[Conditioning, list[str]]":
        import torch

        from generators.conditioning import Conditioning
        from generators.sharing.parts import PIECES
        from sweeps.painter import Encoding

        prompts, settings, size = maker.source.prompts, maker.source.settings, maker.batch_size
        if settings.noise == "official":
            return super().encode(maker)
        assert self.workers
        chunk = size * -(-len(prompts) // (size * PIECES * self.workers))  # whole batches: the same as in one process
        number, starts = self._new(), range(0, len(prompts), chunk)
        self._jobs[number] = job = _Job(len(starts))
        for place, start in enumerate(starts):
            rows = slice(start, start + chunk)
            task = Encoding(
                number, place, maker.source.entry, settings, prompts.prompts[rows], prompts.keys[rows], size
            )
            self._pool.submit(lambda actor, ready: actor.encode.remote(ready), task)
        for outcome in self._returned(number):
            maker.emit(StageAdvanced(outcome.rows))
        done = sorted(job.done, key=lambda outcome: outcome.place)
        parts = [each.conditioning.tensors for each in done if each.conditioning]
        notes = list(dict.fromkeys(note for each in done for note in each.notes))
        return Conditioning({name: torch.cat([each[name] for each in parts]) for name in parts[0]}), notes

    def begin(self, maker: "Maker", plan: "SharingPlan", cache: "DenoiserCache | None" = None) -> Work:
        from generators.sharing.parts import Part, parts
        from sweeps.painter import Task

        settings, keys = maker.source.settings, maker.source.prompts.keys
        if settings.noise == "official" or cache or maker.stored is None:
            # one stream of noise is drawn in one place, and what a cache remembers is not handed over
            return Local().begin(maker, plan, cache)
        conditioning = self._published(maker)
        assert self.workers
        cut = parts(plan, self.workers, least=plan.steps * maker.batch_size)
        number = self._new()

        def task(place: int, part: "Part", **more: Any) -> Task:
            mine = tuple(keys[prompt] for prompt in part.prompts.tolist())
            return Task(number, place, maker.source.entry, settings, part, mine, conditioning, maker.batch_size, **more)

        tasks = [task(place, Part.of(plan, nodes)) for place, nodes in enumerate(cut.subtrees)]
        self._jobs[number] = job = _Job(len(tasks) + len(cut.trunks))
        for each, trunk in zip(tasks, cut.waits.tolist(), strict=True):
            job.waiting.setdefault(trunk, []).append(each)
        for trunk, nodes in enumerate(cut.trunks):
            heirs = tuple(
                (
                    np.searchsorted(nodes, each.part.sources),
                    each.part.plan.first[each.part.plan.from_states],
                    each.part.plan.from_states,
                )
                for each in job.waiting[trunk]
            )
            self._pool.submit(self._send_trunk, task(trunk, Part.of(plan, nodes), heirs=heirs))
        for each in job.waiting.pop(-1, []):
            self._pool.submit(lambda actor, ready: actor.part.remote(ready), each)
        return lambda folder: self._finished(maker, number, plan, folder)

    def _new(self) -> int:
        self._begun += 1
        return self._begun

    def _published(self, maker: "Maker") -> str:
        from sweeps.shared import publish

        path = maker.stored
        assert path
        if path not in self._urls:
            self._urls[path] = publish(path, f"{sha256_file(path)}.safetensors", self.store)
        return self._urls[path]

    def _send_trunk(self, actor: Any, task: "Task") -> Any:
        """A trunk's outcome; what it leaves stays in the object store until the parts that need it take it."""
        outcome, *self._handed[task.work, task.place] = actor.trunk.options(num_returns=1 + len(task.heirs)).remote(
            task
        )
        return outcome

    def _heard(self) -> None:
        """Wait for whatever comes back next, and send out what waited for it."""
        import ray

        try:
            outcome: Outcome = self._pool.get_next_unordered()
        except ray.exceptions.RayError as error:  # whose part it was comes out when nothing is left to wait for
            self._emit(Note(f"a worker was lost {RETRIES + 1} times over one part: {_line(error)}"))
            return
        job = self._jobs.get(outcome.work)
        handed = self._handed.pop((outcome.work, outcome.place)) if outcome.trunk else []
        if job is None:  # its cell failed
            return
        job.left -= 1
        job.done.append(outcome)
        if handed:
            for task, given in zip(job.waiting.pop(outcome.place), handed, strict=True):
                if outcome.error:
                    job.left -= 1
                else:
                    self._pool.submit(lambda actor, ready: actor.part.remote(*ready), (task, given))

    def _returned(self, number: int) -> "Iterator[Outcome]":
        """A job's outcomes as they come back; then it is over.

        Raises:
            UserError: a worker says so, or nothing more can come back.
            RuntimeError: a worker failed.
        """
        job, heard = self._jobs[number], 0
        try:
            while True:
                new, heard = job.done[heard:], len(job.done)
                yield from new
                if job.error or not job.left:
                    break
                if not self._pool.has_next():
                    raise UserError("workers died making this, and nothing can be sent again", "see what killed them")
                self._heard()
        finally:
            del self._jobs[number]
        if isinstance(job.error, UserError):
            raise job.error
        if job.error:
            raise RuntimeError(f"a worker failed:\n{job.error}")

    def _finished(self, maker: "Maker", number: int, plan: "SharingPlan", folder: Path) -> ExecutionFigures:
        """Wait for a plan's parts, and put its pictures into the folder."""
        job = self._jobs[number]
        maker.emit(StageStarted("denoise", plan.node_steps))
        try:
            for outcome in self._returned(number):
                write_files(folder, outcome.files, outcome.files.values())
                outcome.files.clear()
                maker.emit(StageAdvanced(outcome.rows))
        finally:
            maker.emit(StageFinished())
        # as if one after the other: what the pictures took, not who waited how long
        for stage in ("denoise", "decode"):
            maker.took(stage, sum(outcome.seconds.get(stage, 0.0) for outcome in job.done))
        notes = list(dict.fromkeys(note for outcome in job.done for note in outcome.notes))
        for note in notes:
            maker.emit(Note(note))
        return ExecutionFigures(
            calls=sum(outcome.calls for outcome in job.done),
            rows=sum(outcome.rows for outcome in job.done),
            batch_size=min(outcome.batch_size for outcome in job.done),
            options=job.done[0].options,
            notes=[*notes, f"made by {self.workers} Ray workers: its seconds are theirs, added up"],
        )


def _reach(address: str | None) -> None:
    """Raises an OSError if nobody listens at HOST:PORT, which Ray takes minutes to find out."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=REACH).close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
