"""What ``--executor ray`` costs on one machine: ``python -m benchmarks.ray_overhead``.

The same sweep by this process and by one Ray worker of as many threads, in turns, each in a process of its own. What
Ray takes longer is held against its start-up, which the sweep says itself (`workers` in its line of times). What else
runs on the machine is in the results as its load; compare only runs of one load.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common.files import atomic_write
from sweeps.machine import machine

RESULTS = Path(__file__).parent / "results" / "ray.json"
SWEEP = ("sweep", "--dataset", "mini_templates", "--metric", "none", "--no-mlflow", "--no-another-seed")
KINDS = {"local": (), "ray": ("--executor", "ray", "--workers", "1")}


def taken(kind: str, asked: argparse.Namespace) -> dict[str, float]:
    """Wall seconds of one sweep, of these the start-up of Ray's workers, and the load when it began."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "bench.main", *SWEEP, "--limit", str(asked.prompts), "--tau", asked.tau]
        start = time.perf_counter()
        done = subprocess.run([*command, "--out", out, *KINDS[kind]], capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    started = re.search(r"workers ([\d.]+)", done.stdout.rpartition("time ")[2])
    return {"seconds": seconds, "start_up": float(started[1]) if started else 0.0, "load": load}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--tau", default="0.5,1,1.5")
    parser.add_argument("--beside", default="nothing", help="what else runs on the machine, for the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(argv)
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(asked.repeats):
        for kind, made in runs.items():
            made.append(taken(kind, asked))
            print(kind, json.dumps(made[-1]), flush=True)
    median = {kind: statistics.median(run["seconds"] for run in made) for kind, made in runs.items()}
    start_up = statistics.median(run["start_up"] for run in runs["ray"])
    more = median["ray"] - median["local"]
    print(
        f"local {median['local']:.1f} s, ray {median['ray']:.1f} s: {more:+.1f} s, of which start-up {start_up:.1f} s"
    )
    about = {
        "machine": machine("cpu"),
        "beside": asked.beside,
        "prompts": asked.prompts,
        "tau": asked.tau,
        "median_seconds": median,
        "start_up": start_up,
        "more_than_start_up": more - start_up,
        "runs": runs,
    }
    atomic_write(asked.out, json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
