"""Write the page: one HTML file that holds its style, its script, its data and its pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import atomic_write
from reports.answer import answer
from reports.audits import audits
from reports.base import RunView
from reports.labels import title
from reports.page.data import Payload, to_json
from reports.page.provenance import origin
from reports.page.shell import HERE, part, policy, template
from reports.page.thumbnails import MOST, Album
from reports.run_comparison import RunComparison
from reports.sheet import Sheet
from reports.words import words

NAME = "index.html"
# In this order they are one script.
SCRIPTS = ("parts", "common", "chart", "bars", "pictures", "tree", "page")
OPEN = ("summary", "claims", "strategies", "strategy_ranking", "audit", "beyond_floor")


@dataclass(frozen=True)
class Page:
    """The file that was written, its number of bytes, what it leaves out, and which pictures are damaged."""

    path: Path
    size: int
    notes: tuple[str, ...]
    damaged: tuple[str, ...] = ()


def write_page(
    views: Sequence[RunView],
    path: Path,
    sheets: Mapping[str, Sheet] | None = None,
    notes: Sequence[str] = (),
    most: int = MOST,
) -> Page:
    """Write a page on one or more runs.

    Args:
        views: one for each run, or one of several runs together; those without a finished cell are left out.
        path: the file to write.
        sheets: the tables at its end, by name.
        notes: sentences that a reader must see, besides the page's own omissions.
        most: the number of bytes that all pictures may have; beyond it they are made smaller, and then fewer.
    """
    shown = [view for view in views if view.records] or list(views)
    payload = Payload(shown, Album(most))
    data = payload.gathered()
    runs = [run for view in shown for run in _runs(view)]
    all_notes = [*notes, *payload.notes, *payload.album.notes, *payload.album.damaged]
    style, script = part("page.css"), "\n".join(part(f"scripts/{name}.js") for name in SCRIPTS)
    html = template(HERE, "page.html.j2").render(
        title=", ".join(dict.fromkeys(run.path.resolve().name for run in runs)),
        banner=next((view.title for view in shown if view.title), ""),
        answers=[(view.path.resolve().name, view.once(answer)) for view in shown],
        words=words([*(text for view in shown for text in view.once(answer).texts), *_headings(data)]),
        policy=policy(style, script),
        style=style,
        script=script,
        data=to_json({name: value for name, value in data.items() if name != "sets"}),
        sets=[(to_json(entry["places"]), "\n".join(entry["sheets"])) for entry in data["sets"]],
        prompts=max((len(entry) for entry in data["prompts"]), default=0),
        pictures=bool(data["sets"]),
        trees=bool(data["trees"]),
        several=len(data["series"]) > 1,
        shown=data,
        controls={
            "seed": any(view.held_against("another-seed") for view in shown),
            "compute": any(view.held_against("fewer-steps") for view in shown),
        },
        origins=[origin(run) for run in runs],
        differences=[
            mismatch.sentence for view in shown if isinstance(view, RunComparison) for mismatch in view.mismatches
        ],
        scorers=[entry for view in shown for entry in _scorers(view)],
        sheets=sheets or {},
        open=OPEN,
        notes=list(dict.fromkeys(all_notes)),
    )
    content = html.encode("utf-8", errors="replace")
    atomic_write(path, content)
    return Page(path, len(content), tuple(all_notes), tuple(payload.album.damaged))


def _runs(view: RunView) -> list[RunView]:
    return list(view.runs.values()) if isinstance(view, RunComparison) else [view]


def _scorers(view: RunView) -> list[tuple[str, list[str]]]:
    """Return the name of every audited scorer and what it may be trusted with; a damaged file is the tables' note."""
    try:
        all_audits = view.once(audits)
    except UserError:
        return []
    return [
        (
            f"{title(audit.scorer)}, {audit.model} on {audit.dataset}",
            [sentence[:1].upper() + sentence[1:] for sentence in audit.verdict],
        )
        for audit in all_audits
    ]


def _headings(data: Mapping[str, Any]) -> list[str]:
    """Return the words that charts and the slider have, beside the answer's."""
    return ["tau", "parity", *(figure["text"] for figure in data["figures"].values())] if data["series"] else []
