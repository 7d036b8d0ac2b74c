"""Run the commands of README and the documentation as they are written, and print a table of what came of them.

    python scripts/check_commands.py [PAGE ...] [--list] [--limit SECONDS]

Every page has a temporary folder of its own. Fenced ``bash`` blocks run there a command at a time, in order; fenced
``python`` blocks of a page run as one script. An HTML comment on the line before a block says otherwise:
``<!-- not run: reason -->`` leaves the block out, ``<!-- file: NAME -->`` writes it into that file instead.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md")
NOTE = re.compile(r"^<!-- (?P<kind>not run|file): (?P<text>.+) -->$")
FENCE = re.compile(r"^```(?P<language>bash|python)$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of its first line, from 1.
        language: ``bash`` or ``python``.
        text: what it holds.
        not_run: why it is left out; None where it runs.
        file: the name of the file that it is written into; None where it runs.
    """

    line: int
    language: str
    text: str
    not_run: str | None = None
    file: str | None = None

    def commands(self) -> Iterator[tuple[int, str]]:
        """Yield the line and text of each command of a ``bash`` block, continuations joined."""
        command, start = "", self.line
        for number, line in enumerate(self.text.splitlines(), self.line):
            start = start if command else number
            command += line
            if command.endswith("\\"):
                command += "\n"
            else:
                if command.strip() and not command.lstrip().startswith("#"):
                    yield start, command
                command = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a command: a row of the table."""

    page: str
    line: int
    command: str
    result: str
    seconds: float | None = None
    failed: bool = False

    def __str__(self) -> str:
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        command = re.sub(r"\s+(#.*)?$", "", self.command.replace("\\\n", " ")).replace("|", "\\|")
        return f"| {self.page}:{self.line} | `{re.sub(r'  +', ' ', command)}` | {self.result} | {seconds} |"


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the ``bash`` and ``python`` blocks of a Markdown text."""
    lines = markdown.splitlines()
    number = 0
    while number < len(lines):
        if fence := FENCE.match(lines[number]):
            end = lines.index("```", number + 1)
            note = NOTE.match(lines[number - 1]) if number else None
            notes = {note["kind"]: note["text"]} if note else {}
            text = "\n".join(lines[number + 1 : end])
            yield Block(number + 2, fence["language"], text, notes.get("not run"), notes.get("file"))
            number = end
        number += 1


def check(page: Path, *, run: bool, limit: float) -> Iterator[Outcome]:
    """Run a page's blocks in a temporary folder; yield what came of each command.

    Args:
        page: a Markdown file.
        run: False lists the commands alone.
        limit: seconds that a command may take.
    """
    name = page.resolve().relative_to(ROOT).as_posix() if page.resolve().is_relative_to(ROOT) else str(page)
    found = list(blocks(page.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        script = [block for block in found if block.language == "python" and not (block.not_run or block.file)]
        for block in found:
            if block.not_run:
                for line, command in block.commands():
                    yield Outcome(name, line, command, f"not run: {block.not_run}")
            elif block.file:
                (folder / block.file).write_text(block.text + "\n", encoding="utf-8")
            elif block.language == "bash":
                for line, command in block.commands():
                    yield _outcome(name, line, command, ["bash", "-c", command], folder, limit, run)
            elif block is script[-1]:  # as one script: later blocks use what earlier ones have named
                text = "\n".join(part.text for part in script)
                yield _outcome(name, script[0].line, "(python)", [sys.executable, "-c", text], folder, limit, run)


def _outcome(
    page: str, line: int, command: str, arguments: Sequence[str], folder: Path, limit: float, run: bool
) -> Outcome:
    if not run:
        return Outcome(page, line, command, "")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = os.environ | {"PATH": path, "PYTHONPATH": python_path}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            arguments, cwd=folder, env=environment, timeout=limit, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(page, line, command, f"**stopped after {limit:.0f} s**", limit, failed=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        return Outcome(page, line, command, f"**exit {done.returncode}**: {last}", seconds, failed=True)
    return Outcome(page, line, command, "ran", seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Check the pages; return the exit status, 1 where a command failed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="Markdown files; all of them unless given")
    options.add_argument("--list", action="store_true", help="print the commands, run none")
    options.add_argument("--limit", type=float, default=300, metavar="SECONDS", help="that a command may take; 300")
    chosen = options.parse_args(argv)
    pages = chosen.pages or [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    print("| where | command | result | seconds |\n| --- | --- | --- | ---: |")
    outcomes = []
    for page in pages:
        for outcome in check(page, run=not chosen.list, limit=chosen.limit):
            print(outcome, flush=True)
            outcomes.append(outcome)
    failed = sum(outcome.failed for outcome in outcomes)
    ran = sum(outcome.seconds is not None for outcome in outcomes)
    print(f"\n{ran} ran, {failed} of them failed; {len(outcomes) - ran} did not run.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
