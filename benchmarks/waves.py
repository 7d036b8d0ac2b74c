"""Peak main memory of a large set in waves: 20,000 prompts whose conditioning is FLUX-sized, 4 MiB each.

Clustering, planning, the reading and combining of conditioning, waves, what trunks leave on disk, and small pictures
are the package's own; the denoiser alone is a stand-in that takes no time: it adds a little of each row's conditioning
to its latents. The conditioning is a sparse file, so that a disk holds it: all zeros, read like any other.

    python -m benchmarks.waves --memory 8
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measuring import RESULTS, processor
from common.files import atomic_write
from generators.conditioning import Conditioning
from generators.families.base import Family
from generators.prompts import PromptSet
from generators.sharing.parts import most_kept, parts
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.savings import tau_for_savings
from generators.strategies.base import get_strategy, grouped
from metrics.memory import BYTES, row_bytes, wave_bytes, wave_rows
from sweeps.encodings import Encoded
from sweeps.events import Event
from sweeps.executors.local import Local
from sweeps.grid import cells
from sweeps.jobs import Job
from sweeps.machine import versions
from sweeps.session import Session
from sweeps.spec import make_spec
from sweeps.unfinished import STATES
from sweeps.waves import held_by

TEXT = (512, 4096)  # of FLUX: tokens, numbers each
BATCH = 32
GIB = 2**30
EVERY = 0.05  # seconds between two looks at the memory


class Stopped(BaseException):
    """The run was to last no longer."""


@dataclass
class Memory:
    """Memory of this process in bytes: its own pages, as looked at now and then, and the kernel's peak of all."""

    peak: int = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.wait(EVERY):
                self.peak = max(self.peak, anonymous())

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def anonymous() -> int:
    """Bytes of main memory that are this process's own, without files that are mapped."""
    return _status("RssAnon")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def write_sparse(path: Path, prompts: int) -> None:
    """Write conditioning [prompts, 512, 4096] in bfloat16, zeros that take no place on a disk."""
    size = prompts * int(np.prod(TEXT)) * 2
    header = json.dumps({"text": {"dtype": "BF16", "shape": [prompts, *TEXT], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)


def features(prompts: int, seed: int = 0) -> NDArray[np.float64]:
    """Random features: clusters of clusters, as prompts are."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((max(prompts // 200, 1), 32))
    for spread, size in ((0.5, 20), (0.25, 10)):
        rows = np.repeat(rows, size, axis=0)
        rows = rows + spread * rng.standard_normal(rows.shape)
    return np.resize(rows, (prompts, 32))


def stand_in(family: Family) -> Family:
    """The family with a denoiser and a decoder that take no time; latents are its own."""

    def predict(latents: Tensor, k: int, sampler: Any, rows: Mapping[str, Tensor], settings: Any) -> Tensor:
        return 0.1 * latents + rows["text"][:, 0, 0].reshape(-1, *[1] * (latents.ndim - 1))

    def decode(latents: Tensor, settings: Any, draw: Any) -> NDArray[np.uint8]:
        shades = latents[:, :3].permute(0, 2, 3, 1).clamp(-1, 1)
        return (127.5 * (shades + 1)).byte().numpy()

    for name, does in {"predict": predict, "decode": decode, "accelerate": dict, "rest": lambda: None}.items():
        setattr(family, name, does)
    return family


def job_of(prompts: int, steps: int, folder: Path, plan: Callable[[Any], SharingPlan]) -> Job:
    """A job of so many prompts; `plan` makes its plan, from its cell."""
    texts = PromptSet("catalogue", tuple(f"article {number}" for number in range(prompts)), "this benchmark")
    (cell,) = cells(make_spec([{"model": "mini-sd", "prompt": "an article", "steps": steps, "tau": "1"}]), "cpu")
    cell = replace(cell, source=replace(cell.source, prompts=texts))
    return Job(
        id=cell.id,
        role="baseline",
        config=cell.config,
        identity=cell.identity,
        source=cell.source,
        plan=plan(cell),
        run=folder,
        folder=folder / "cells" / cell.id,
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--savings", type=float, default=0.4)
    parser.add_argument("--memory", type=float, default=8.0, help="GiB of main memory that are to suffice")
    parser.add_argument("--seconds", type=float, help="stop the run after so many: the first waves need what all do")
    parser.add_argument("--folder", type=Path, help="for the run; a temporary one unless given")
    parser.add_argument("--out", type=Path, default=RESULTS / "waves.json")
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    if asked.folder:
        asked.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=asked.folder) as name:
        found = measured(asked, Path(name))
    atomic_write(asked.out, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["memory"], indent=1))


def measured(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Plan and run."""
    path, memory, seconds = folder / "conditioning.safetensors", Memory(), dict[str, float]()
    write_sparse(path, asked.prompts)
    conditioning = Conditioning.load(path)

    def planned(cell: Any) -> SharingPlan:
        start = time.perf_counter()
        grouping = grouped(get_strategy("ward-euclidean"), features(asked.prompts), seed=0)
        tau = tau_for_savings(grouping, cell.schedule, cell.source.steps, asked.savings).tau
        plan = build_plan(grouping, cell.schedule, float(Decimal(repr(tau))), cell.source.steps)
        seconds["plan"] = time.perf_counter() - start
        return plan

    began = float("inf")

    def heard(event: Event) -> None:
        if asked.seconds is not None and time.perf_counter() - began > asked.seconds:
            raise Stopped

    with memory.watched():
        job = job_of(asked.prompts, asked.steps, folder / "run", planned)
        assert job.plan
        of_planning = memory.peak
        session = Session("cpu", heard, batch_size=BATCH)
        family = stand_in(session.family(job.source))
        session.encoded = lambda *_, **__: Encoded(conditioning, {})  # type: ignore[method-assign]
        session._families.get = lambda *_: family  # type: ignore[method-assign]
        before, held = anonymous(), held_by(job.source, session)
        session.wave = rows = wave_rows(job.plan.leaves, held, {"cpu": asked.memory * GIB - before}, BATCH)
        cut = parts(job.plan, rows)
        state = row_bytes(family.latent_shape(job.source.settings), "fp32")
        most, wide = min(rows, job.plan.widest), conditioning.wide_bytes
        taken = wave_bytes(held, most, BATCH, conditioning=wide, prompts=asked.prompts)["cpu"]
        predicted = before + taken
        began = time.perf_counter()
        with suppress(Stopped):
            (outcome,) = Local().run([job], session)
            assert not outcome.error and outcome.execution.rows == job.plan.node_steps
        seconds["run"] = time.perf_counter() - began
    pictures = len(list((job.folder / "images").glob("*.png")))
    assert pictures == asked.prompts or asked.seconds is not None
    states = sum(path.stat().st_size for path in (folder / "run" / STATES).glob("trunk-*"))
    return {
        "asked": {"prompts": asked.prompts, "steps": job.plan.steps, "text": TEXT, "memory_gib": asked.memory},
        "plan": {"savings": job.plan.savings, "node_steps": job.plan.node_steps, "roots": job.plan.roots},
        "waves": {
            "count": len(cut.nodes),
            "trunks": sum(map(bool, cut.heirs)),
            "rows": rows,
            "pictures_written": pictures,
            "states_left_bytes": states,
            "states_bytes": most_kept(job.plan, cut) * state,
            "conditioning_bytes": asked.prompts * conditioning.row_bytes,
            "as_float32_bytes": asked.prompts * int(np.prod(TEXT)) * BYTES["fp32"],
        },
        "memory": {
            "predicted_gib": predicted / GIB,
            "planning_gib": of_planning / GIB,
            "before_gib": before / GIB,
            "own_peak_gib": memory.peak / GIB,
            "process_peak_gib": _status("VmHWM") / GIB,
        },
        "seconds": seconds,
        "machine": {"processor": processor(), "memory_gib": psutil.virtual_memory().total / GIB},
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
