"""A report as Markdown: the question, the answer, the table, the pictures, what a row means, what made it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports.answer import answer
from reports.base import Figure, RunView, figures, file_name
from reports.comparable import Comparison
from reports.differences import shorten_hash
from reports.formats import markdown_line, markdown_text, to_markdown
from reports.frame import figure_names, paired_metrics, wall_savings
from reports.labels import title
from reports.sheet import Sheet
from reports.tables.comparability import Comparability
from reports.tables.savings_at_parity import tolerance
from reports.tables.summary import Summary

NAME = "report.md"
FIRST = "quality_savings"
MOST_SERIES = 4  # whose own pictures are shown
BRACKETS, BACKSLASHED = re.compile(r"(?<!\\)[\[\]]"), r"\\\g<0>"
ROWS = {
    "savings": "steps saved: 1 - node-steps / (K x prompts), the denoiser evaluations that sharing did without",
    "flops": "FLOPs saved: the same over the whole pipeline, with what sharing cannot reduce in the denominator",
    "wall": "wall time saved: of the seconds that encoding, clustering, planning, denoising and decoding took here",
    "rate": "win rate: how often a prompt's picture scores higher than standard's from the same seed, a tie counting "
    "half; with its 95% interval",
    "difference": "difference: the mean of ours less standard's, pair by pair",
    "no worse": "no worse p: of the claim that the win rate is above {tolerance}, each by itself; the table `claims` "
    "corrects it for being one of several",
    "similarity": "similarity: of all pairs of pictures of a set; lower is more diverse",
    "another-seed": "another-seed: standard generation against itself with another seed, which is what means nothing",
    "fewer-steps": "fewer-steps: standard generation with the same compute spent on fewer steps for every prompt",
}


def markdown(view: RunView, pictures: Sequence[Path], home: Path) -> str:
    """The whole report.

    Args:
        view: of one run or of several.
        pictures: the figures' files, as `reports.render` wrote them; the PNG ones are shown.
        home: the folder that the text will lie in, from which pictures are linked.
    """
    text, told = markdown_line, view.once(answer)
    parts = [
        f"# {markdown_text(told.question)}",
        text(view.title),
        answer_part(view),
        *_comparability(view),
        "## Every cell",
        table_part(view),
        *pictures_part(view, pictures, home),
        "## What a row means",
        "\n".join(f"- {row}" for row in rows_part(view)),
        "## What made this",
        "\n".join(f"- {text(line)}" for line in provenance(view)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def answer_part(view: RunView) -> str:
    """The answer's lines; of several series, a line each."""
    told = view.once(answer)
    series = [f"- **{markdown_text(name)}**: {markdown_text(line)}" for name, line in told.series]
    return "\n\n".join([*map(markdown_line, told.lines), *(["\n".join(series)] if series else [])])


def table_part(view: RunView) -> str:
    """The summary table with its caption and notes."""
    return to_markdown(Summary().sheet(view).titled(view.title)).strip()


def pictures_part(view: RunView, pictures: Sequence[Path], home: Path) -> list[str]:
    """Every figure of the run, and those of the first series, with what they show as alternative text."""
    known = figures()
    found: dict[str, list[Path]] = {}
    for path in pictures:
        if path.suffix == ".png" and (name := figure_name(path, known)):
            found.setdefault(name, []).append(path)
    parts = []
    for name in sorted(found, key=lambda name: (name != FIRST, known[name].per_series)):
        shown = found[name][: MOST_SERIES if known[name].per_series else None]
        parts += [picture(view, path, known[name], home) for path in shown]
        if left := len(found[name]) - len(shown):
            parts.append(f"Not shown: {left} more of `{name}`, of other series, in the folder `figures`.")
    return parts


def figure_name(path: Path, known: Mapping[str, type[Figure]]) -> str | None:
    """Whose picture a file of a report is: ``<figure>.png`` or, of a series, ``<figure>-<series>.png``."""
    own = [name for name in known if path.stem == name or path.stem.startswith(f"{name}-")]
    return max(own, key=len, default=None)


def picture(view: RunView, path: Path, figure: type[Figure], home: Path, copy: Path | None = None) -> str:
    """A link from the folder `home` to a picture or its copy; what it shows in words, and of which series below it."""
    series = next((each.name for each in view.series if path.stem == f"{figure.name}-{file_name(each.name)}"), "")
    says = markdown_text(": ".join(filter(None, [series, figure.summary().rstrip(".")])))
    link = quote(Path(os.path.relpath((copy or path).resolve(), home.resolve())).as_posix())
    caption = f"\n\n*{markdown_text(series)}*" if series else ""
    return f"![{BRACKETS.sub(BACKSLASHED, says)}]({link}){caption}"


def rows_part(view: RunView) -> list[str]:
    """What the columns and rows are that this view has; text of ours, not escaped."""
    records = [*view.records, *view.references]
    names = figure_names(records)
    there = {
        "savings": any(record.plan for record in records),
        "flops": any(record.flops for record in records),
        "wall": any(wall_savings(record) is not None for record in records),
        "rate": bool(paired_metrics(names)),
        "difference": any(name.endswith("_difference") for name in names),
        "no worse": bool(paired_metrics(names)),
        "similarity": any(name.endswith("_similarity") for name in names),
        **{role: bool(view.held_against(role)) for role in ("another-seed", "fewer-steps")},  # type: ignore[arg-type]
    }
    return [ROWS[name].format(tolerance=tolerance(view.delta)) for name in ROWS if there[name]]


def provenance(view: RunView) -> list[str]:
    """What made the pictures and their scores, in short; the records have all of it."""
    records = [*view.records, *view.references]
    runs = view.runs if isinstance(view, Comparison) else [view.path.resolve().name]
    failed = f", {len(view.failed)} failed" if view.failed else ""
    lines = {
        "run": [f"{', '.join(runs)}: {len(records)} cells and references{failed}"],
        "model": [f"{record.asked.model}{_hash(record.identity.get('weights'), ', weights')}" for record in records],
        "prompts": [
            f"{record.asked.dataset}{f', {record.plan.n_prompts} prompts' if record.plan else ''}"
            f"{_hash(record.identity.get('prompts'), ', hash')}"
            for record in records
        ],
        "scorer": [
            f"{title(metric)}: {about.get('checkpoint', '')}{_hash(about.get('sha256'), ', hash')}"
            f"{f', version {version}' if (version := about.get('version')) else ''}"
            for record in records
            for metric, about in record.scorers.items()
        ],
        "algorithm": [f"version {version}" for record in records if (version := record.identity.get("algorithm"))],
        "machine": [_pairs(record.machine) for record in records],
        "versions": [_pairs(record.versions) for record in records],
    }
    found = {what: list(dict.fromkeys(filter(None, each))) for what, each in lines.items()}
    return [f"{what}: {line}" for what, each in found.items() for line in each]


def _comparability(view: RunView) -> list[str]:
    sheet: Sheet | None = Comparability().sheet(view)
    return ["## What may be compared", to_markdown(sheet).strip()] if sheet else []


def _hash(value: Any, before: str) -> str:
    return f"{before} {shorten_hash(str(value))}" if value else ""


def _pairs(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items() if value not in (None, ""))
