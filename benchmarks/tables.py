"""The benchmarks' results as Markdown tables: ``python -m benchmarks.tables [--embed]``.

A results file ``results/NAME.json`` that `measuring.Results` wrote becomes one table, with the command, machine and
date that made it. A benchmark says itself what stands there: its module's ``row(finding)``, or ``rows(findings)`` of
them all, gives text by column, and its ``CAPTION`` what that is. In a Markdown file, the line
``<!-- report:begin benchmarks NAME NAME -->`` begins the place of some, or without any name of all, and
``<!-- report:end -->`` ends it.
"""

import argparse
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS, told
from common.errors import UserError, nearest
from reports.formats import markdown_text
from scripts.embed_report import fill

PLACE = "benchmarks"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def tables(folder: Path) -> dict[str, str]:
    """Every result's table, by the file's name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and {"benchmark", "results"} <= content.keys():
            found[path.stem] = table(content)
    return found


def table(content: dict[str, Any]) -> str:
    """Of one file's content: a caption, the rows, and what made them."""
    module = import_module(f"benchmarks.{content['benchmark']}")
    findings = content["results"]
    rows = module.rows(findings) if hasattr(module, "rows") else [module.row(finding) for finding in findings]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    lines = [headings, *([row.get(heading, "") for heading in headings] for row in rows)]
    heading, *body = (f"| {' | '.join(map(markdown_text, line))} |" for line in lines)
    numeric = [all(_is_number(row.get(heading, "")) for row in rows) for heading in headings]
    aligned = f"| {' | '.join('---:' if right else ':---' for right in numeric)} |"
    return "\n".join([module.CAPTION, "", heading, aligned, *body, "", made_by(content)])


def made_by(content: dict[str, Any]) -> str:
    """The command, and on what, when and from which commit it ran."""
    machine, versions = content["machine"], content["versions"]
    where = machine.get("accelerator") or f"{machine['cores']} cores, {machine['processor']}"
    parts = [where, f"torch {versions.get('torch')}", f"diffusers {versions.get('diffusers')}", content["date"][:10]]
    if commit := versions.get("commit"):
        parts.append(f"commit {commit[:12]}{'-dirty' if commit.endswith('-dirty') else ''}")
    beside = content.get("beside", "nothing")
    parts += [f"beside {beside}"] if beside != "nothing" else []
    parts += ["**quick: a trial, no measurement**"] if content.get("quick") else []
    return f"`{content['command']}`: {', '.join(parts)}."


def _is_number(text: str) -> bool:
    return not text or text[0] in "0123456789+-"


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--embed",
        type=Path,
        nargs="?",
        const=PAGE,
        metavar="FILE",
        help="write them into a Markdown file with places for them, docs/performance.md unless another is named; "
        "printed without this option",
    )
    options.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    asked = options.parse_args(argv)
    found = tables(asked.results)

    def part(name: str) -> str:
        if name not in found:
            hint = nearest(name, list(found)) if found else f"run python -m benchmarks.{name} first"
            raise UserError(f"there are no results {name!r} in {asked.results}", hint)
        return found[name]

    if asked.embed is None:
        print("\n\n".join(found.values()))
        return
    new = fill(asked.embed, PLACE, part, list(found))
    print(f"{asked.embed}: {'written anew' if new else 'nothing is new'}")


if __name__ == "__main__":
    told(main)
