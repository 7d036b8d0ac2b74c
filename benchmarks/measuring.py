"""What the benchmarks of speed share: ways measured in turns, ratios with intervals, results that say who made them."""

import argparse
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from common.errors import UserError
from common.files import atomic_write
from sweeps.machine import checked_device, machine, versions

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """How many times as long one way takes as another.

    Attributes:
        value: the ratio of the medians.
        low, high: of the turns' own ratios, the 95% t interval on the logarithm; None with a single turn.
        turns: how often each way was measured.
    """

    value: float
    low: float | None
    high: float | None
    turns: int

    def mapped(self, function: Callable[[float], float]) -> "Ratio":
        """A figure that rises or falls with the ratio, its ends likewise."""
        ends = (None, None) if self.low is None or self.high is None else (function(self.low), function(self.high))
        low, high = sorted(end for end in ends if end is not None) or (None, None)
        return Ratio(function(self.value), low, high, self.turns)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (one turn)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Of seconds measured in the same turns."""
    value = median(ours) / median(theirs)
    if len(ours) < 2:
        return Ratio(value, None, None, len(ours))
    low, high = _t_interval([math.log(a / b) for a, b in zip(ours, theirs, strict=True)])
    return Ratio(value, math.exp(low), math.exp(high), len(ours))


def share(values: Sequence[float]) -> Ratio:
    """The median of a share that was measured in several turns, the 95% t interval of its mean beside it."""
    low, high = _t_interval(values) if len(values) > 1 else (None, None)
    return Ratio(median(values), low, high, len(values))


def shown(found: Mapping[str, Any], digits: int, percent: bool = False) -> str:
    """A ratio of a results file as text: the value and its interval, if it has one."""
    factor = 100 if percent else 1
    value, low, high = (
        None if found[name] is None else f"{factor * found[name]:.{digits}f}" for name in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]" if low and high else f"{value}"


def _t_interval(values: Sequence[float]) -> tuple[float, float]:
    from statsmodels.stats.weightstats import DescrStatsW

    low, high = DescrStatsW(values).tconfint_mean(alpha=1 - CONFIDENCE)
    return float(low), float(high)


def processor() -> str:
    """The CPU's name where the system tells, and what of it PyTorch uses."""
    names = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2] if Path("/proc/cpuinfo").exists() else ""
    return f"{names.partition(chr(10))[0] or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def synchronise(device: str) -> None:
    """Wait for what an accelerator was given to do."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(work: Callable[[], T], device: str = "cpu") -> tuple[float, T]:
    """Wall seconds of one call, and what it gave."""
    synchronise(device)
    start = time.perf_counter()
    made = work()
    synchronise(device)
    return time.perf_counter() - start, made


def in_turns(
    ways: Mapping[str, Callable[[], T]],
    turns: int,
    device: str = "cpu",
    warm_up: bool = True,
    last: dict[str, T] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every way, by its name: all once a turn, in the opposite order the next.

    Args:
        warm_up: once more before, unmeasured.
        last: gets what each way gave in its last turn.
    """
    if warm_up:
        for work in ways.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, T] = {} if last is None else last
    for turn in range(turns):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            taken, made[name] = timed(ways[name], device)
            seconds[name].append(taken)
    return seconds


def parser(module: str, description: str | None, turns: int) -> argparse.ArgumentParser:
    """The options that every benchmark has; `module` names it and its results."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--turns", type=int, default=turns, help="how often each way is measured (default %(default)s)")
    made.add_argument("--quick", action="store_true", help="a few seconds in all: that it runs, not how fast")
    made.add_argument("--device", default=checked_device())
    made.add_argument("--beside", default="nothing", help="what else runs on the machine, for the results")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return made


def told(main: Callable[[], None]) -> None:
    """Run it; what the user can mend is a sentence and no traceback."""
    try:
        with torch.no_grad():
            main()
    except UserError as error:
        sys.exit(f"{error.message}: {error.hint}" if error.hint else error.message)


class Results:
    """What a benchmark measured, written anew with every finding, so that one that is cut short leaves what it has."""

    def __init__(self, module: str, asked: argparse.Namespace, argv: Sequence[str] | None, **about: Any) -> None:
        said = list(sys.argv[1:] if argv is None else argv)
        self.found: list[dict[str, Any]] = []
        self._about = {
            "benchmark": module,
            "command": shlex.join(["python", "-m", f"benchmarks.{module}", *said]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {**machine(asked.device), "processor": processor()},
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "load_before": os.getloadavg()[0],
            "beside": asked.beside,
            "quick": asked.quick,
            **about,
        }
        kind = "" if asked.device == "cpu" else f"-{asked.device.partition(':')[0]}"
        self.path: Path = asked.out / f"{module}{kind}.json"

    def add(self, **finding: Any) -> None:
        """One more finding; ratios become mappings."""
        self.found.append({name: asdict(v) if isinstance(v, Ratio) else v for name, v in finding.items()})
        atomic_write(self.path, json.dumps({**self._about, "results": self.found}, indent=1) + "\n")
