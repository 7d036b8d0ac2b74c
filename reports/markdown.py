"""A report as Markdown: question, answer, table, pictures, the meaning of rows and columns, provenance."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports.answer import answer
from reports.base import REFERENCES, Figure, RunView, Table, figures, file_name
from reports.comparability import shorten_hash
from reports.formats import markdown_line, markdown_text, to_markdown
from reports.frame import paired_metrics, result_names, wall_savings
from reports.labels import title
from reports.pooling import noise_draws
from reports.run_comparison import RunComparison
from reports.tables.audit import Audit
from reports.tables.audit_edits import AuditEdits
from reports.tables.beyond_floor import BeyondFloorTable
from reports.tables.comparability import Comparability
from reports.tables.misplaced import MisplacedTable
from reports.tables.savings_at_parity import tolerance
from reports.tables.set_losses import SetLosses
from reports.tables.summary import Summary
from reports.words import words

NAME = "report.md"
FIRST = "quality_savings"
MOST_SERIES = 4  # whose own pictures are shown
BRACKETS, BACKSLASHED = re.compile(r"(?<!\\)[\[\]]"), r"\\\g<0>"
ROWS = {
    "savings": "steps saved: the share of the denoiser's steps saved, 1 - node-steps / (K x prompts)",
    "nfe": "NFE saved: the share saved of the rows that the denoiser evaluates, two for a step with guidance",
    "flops": "FLOPs saved: the share saved of all FLOPs of the pipeline, with those that sharing cannot reduce",
    "wall": "wall time saved: the share of the seconds of encoding, clustering, planning, denoising and decoding here",
    "rate": "win rate: how often a prompt's shared picture scores higher than the same prompt's baseline picture; "
    "a tie counts as half a win; with its 95% interval",
    "difference": "difference: the mean paired difference, the shared picture's score less the baseline's",
    "noninferiority": "non-inferiority p: one-sided p-value for a win rate above {tolerance}, not corrected; the table "
    "`claims` corrects it for the number of claims",
    "roots": "roots: how many independent draws of noise a seed's prompts start from; with fewer than ten, one seed's "
    "intervals are too narrow",
    "similarity": "similarity: the mean over all pairs of pictures of a set; lower is more diverse",
    "another-seed": "seed control (A/A): the baseline against itself from another seed, the spread of chance alone",
    "fewer-steps": "equal-compute baseline: no sharing, with as little compute spent on fewer steps for every prompt",
    "less-guidance": "equal rows, less guidance: no sharing; guidance is left out of as many of the first steps",
    "less-guidance-and-steps": "equal rows, less guidance and fewer steps: no sharing, and both: guidance is left out "
    "of the first quarter of fewer steps",
}


def markdown(view: RunView, pictures: Sequence[Path], home: Path) -> str:
    """Return the whole report as Markdown.

    Args:
        view: the view of one run or of several.
        pictures: the figures' files, as `reports.render` wrote them; the PNG ones are shown.
        home: the folder of the Markdown file, from which pictures are linked.
    """
    view_answer = view.once(answer)
    parts = [
        f"# {markdown_text(view_answer.question)}",
        markdown_line(view.title),
        answer_part(view),
        *_section("Comparability", view, Comparability()),
        "## Every cell",
        table_part(view),
        *_section("The scorers", view, Audit(), BeyondFloorTable(), AuditEdits()),
        *_section("What the set lost", view, SetLosses(), MisplacedTable()),
        *pictures_part(view, pictures, home),
        "## Rows and columns",
        "\n".join(f"- {row}" for row in rows_part(view)),
        "## Provenance",
        "\n".join(f"- {markdown_line(line)}" for line in provenance(view)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def answer_part(view: RunView) -> str:
    """Return the answer's lines; for several series, a line each."""
    view_answer = view.once(answer)
    series = [f"- **{markdown_text(name)}**: {markdown_text(line)}" for name, line in view_answer.series]
    meanings = [f"- *{word}*: {markdown_text(meaning)}" for word, meaning in words(view_answer.texts).items()]
    lists = ["\n".join(each) for each in (series, meanings) if each]
    return "\n\n".join([*map(markdown_line, view_answer.lines), *lists])


def table_part(view: RunView) -> str:
    """Return the summary table with its caption and notes."""
    return to_markdown(Summary().sheet(view).titled(view.title).only(view.columns)).strip()


def pictures_part(view: RunView, pictures: Sequence[Path], home: Path) -> list[str]:
    """Return every figure of the run, and those of the first series, with their summaries as alternative text."""
    known = figures()
    by_figure: dict[str, list[Path]] = {}
    for path in pictures:
        if path.suffix == ".png" and (name := figure_name(path, known)):
            by_figure.setdefault(name, []).append(path)
    parts = []
    for name in sorted(by_figure, key=lambda name: (name != FIRST, known[name].per_series)):
        chosen = by_figure[name][: MOST_SERIES if known[name].per_series else None]
        parts += [picture(view, path, known[name], home) for path in chosen]
        if hidden := len(by_figure[name]) - len(chosen):
            parts.append(f"Not shown: {hidden} more of `{name}`, of other series, in the folder `figures`.")
    return parts


def figure_name(path: Path, known: Mapping[str, type[Figure]]) -> str | None:
    """Return the figure that a report's file shows: ``<figure>.png`` or, of a series, ``<figure>-<series>.png``."""
    candidates = [name for name in known if path.stem == name or path.stem.startswith(f"{name}-")]
    return max(candidates, key=len, default=None)


def picture(view: RunView, path: Path, figure: type[Figure], home: Path, copy: Path | None = None) -> str:
    """Return a link from the folder `home` to a picture or its copy, with its series below it."""
    series = next((one.name for one in view.series if path.stem == f"{figure.name}-{file_name(one.name)}"), "")
    alternative = markdown_text(": ".join(filter(None, [series, figure.summary().rstrip(".")])))
    link = quote(Path(os.path.relpath((copy or path).resolve(), home.resolve())).as_posix())
    caption = f"\n\n*{markdown_text(series)}*" if series else ""
    return f"![{BRACKETS.sub(BACKSLASHED, alternative)}]({link}){caption}"


def rows_part(view: RunView) -> list[str]:
    """Return the meaning of the rows and columns that this view has; not escaped."""
    records = [*view.records, *view.references]
    names = result_names(records)
    present: dict[str, bool] = {
        "savings": any(record.plan for record in records),
        "nfe": any(record.plan and record.plan.nfe_savings is not None for record in records),
        "flops": any(record.flops for record in records),
        "wall": any(wall_savings(record) is not None for record in records),
        "rate": bool(paired_metrics(names)),
        "difference": any(name.endswith("_difference") for name in names),
        "noninferiority": bool(paired_metrics(names)),
        "roots": any(noise_draws(view.path, [record]) is not None for record in view.records[:1]),
        "similarity": any(name.endswith("_similarity") for name in names),
    }
    present |= {role: bool(view.held_against(role)) for role in REFERENCES}
    return [ROWS[name].format(tolerance=tolerance(view.delta)) for name in ROWS if present[name]]


def provenance(view: RunView) -> list[str]:
    """Return what made the pictures and their scores, in short; the records have all of it."""
    records = [*view.records, *view.references]
    runs = view.runs if isinstance(view, RunComparison) else [view.path.resolve().name]
    failed = f", {len(view.failed)} failed" if view.failed else ""
    lines = {
        "label": [f"{label} is {model}" for model, label in view.labels.items()],
        "run": [f"{', '.join(runs)}: {len(records)} cells and references{failed}"],
        "model": [f"{record.config.model}{_hash(record.identity.get('weights'), ', weights')}" for record in records],
        "hub": [_pairs(record.hub) for record in records],
        "prompts": [
            f"{record.config.dataset}{f', {record.plan.n_prompts} prompts' if record.plan else ''}"
            f"{f', pictures of {record.sample.text}' if record.sample else ''}"
            f"{_hash(record.identity.get('prompts'), ', hash')}"
            for record in records
        ],
        "scorer": [
            f"{title(metric)}: {scorer_info.get('checkpoint', '')}{_hash(scorer_info.get('sha256'), ', hash')}"
            f"{f', version {version}' if (version := scorer_info.get('version')) else ''}"
            for record in records
            for metric, scorer_info in record.scorers.items()
        ],
        "algorithm": [f"version {version}" for record in records if (version := record.identity.get("algorithm"))],
        "machine": [_pairs(record.machine) for record in records],
        "versions": [_pairs(record.versions) for record in records],
    }
    distinct = {what: list(dict.fromkeys(filter(None, values))) for what, values in lines.items()}
    return [f"{what}: {line}" for what, values in distinct.items() for line in values]


def _section(heading: str, view: RunView, *tables: Table) -> list[str]:
    """Return the tables that have something to say of the run, under a heading; nothing where none has."""
    sheets = [sheet.only(view.columns) for table in tables if (sheet := table.sheet(view))]
    return [f"## {heading}", *(to_markdown(sheet).strip() for sheet in sheets)] if sheets else []


def _hash(value: Any, before: str) -> str:
    return f"{before} {shorten_hash(str(value))}" if value else ""


def _pairs(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items() if value not in (None, ""))
