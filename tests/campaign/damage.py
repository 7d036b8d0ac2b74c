"""Damage to every kind of file of a finished run, and what the commands make of it.

One run of a tiny model is copied, one file of it damaged, and one command run over the copy in this process. What it
prints is held against what it prints of the whole run:

- *survived*: the same is printed, and nothing is said;
- *noticed*: something is said: a note, an error, a cell that fails;
- *silent*: something else is printed, and nothing is said of it;
- *traceback*: the command ends by an exception that is no line of ours.

``python -m tests.campaign.damage --count 1000 --seed 1`` is the long form; pytest runs a few (`test_damage.py`).
"""

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from typer.testing import CliRunner

PROMPTS = ("a red fox", "a red wolf", "a blue car", "a blue van")
# by the name that the table has, the files of a run, or the folders of its cells
KINDS = MappingProxyType(
    {
        "record": "cells/*/record.json",
        "manifest": "cells/*/generation.json",
        "baseline's manifest": "shared/*/generation.json",
        "scores": "cells/*/scores.parquet",
        "baseline's scores": "shared/*/scores.parquet",
        "plan": "cells/*/plan.npz",
        "tree": "cells/*/tree.npz",
        "picture": "cells/*/images/*.png",
        "baseline's picture": "shared/*/images/*.png",
        "prompts": "shared/*/prompts.json",
        "conditioning": "shared/*/conditioning.safetensors",
        "its manifest": "shared/*/encoding.json",
        "audits": "audit.json",
        "list of cells": "cells.json",
        "spec": "sweep.yaml",
        "time line": "timeline.jsonl",
        "table of records": "records.parquet",
        "report": "report/**/*.*",
        "cell": "cells/*",
    }
)
COMMANDS = ("report", "show", "score", "sweep")
WEIGHTS = (6, 3, 2, 1)  # a sweep loads models where it makes something again
MOVING = re.compile(r"(?m)^time .*$|\b\d+(\.\d+)? s\b")  # seconds
SAID = re.compile(r"(?m)^(note|error|hint|warning)\b.*|.*\bfailed\b.*|.*\bmade again\b.*|.*\bmeasured again\b.*")


@dataclass(frozen=True)
class Printed:
    """What a command printed, without seconds, what it said besides, and how it ended."""

    out: str
    said: frozenset[str]
    code: int
    traceback: bool


@dataclass(frozen=True)
class Injection:
    """One file of a run, what is done to it, and the command that comes upon it."""

    kind: str
    path: str
    how: str
    command: str
    seed: int


def flip(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Flip a bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    _rewrite(path, bytes(content))


def cut(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Leave the first bytes alone."""
    content = path.read_bytes()
    _rewrite(path, content[: rng.randrange(len(content))])


def delete(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Remove it."""
    _remove(path)


def replace(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Put another of its kind in its place, or text where there is none."""
    other = rng.choice(others) if others else None
    if other and other.is_dir():
        _remove(path)
        shutil.copytree(other, path)
    else:
        _rewrite(path, other.read_bytes() if other else b"{}\n")


def unreadable(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Make it a link to itself, which not even root can open."""
    _remove(path)
    path.symlink_to(path.name)


def folder(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Put a folder with something in it there."""
    _remove(path)
    path.mkdir()
    (path / "mine.txt").write_text("mine")


HOW: dict[str, Callable[[Path, random.Random, Sequence[Path]], None]] = {
    one.__name__: one for one in (flip, cut, delete, replace, unreadable, folder)
}
OF_FOLDERS = ("delete", "replace", "unreadable")


class Campaign:
    """A finished run, and what every command prints of it.

    Args:
        work: a folder to work in.
        model, scorers: checkpoints of the tiny model, and values of --metric.
        figures: whether figures are drawn, which takes most of a report's time.
    """

    def __init__(self, work: Path, model: Path, scorers: Sequence[str], *, figures: bool = False) -> None:
        self.whole, self.run, self.figures = work / "whole", work / "runs" / "run", figures
        self.sweep = ["sweep", "--out", str(self.run.parent), "--name", "run", "--model", str(model), "--no-mlflow"]
        for prompt in PROMPTS:
            self.sweep += ["--prompt", prompt]
        self.sweep += ["--steps", "3", "--tau", "0.3,0.6", "--device", "cpu"]
        for scorer in scorers:
            self.sweep += ["--metric", scorer]
        first = self.printed("sweep")
        assert first.code == 0, first
        shutil.copytree(self.run, self.whole)
        self._expected: dict[str, Printed] = {}

    def expected(self, command: str) -> Printed:
        """Run a command over an undamaged copy, once."""
        if command not in self._expected:
            self._copy()
            self._expected[command] = self.printed(command)
        return self._expected[command]

    def printed(self, command: str) -> Printed:
        """Run a command over the run."""
        from bench.main import app

        arguments = {
            "report": ["report", str(self.run)],
            "show": ["show", str(self.run)],
            "score": ["score", str(self.run), "--device", "cpu"],
            "sweep": self.sweep,
        }[command]
        result = CliRunner().invoke(app, ["--debug", *arguments] if "DEBUG_CAMPAIGN" in os.environ else arguments)
        unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
        said = frozenset(match.group() for match in SAID.finditer(result.stderr))
        page = self.run / "report" / "index.html"
        shown = page.read_text() if command == "report" and page.is_file() else ""
        return Printed(MOVING.sub("", f"{result.stdout}{shown}"), said, result.exit_code, unforeseen)

    def outcome(self, injection: Injection) -> tuple[str, Printed]:
        """Damage a copy, run the command, and say what became of it."""
        expected = self.expected(injection.command)
        self._copy()
        rng = random.Random(injection.seed)
        path = self.run / injection.path
        others = [
            other for other in self.run.glob(KINDS[injection.kind]) if other != path and other.is_dir() == path.is_dir()
        ]
        HOW[injection.how](path, rng, sorted(others))
        printed = self.printed(injection.command)
        if printed.traceback:
            return "traceback", printed
        if printed.said - expected.said or printed.code != expected.code:
            return "noticed", printed
        return "survived" if printed.out == expected.out else "silent", printed

    def injections(self, count: int, seed: int, weights: Sequence[int] = WEIGHTS) -> Iterator[Injection]:
        """Yield so many injections, every kind of file in turn, the same ones for the same seed.

        `weights` are those of `COMMANDS`.
        """
        rng = random.Random(seed)
        places = {
            kind: sorted(str(path.relative_to(self.whole)) for path in self.whole.glob(pattern))
            for kind, pattern in KINDS.items()
        }
        for number in range(count):
            kind = list(KINDS)[number % len(KINDS)]
            paths = [path for path in places[kind] if kind == "cell" or (self.whole / path).is_file()]
            how = rng.choice(OF_FOLDERS if kind == "cell" else tuple(HOW))
            (command,) = rng.choices(COMMANDS, weights)
            yield Injection(kind, rng.choice(paths), how, command, rng.randrange(2**32))

    def _copy(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(self.whole, self.run)


def quick() -> Iterator[None]:
    """Draw no figures and keep standard streams for the length of a block."""
    from unittest.mock import patch

    with patch("reports.render.figures", dict):
        yield


def table(outcomes: Counter[tuple[str, str]]) -> str:
    """Return the outcomes as a table, a row a kind."""
    words = ("survived", "noticed", "silent", "traceback")
    kinds = [kind for kind in KINDS if any(outcomes[kind, word] for word in words)]
    rows = [(kind, *(outcomes[kind, word] for word in words)) for kind in kinds]
    rows.append(("all", *(sum(outcomes[kind, word] for kind in kinds) for word in words)))
    lines = [
        "| kind | injected | survived | noticed | silent | traceback |",
        "| :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(
        [*lines, *(f"| {row[0]} | {sum(row[1:])} | " + " | ".join(map(str, row[1:])) + " |" for row in rows)]
    )


def _rewrite(path: Path, content: bytes) -> None:
    """Write in place of a file, and of no other name of it."""
    path.unlink()
    path.write_bytes(content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main() -> None:
    """Run the long form, print what was not noticed, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", action="store_true", help="draw them, which takes ten times as long")
    asked = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    from contextlib import contextmanager, nullcontext

    from tiny_kandinsky import save_tiny_kandinsky
    from tiny_scorers import save_tiny_clip, save_tiny_vqa

    with tempfile.TemporaryDirectory(prefix="damage-") as name:
        work = Path(name)
        os.environ["REUSEBENCH_CACHE"] = str(work / "cache")
        model = save_tiny_kandinsky(work / "kandinsky", variance_type="fixed_small", clip_sample=False)
        scorers = [f"vqa={save_tiny_vqa(work / 'vqa')}", f"clip_diversity={save_tiny_clip(work / 'clip')}"]
        outcomes: Counter[tuple[str, str]] = Counter()
        with nullcontext() if asked.figures else contextmanager(quick)():
            campaign = Campaign(work, model, scorers)
            for injection in campaign.injections(asked.count, asked.seed):
                outcome, printed = campaign.outcome(injection)
                outcomes[injection.kind, outcome] += 1
                if outcome in ("silent", "traceback"):
                    print(outcome, injection, sorted(printed.said), flush=True)
                if outcomes.total() % 100 == 0:
                    print(table(outcomes), flush=True)
    print(table(outcomes))


if __name__ == "__main__":
    main()
