"""A set of pictures made beside a sweep of the same plan: ``python -m benchmarks.generate_set``.

``bench generate`` makes the pictures of one tau and nothing else; ``bench sweep --metric none`` makes the baseline's
too, which is what a set cost before generation could be interrupted and continued. Each runs in a process of its own,
on captions of the small world that the embedded models were trained on. Node-steps are what the two say they denoised,
in their manifests, and are held against the plan's.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Results, in_turns, parser, ratio, shown, told
from miniature.world import caption, random_scene
from sweeps.pictures import MANIFEST, load_manifest

CAPTION = (
    "A set of pictures by `bench generate` beside `bench sweep --metric none` of the same plan: node-steps that each "
    "denoised, and wall time, from starting the command to its end."
)
LIGHT = ("--metric", "none", "--no-seed-control", "--no-audit", "--no-mlflow")


def captions(count: int) -> list[str]:
    """As many different captions of the small world, drawn at random."""
    rng, found = np.random.default_rng(0), dict[str, None]()
    while len(found) < count:
        found[caption(random_scene(rng))] = None
    return list(found)


def denoised(command: Sequence[str], settings: Sequence[str]) -> dict[str, int]:
    """Run a command in a folder of its own; what its manifests say was denoised, and what the plan of sharing says."""
    with tempfile.TemporaryDirectory() as out:
        run = [sys.executable, "-m", "bench.main", *command, *settings, "--out", out]
        done = subprocess.run(run, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        manifests = [load_manifest(path.parent) for path in Path(out).rglob(MANIFEST)]
    return {
        "denoised": sum(one.execution.rows for one in manifests),
        "plan": min(one.plan.node_steps for one in manifests),
        "baseline": max(one.plan.baseline_node_steps for one in manifests),
    }


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    ours, sweep = found["generate"], found["sweep"]
    return {
        "model": found["model"],
        "prompts": f"{found['prompts']:,}",
        "tau": f"{found['tau']:g}",
        "baseline's node-steps": f"{ours['baseline']:,}",
        "the plan's": f"{ours['plan']:,}",
        "generate denoised": f"{ours['denoised']:,}",
        "sweep denoised": f"{sweep['denoised']:,}",
        "time of the sweep over that of generate": shown(found["ratio"], 2),
        "turns": str(found["ratio"]["turns"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("generate_set", __doc__, turns=1)
    options.add_argument("--model", default="mini-kandinsky")
    options.add_argument("--prompts", type=int, default=2000)
    options.add_argument("--tau", type=float, default=1.0)
    options.add_argument("--steps", type=int, help="the model's own unless given")
    asked = options.parse_args(argv)
    count = 12 if asked.quick else asked.prompts
    results = Results("generate_set", asked, argv)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "captions.txt"
        file.write_text("\n".join(captions(count)) + "\n")
        settings = ["--model", asked.model, "--prompts", str(file), "--tau", f"{asked.tau:g}", "--device", asked.device]
        settings += ["--steps", str(asked.steps)] if asked.steps else []
        ways = {
            "generate": partial(denoised, ["generate"], settings),
            "sweep": partial(denoised, ["sweep", *LIGHT], settings),
        }
        made: dict[str, dict[str, int]] = {}
        seconds = in_turns(ways, asked.turns, asked.device, warm_up=False, last=made)
    generate = made["generate"]
    assert generate["denoised"] == generate["plan"], "generation denoised something else than its plan"
    results.add(
        model=asked.model,
        prompts=count,
        tau=asked.tau,
        generate=generate,
        sweep=made["sweep"],
        seconds=seconds,
        ratio=ratio(seconds["sweep"], seconds["generate"]),
    )
    print(json.dumps(results.found[-1], indent=1))


if __name__ == "__main__":
    told(main)
