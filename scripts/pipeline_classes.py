"""Write the table of diffusers' pipeline classes to docs/models.md: ``python -m scripts.pipeline_classes``."""

from pathlib import Path

from bench.listings import pipeline_classes
from reports.formats import markdown_text
from scripts.embed_report import fill

PAGE = Path(__file__).parents[1] / "docs" / "models.md"


def table(_: str = "") -> str:
    """Return the classes that some family runs, those first that tests prove equal to stock, as a Markdown table."""
    rows = [row for row in pipeline_classes() if row["equal to stock"]]
    lines = [list(rows[0]), [":---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line if line is lines[1] else map(markdown_text, line))} |" for line in lines)


if __name__ == "__main__":
    fill(PAGE, "classes", table, ["all"])
