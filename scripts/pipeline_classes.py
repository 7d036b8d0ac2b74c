"""Write the table of diffusers' pipeline classes to docs/models.md: ``python -m scripts.pipeline_classes``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.listings import pipeline_classes
from benchmarks.measuring import RESULTS
from reports.formats import markdown_text
from scripts.embed_report import fill

PAGE = Path(__file__).parents[1] / "docs" / "models.md"


def table(_: str = "") -> str:
    """Return the classes that some family runs, those first that tests prove equal to stock, as a Markdown table.

    What is around the network is what `benchmarks.around_network` last measured.
    """
    measured = json.loads((RESULTS / "around_network.json").read_text(encoding="utf-8"))["results"]
    around = {
        found["class"]: {"ms a step around the network": f"{found['ours']:.1f}", "stock's": f"{found['stock']:.1f}"}
        for found in measured
        if "stock" in found
    }
    unmeasured = dict.fromkeys(next(iter(around.values())), "")
    served = [row for row in pipeline_classes() if row["equal to stock"]]
    return markdown([{**row, **around.get(row["class"], unmeasured)} for row in served])


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of the same keys as a Markdown table; numbers stand to the right."""
    sides = ["---:" if isinstance(value, int | float) else ":---" for value in rows[0].values()]
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    cells = [[markdown_text(str(cell)) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (cells[0], sides, *cells[1:]))


if __name__ == "__main__":
    fill(PAGE, "classes", table, ["all"])
