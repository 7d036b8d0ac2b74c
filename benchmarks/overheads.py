"""Everything that is not the denoiser, as a share of a cell's time: ``python -m benchmarks.overheads``.

A real ``bench sweep --isolate`` of one tau in this process, scored as usual, in a fresh folder each turn. A cell's time
is what its record says, stage by stage; within denoising, the denoiser's own forward is timed apart from what is around
it. Encoding is done once for all cells of a sweep: the share is given without it and, as if this cell were alone, with
it; and without scoring. Goal: at most 15% on the miniature, 5% on a full-size model, scoring and encoding left out.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.measuring import Results, parser, share, shown, synchronise, told
from common.errors import UserError
from generators import executor
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.families.base import get_family, resolve_settings
from generators.noise import KeyedNoise
from generators.sampler import Sampler
from sweeps.record import Record, read_record

GOALS = {"miniature": 0.15, "full size": 0.05}
DENOISER, REST = "denoiser", "denoise: rest"
SCORING, ENCODE = ("score",), "encode, for all cells"
CAPTION = (
    "What is not the denoiser's own forward, as a share of a cell's time, with 95% intervals, and its largest parts. "
    "Encoding is done once for all cells of a sweep: it is counted only where the column says so."
)


class Clock:
    """Seconds by part; of parts within parts each has its own alone."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device, self._within = device, list[float]()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start, synchronised = time.perf_counter(), name == DENOISER
        self._within.append(0.0)
        try:
            yield
            if synchronised:
                synchronise(self._device)
        finally:
            taken = time.perf_counter() - start
            self.seconds[name] += taken - self._within.pop()
            if self._within:
                self._within[-1] += taken

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **further: Any) -> Any:
            with self.part(name):
                return function(*args, **further)

        return call


def parts_timed(clock: Clock, family: type, network: type) -> Iterator[Any]:
    """Patches that time the parts of denoising."""
    timed: dict[str, list[tuple[type, str]]] = {
        DENOISER: [(network, "forward")],
        "denoise: guidance": [(family, "predict")],
        "denoise: scheduler": [(Sampler, "step")],
        "denoise: set-up": [(Sampler, "__init__")],
        "denoise: noise": [(KeyedNoise, "initial"), (KeyedNoise, "step")],
        "denoise: conditioning": [(Conditioning, "rows")],
    }
    for name, places in timed.items():
        for owner, method in places:
            yield patch.object(owner, method, clock.timed(name, getattr(owner, method)))


def network_class(name: str, device: str) -> type:
    """Of the module that denoises."""
    entry = model(name)
    settings = resolve_settings(entry, {}, device)
    denoiser = next(part for part in get_family(entry.family).components_of(entry, settings) if part.name == DENOISER)
    with torch.device("meta"):
        return type(denoiser.build())


def swept(asked: argparse.Namespace, arguments: Sequence[str]) -> tuple[Record, dict[str, float]]:
    """The cell's record, and the seconds of the parts of its denoising."""
    from typer.testing import CliRunner

    from bench.main import app

    runs: list[tuple[int, dict[str, float]]] = []
    real, family = executor.execute, get_family(model(asked.model).family)
    network = network_class(asked.model, asked.device)

    def execute(plan: Any, *args: Any, **further: Any) -> Any:
        clock = Clock(asked.device)
        with ExitStack() as timed:
            for each in parts_timed(clock, family, network):
                timed.enter_context(each)
            with clock.part(REST):
                done = real(plan, *args, **further)
        runs.append((plan.node_steps, dict(clock.seconds)))
        return done

    with TemporaryDirectory() as folder, patch.object(executor, "execute", execute):
        command = ["sweep", "--model", asked.model, *arguments, "--isolate", "--no-mlflow", "--no-another-seed"]
        where = ["--name", "overheads", "--out", folder, "--device", asked.device]
        result = CliRunner().invoke(app, [*command, *where])
        if result.exit_code:
            raise UserError(f"the sweep failed: {result.output[-500:]}", "run the same sweep by `bench`")
        record = read_record(next(Path(folder).glob("*/cells/*/record.json")))
    assert record.plan
    return record, [parts for steps, parts in runs if steps == record.plan.node_steps][-1]


def parts_of(record: Record, denoising: dict[str, float]) -> dict[str, float]:
    """Seconds of the cell by part: those of denoising, and its other stages."""
    stages = {name: seconds for name, seconds in record.timings.items() if name != "denoise"}
    around = record.timings["denoise"] - sum(denoising.values())
    return {**denoising, REST: denoising[REST] + around, **stages}


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    seconds = {name: taken for name, taken in found["seconds"].items() if name != ENCODE}
    largest = sorted((name for name in seconds if name != DENOISER), key=lambda name: -seconds[name])[:5]
    total = sum(seconds.values())
    return {
        "model": found["model"],
        "prompts": str(found["prompts"]),
        "tau": f"{found['tau']:g}",
        "making pictures, %": shown(found["ratio"], 1, percent=True),
        "and scoring, %": shown(found["with_scoring"], 1, percent=True),
        "and encoding, %": shown(found["with_scoring_and_encoding"], 1, percent=True),
        "turns": str(found["ratio"]["turns"]),
        "of the cell's time": ", ".join(f"{name} {seconds[name] / total:.1%}" for name in largest),
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("overheads", __doc__, turns=3)
    options.add_argument("--model", default="mini-kandinsky")
    options.add_argument("--prompts", type=int, default=120)
    options.add_argument("--tau", type=float, default=1.0)
    asked = options.parse_args(argv)
    sweep = ["--tau", f"{asked.tau:g}", "--limit", str(4 if asked.quick else asked.prompts)]
    sweep += ["--steps", "3"] if asked.quick else []
    made = [swept(asked, sweep) for _ in range(1 if asked.quick else asked.turns)]
    parts = [parts_of(record, denoising) for record, denoising in made]
    encode = [record.baseline_timings.get("encode", 0.0) for record, _ in made]

    def apart(left_out: Sequence[str], more: Sequence[float]) -> list[float]:
        totals = [sum(s for name, s in each.items() if name not in left_out) for each in parts]
        return [1 - each[DENOISER] / (total + m) for each, total, m in zip(parts, totals, more, strict=True)]

    none = [0.0] * len(parts)
    without, scored, alone = share(apart(SCORING, none)), share(apart((), none)), share(apart((), encode))
    seconds = {name: mean(each[name] for each in parts) for name in parts[0]}
    results = Results("overheads", asked, argv, goals=GOALS)
    results.add(
        model=asked.model,
        prompts=made[0][0].plan.n_prompts if made[0][0].plan else 0,
        tau=asked.tau,
        ratio=without,
        with_scoring=scored,
        with_scoring_and_encoding=alone,
        seconds={**seconds, ENCODE: mean(encode)},
    )
    total = sum(seconds.values())
    for name, taken in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"{name:>24}: {taken:7.3f} s, {taken / total:6.1%}")
    print(f"{ENCODE:>24}: {mean(encode):7.3f} s")
    print(f"not the denoiser: {without}; with scoring {scored}; with encoding too {alone}")


if __name__ == "__main__":
    told(main)
