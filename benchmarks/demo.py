"""``make demo`` at another commit against this working tree: ``python -m benchmarks.demo --base COMMIT``.

The command of ``make demo`` in both, in turns, with the same interpreter and libraries: the other commit is checked out
beside, in a folder that goes away afterwards. Every run begins with an empty cache and an empty run folder, as a first
one does, but its bytecode is compiled. Seconds are those of the whole command, from outside, and by stage as the
command itself tells them. That both say the same is shown by how far apart the figures of their tables are.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measuring import Results, in_turns, parser, ratio, shown, told
from common.errors import UserError

HERE = Path(__file__).resolve().parent.parent
DEMO = ("sweep", "--tau", "0..2")
QUICK = ("sweep", "--tau", "0,1", "--limit", "4", "--steps", "4")
ALL = "all of it"
# Stages that were told as parts of others before they were told by themselves.
WITHIN = {"loading and the rest": "the rest", "load": "the rest", "write": "decode"}
NO_FIGURE = re.compile(r"^(seconds|flops)\.|_(low|high)$")
TIME = re.compile(r"^time +[\d.]+ s: (.+)$", re.MULTILINE)
CAPTION = (
    "`make demo` before and after: seconds (medians) of the whole command, with the 95% interval of their ratio, and "
    "by stage."
)

Seconds = dict[str, list[float]]


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """The tree of a commit in `folder`, as a worktree that is removed when the block ends.

    Raises:
        UserError: there is no such commit.
    """
    try:
        _git("worktree", "add", "--detach", str(folder), commit)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().partition("\n")[0]
        raise UserError(f"cannot check out {commit!r}: {reason}", "name a commit with --base") from error
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def run(tree: Path, command: Sequence[str], places: Path, stages: Seconds) -> None:
    """The command in `tree`, in a new folder of `places`; what it tells of its stages is added to `stages`.

    Raises:
        UserError: it failed, or does not tell its time.
    """
    place = places / f"{len(list(places.iterdir()))}"
    done = subprocess.run(
        [sys.executable, "-m", "bench.main", *command, "--name", "demo", "--out", str(place / "runs")],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "REUSEBENCH_CACHE": str(place / "cache")},
        capture_output=True,
        text=True,
    )
    found = TIME.search(done.stdout)
    if done.returncode or found is None:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(f"the demo of {tree} came to exit status {done.returncode}: {last}", "run it there by hand")
    for stage, seconds in told_stages(found[1]).items():
        stages.setdefault(stage, []).append(seconds)


def told_stages(text: str) -> dict[str, float]:
    """Seconds by stage of ``denoise 40.0, report 7.0, ...``, what has no name of its own before in what it was."""
    found: dict[str, float] = {}
    for part in text.split(", "):
        name, _, seconds = part.rpartition(" ")
        name = WITHIN.get(name, name)
        found[name] = found.get(name, 0.0) + float(seconds)
    return found


def figures_apart(before: Path, after: Path) -> float:
    """How far apart the figures of two runs' summaries are, at most; ends of intervals move with resampled ties.

    Raises:
        UserError: they are of other cells.
    """
    import numpy as np
    import pandas as pd

    tables = [pd.read_csv(run / "demo" / "report" / "tables" / "summary.csv") for run in (before, after)]
    axes = ["strategy", "tau"]
    if not tables[0][axes].equals(tables[1][axes]):
        raise UserError("the two demos are of other cells", "compare commits whose demo is the same")
    numbers = [name for name in tables[0].select_dtypes("number") if name in tables[1]]
    shared = [name for name in numbers if "." in name and not NO_FIGURE.search(name)]
    first, second = (table[shared].to_numpy(float) for table in tables)
    return float(np.nanmax(np.abs(first - second)))


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    before, after = (found["seconds"][way] for way in ("before", "after"))
    return {
        "stage": found["stage"],
        "before, s": f"{median(before):.1f}" if before else "",
        "after, s": f"{median(after):.1f}" if after else "",
        "before / after": shown(found["ratio"], 2) if found["ratio"] else "",
        "turns": str(found["ratio"]["turns"]) if found["ratio"] else "",
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("demo", __doc__, turns=3)
    options.add_argument("--base", default="HEAD", help="the commit that is before (default %(default)s)")
    asked = options.parse_args(argv)
    command = (*(QUICK if asked.quick else DEMO), "--device", asked.device)
    with TemporaryDirectory() as made, checked_out(asked.base, Path(made).resolve() / "base") as base:
        trees, places = {"before": base, "after": HERE}, {way: Path(made) / way for way in ("before", "after")}
        base_commit = _git("rev-parse", "HEAD", tree=base).strip()
        results = Results("demo", asked, argv, base=base_commit, demo=["bench", *command])
        stages: dict[str, Seconds] = {way: {} for way in trees}
        for way, place in places.items():
            place.mkdir()
            run(trees[way], (*QUICK, "--device", asked.device), place, {})  # for its bytecode
        ways = {way: partial(run, trees[way], command, places[way], stages[way]) for way in trees}
        seconds = in_turns(ways, 1 if asked.quick else asked.turns, warm_up=False)
        apart = figures_apart(places["before"] / "1" / "runs", places["after"] / "1" / "runs")
        found = ratio(seconds["before"], seconds["after"])
        results.add(stage=ALL, seconds=seconds, ratio=found, figures_apart=apart)
        names = dict.fromkeys([*stages["before"], *stages["after"]])
        for name in sorted(names, key=lambda name: -median(stages["before"].get(name, [0.0]))):
            results.add(stage=name, seconds={way: stages[way].get(name, []) for way in ways}, ratio=None)
    print(
        f"the demo: {median(seconds['before']):.1f} s at {base_commit[:7]}, {median(seconds['after']):.1f} s now: "
        f"{found} times as long before; figures are {apart:.2g} apart at most"
    )


def _git(*arguments: str, tree: Path = HERE) -> str:
    return subprocess.run(["git", "-C", str(tree), *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    told(main)
