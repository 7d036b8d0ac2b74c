"""Is the memory that `bench plan` predicts the memory that a run takes? ``python -m benchmarks.memory``.

The baseline and a plan that saves about half are denoised, then decoded, at several batch sizes and prompt
counts, the encoders gone. Measured is what PyTorch's allocator had given out at the worst moment of each, weights
included: on a CPU from its profiler's memory events (and the weights' own bytes, which are mapped from files), on CUDA
from ``torch.cuda.max_memory_allocated``. On a CPU each model runs in a process of its own, which also says how much
more was resident than before the model came: what libraries keep for themselves counts there too.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from benchmarks.measuring import Results, parser
from benchmarks.models import Loaded, loaded, wanted
from benchmarks.random_models import denoising, half_saved
from common.memory import is_out_of_memory
from generators.sharing.plan import SharingPlan, baseline_plan
from metrics.memory import peaks

GOAL = 0.15
STEPS = 3  # what is held at once does not depend on how many there are
BATCHES, PROMPTS = (8, 32), (16, 64)
CLEAR_PEAK = "5"  # written to /proc/self/clear_refs, resets VmHWM
CAPTION = (
    "Peak memory as `bench plan` predicts it, against what PyTorch's allocator gave out, weights included, of the "
    "baseline and of a plan that saves half, at several batch sizes and numbers of prompts."
)


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        plan: ``baseline``, or ``half`` of the steps saved.
        active: nodes at the step that has the most of them.
        phase: ``denoise`` or ``decode``.
        predicted, measured: bytes at its worst moment, weights included.
        weights: bytes of these.
        resident: bytes of the process, over both phases, above what it had before the model came; None where that was
            not measured.
    """

    model: str
    dtype: str
    plan: str
    batch: int
    prompts: int
    active: int
    phase: str
    predicted: int
    measured: int
    weights: int
    resident: int | None = None

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of what was measured; below 0: too little was predicted."""
        return self.predicted / self.measured - 1


def measured(
    model: Loaded, name: str, plan: SharingPlan, batch: int, peak: Callable[[Callable[[], object]], int]
) -> Iterator[Case]:
    """One plan at one batch size; `peak` gives the bytes that a piece of work takes at most beside the weights."""
    settings, family, n = model.settings, model.family, len(model)
    active = max(len(plan.active(k)) for k in range(plan.steps))
    on_cpu = model.device == "cpu"
    predicted = peaks(
        [part for part in family.components(settings) if part.phase != "encode"],
        family.latent_shape(settings),
        n,
        settings.dtype,
        batch_size=batch,
        active=active,
        remembered=family.sampler(settings).remembered,
        conditioning=list(model.conditioning.shapes.values()) if on_cpu else (),
    )
    weights = weight_bytes(model)
    before = weights  # prompts' conditioning is on disk in a run
    done = model.denoised(plan, batch)  # what the first call brings with it is not the plan's
    after = before + (done.latents.nbytes if on_cpu else 0)
    about = (model.entry.name, settings.dtype, name, batch, n, active)
    denoising = before + peak(lambda: model.denoised(plan, batch))
    yield Case(*about, "denoise", predicted["denoise"], denoising, weights)
    yield Case(*about, "decode", predicted["decode"], after + peak(lambda: model.decoded(done, batch)), weights)


def weight_bytes(model: Loaded) -> int:
    """Of the stock pipeline that denoises and decodes."""
    modules = [part for part in denoising(model.family).components.values() if isinstance(part, nn.Module)]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return sum({tensor.untyped_storage()._cdata: tensor.nbytes for tensor in tensors}.values())


def allocated(work: Callable[[], object]) -> int:
    """Bytes that PyTorch's CPU allocator gave out at most, above what it had given out before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


def on_cuda(weights: int) -> Callable[[Callable[[], object]], int]:
    """The same of the accelerator's, whose allocator also gave out the weights."""

    def peak(work: Callable[[], object]) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - weights

    return peak


def _clean() -> None:
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def resident(work: Callable[[], object]) -> int | None:
    """Bytes that this process had resident at most meanwhile; None where the system does not say."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return None
    _clean()
    clear.write_text(CLEAR_PEAK)
    work()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def cases(name: str, asked: argparse.Namespace) -> Iterator[Case]:
    """All measurements of one model in this process."""
    cuda, before = asked.device.startswith("cuda"), 0
    if not cuda:  # libraries are loaded and warm before anything is compared with what was resident
        first = _ready(name, 2, asked.device)
        first.pictures(baseline_plan(2, first.steps), 2)
        del first
        _clean()
        before = psutil.Process().memory_info().rss
    whole = _ready(name, max(asked.prompts), asked.device)
    peak = on_cuda(weight_bytes(whole)) if cuda else allocated
    for n in asked.prompts:
        model = whole.first(n)
        plans = {"baseline": baseline_plan(n, model.steps)}
        if n == max(asked.prompts):
            plans["half"] = half_saved(model.conditioning, model.family, model.steps)
        for batch in asked.batches:
            for kind, plan in plans.items():
                try:
                    found = list(measured(model, kind, plan, batch, peak))
                    most = None if cuda else resident(partial(model.pictures, plan, batch))
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    print(f"{name}: memory ran out at batch {batch}", file=sys.stderr, flush=True)
                    torch.cuda.empty_cache()
                    continue
                yield from (replace(case, resident=most and most - before) for case in found)


def _ready(name: str, n: int, device: str) -> Loaded:
    model = loaded(name, n, device, steps=STEPS)
    model.family.release_encoders()
    return model


def rows(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of the table: a model's denoising and its decoding."""
    kinds = dict.fromkeys((found["model"], found["dtype"], found["phase"]) for found in findings)
    return [
        _row([each for each in findings if (each["model"], each["dtype"], each["phase"]) == kind]) for kind in kinds
    ]


def _row(findings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    errors = [found["error"] for found in findings]
    least, most = (f"{bound(found['measured'] for found in findings) / 2**20:,.0f}" for bound in (min, max))
    return {
        "model": findings[0]["model"],
        "dtype": findings[0]["dtype"],
        "phase": findings[0]["phase"],
        "cases": str(len(findings)),
        "measured, MiB": f"{least} to {most}",
        "predicted less measured, %": f"{100 * min(errors):+.1f} to {100 * max(errors):+.1f}",
    }


def main(argv: list[str] | None = None) -> None:
    made = parser("memory", __doc__, turns=1)
    made.add_argument("--model", action="append", help="only this one; may be repeated")
    made.add_argument("--full-size", action="store_true", help="public models' sizes with random weights")
    made.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    made.add_argument("--prompts", type=int, nargs="+", default=PROMPTS)
    made.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one model, as JSON lines
    asked = made.parse_args(argv)
    if asked.quick:
        asked.batches, asked.prompts = (2, 4), (4, 8)
    models = wanted(asked.model, asked.full_size)
    if asked.here:
        for case in cases(models[0], asked):
            print(json.dumps(asdict(case)), flush=True)
        return
    results = Results("memory", asked, argv, goal=GOAL, steps=STEPS)
    for name in models:
        for case in cases(name, asked) if asked.device.startswith("cuda") else _apart(name, asked):
            results.add(**asdict(case), error=case.error)
            more = "" if case.resident is None else f", {case.resident / 2**20:,.0f} resident"
            print(
                f"{name}, {case.plan}, {case.prompts} prompts, batch {case.batch}, {case.phase}: predicted "
                f"{case.predicted / 2**20:,.1f} MiB, measured {case.measured / 2**20:,.1f} ({case.error:+.1%}){more}",
                flush=True,
            )
    worst = max((abs(found["error"]) for found in results.found), default=float("nan"))
    print(f"off by {worst:.1%} at most; the goal is {GOAL:.0%}; {results.path}")


def _apart(name: str, asked: argparse.Namespace) -> Iterator[Case]:
    """The measurements of one model in a process of its own."""
    numbers: list[Any] = ["--batches", *asked.batches, "--prompts", *asked.prompts]
    command = [sys.executable, "-m", "benchmarks.memory", "--here", "--model", name, "--device", asked.device]
    with subprocess.Popen([*command, *map(str, numbers)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Case(**json.loads(line))
    if process.returncode:
        raise SystemExit(f"{name}: the process that measured it ended with {process.returncode}")


if __name__ == "__main__":
    main()
