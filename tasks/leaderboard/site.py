"""Write the leaderboard as a static site: a page, and beside it the rows, scores and examples that it shows."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import exchange_folder, path_beside, sha256_file
from common.pictures import SUFFIXES, opened
from metrics.method_comparison import rank_text
from reports.labels import MISSING, Label, scorer_label, title
from reports.page.data import to_json
from reports.page.shell import part, policy, template
from reports.seed_control import chance
from reports.words import words
from sweeps.record import Result
from tasks.leaderboard.entries import MAKE, Board, Entry
from tasks.ranking import RULE, nearest_point, reaches_the_end, where_it_falls
from tasks.row import ROW, SCORES, Point

HERE = Path(__file__).parent
INDEX = "index.html"
TITLE = "<title>Leaderboard: ReuseBench</title>"  # by which a page is known for one of these
MOST_HEAD = 1000  # characters before which it stands
ROWS = "rows"
PICTURES = "'self' file:"  # of the site: from a disk its pages have no origin of their own
WIN_RATE = ".win_rate"
BASELINE = "_standard"
SHORT = 3  # digits of scores where many stand beside each other
TONES = {"no worse": "good", "worse": "bad", "undecided": ""}
LIMITS = (
    "A rank is of one card: its model, prompts, seeds, steps and scorer. Another card may order the methods otherwise.",
    "Costs are what methods say: rows of the denoiser cannot be seen in pictures. Seconds were measured by whoever "
    "submitted, on their machine, and do not decide ranks.",
    "A scorer is no person. What it cannot tell apart, no rank here tells apart; its audit is of the card's baseline.",
    "Nothing is drawn out: where a method has no pictures near a level of savings, there is a dash.",
    "A row's hash shows that it was not changed by accident. Whoever changes a row can hash it again, so every row "
    "that has its scores beside it is computed again from them when this page is made.",
)


@dataclass(frozen=True)
class Site:
    """What was written.

    Attributes:
        page: the page.
        rows: how many rows it has.
        files: how many files lie beside it.
        notes: what it leaves out, in sentences.
    """

    page: Path
    rows: int
    files: int
    notes: tuple[str, ...]


def write_site(boards: Sequence[Board], folder: Path) -> Site:
    """Write the site into a folder, of which it replaces an earlier one.

    Args:
        boards: at least one, each of at least one row.
        folder: to be put on any static host.

    Raises:
        UserError: the folder has other things in it, or an example of a row is no picture.
    """
    from tasks.leaderboard.data_set import write_data_set

    if folder.exists() and not _replaceable(folder):
        raise UserError(f"{folder} has other things in it than a leaderboard", "choose another folder")
    beside = path_beside(folder)
    try:
        files = sum(_copy(entry, beside / _place(entry)) for board in boards for entry in board.entries)
        links, notes = write_data_set(boards, beside)
        (beside / INDEX).write_text(page(boards, links), encoding="utf-8")
        exchange_folder(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    every = [*notes, *(note for board in boards for note in board.notes)]
    return Site(folder / INDEX, sum(len(board.entries) for board in boards), files + len(links), tuple(every))


def page(boards: Sequence[Board], links: Sequence[tuple[str, str]] = ()) -> str:
    """Return the page of these boards as HTML.

    Args:
        boards: the boards, in order.
        links: of files beside it, each a relative address and what it is.
    """
    style = f"{part('page.css')}\n{part('leaderboard.css', HERE)}"
    script = f"{part('scripts/parts.js')}\n{part('leaderboard.js', HERE)}"
    views = [_View(board) for board in boards]
    answers = [view.answer for view in views]
    shown = [view.shown() for view in views]
    texts = [*answers, *(board["caption"] for board in shown), *(board["rule"] for board in shown)]
    return template(HERE, "site.html.j2").render(
        title_tag=TITLE,
        policy=policy(style, script, PICTURES),
        style=style,
        script=script,
        boards=shown,
        answers=answers,
        words=words(texts),
        limits=LIMITS,
        links=[{"file": file, "text": text} for file, text in links],
        data=to_json({"boards": [view.data() for view in views]}),
    )


def _replaceable(folder: Path) -> bool:
    """Return whether a folder is empty, or holds an earlier leaderboard."""
    if not folder.is_dir():
        return False
    index = folder / INDEX
    return not any(folder.iterdir()) or (index.is_file() and TITLE in index.read_text("utf-8", "replace")[:MOST_HEAD])


def _place(entry: Entry) -> str:
    """Return where the files of a row lie in the site."""
    return f"{ROWS}/{entry.row.card}/{entry.slug}"


def _copy(entry: Entry, folder: Path) -> int:
    """Copy a row with its scores and examples, and return how many files these are; pictures are looked at before."""
    folder.mkdir(parents=True)
    shown: dict[str, str | None] = {}
    for one in (one for point in entry.row.points for one in point.examples):
        shown |= {one.file: one.sha256, one.baseline: one.baseline_sha256}
    shutil.copyfile(entry.path, folder / ROW)
    if entry.scores:
        shutil.copyfile(entry.scores, folder / SCORES)
    for name, sha256 in shown.items():
        path = entry.file(name)
        if not name.lower().endswith(SUFFIXES):
            raise UserError(f"{entry.path} shows a file that is no picture: {name!r}", MAKE)
        with opened(path) as picture:
            picture.load()
        if sha256 and sha256_file(path) != sha256:
            raise UserError(f"{path} is not what {entry.path} shows: its hash is another", MAKE)
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return 1 + (entry.scores is not None) + len(shown)


@dataclass(frozen=True)
class _View:
    """A board as its part of the page shows it."""

    board: Board

    @property
    def id(self) -> str:
        return self.board.card.name.replace("/", "-").replace(".", "-")

    @property
    def difference(self) -> str | None:
        """Return the name of the deciding scorer's mean difference."""
        names = self.board.entries[0].row.points[0].results
        own = (name for name in names if name.startswith(f"{self.board.scorer}."))
        return next((name for name in own if name.endswith("_difference")), None)

    @property
    def diversity(self) -> str | None:
        """Return the name of the first result of a whole set of pictures, which the baseline's set has too."""
        names = self.board.entries[0].row.points[0].results
        return next(
            (name for name in names if f"{name}{BASELINE}" in names and not name.startswith(f"{self.board.scorer}.")),
            None,
        )

    @property
    def levels(self) -> list[float]:
        return [float(share) for share in self.board.card.savings]

    @property
    def level(self) -> float:
        """Return the level of savings that most rows have a point at, the highest of these."""
        met = {
            level: sum(nearest_point(entry.row, level) is not None for entry in self.board.entries)
            for level in self.levels
        }
        return max(self.levels, key=lambda level: (met[level], level))

    def label(self, name: str) -> Label:
        return scorer_label(name, [entry.row.scorers for entry in self.board.entries])

    @property
    def line(self) -> float:
        """Return the win rate that parity tolerates."""
        return 0.5 - self.board.card.delta

    @property
    def answer(self) -> str:
        board = self.board
        if board.ranking is None:
            return f"{board.card.name} is a draft: its rows are not ranked."
        first = [entry for entry, ranks in zip(board.entries, board.ranking.ranks, strict=True) if ranks[0] == 1]
        best = board.entries[0]
        top = f"{best.name} saves most at parity, {self._parity(best)['text']}"
        if len(first) == 1:
            return f"{board.card.name}: {top}."
        many = f"{len(first)} of {len(board.entries)} rows"
        return f"{board.card.name}: {top}, by its estimate; {many} are not told apart from the first place."

    def shown(self) -> dict[str, Any]:
        """Return what the template shows of the board."""
        board, card = self.board, self.board.card
        seeds = f"{len(card.seeds)} seed{'s' if len(card.seeds) > 1 else ''}"
        ranking = board.ranking
        notes = list(board.notes)
        if ranking and ranking.unpaired:
            alone = ", ".join(board.entries[i].name for i in ranking.unpaired)
            notes.append(f"Without scores to pair, these are ranked by whether intervals overlap: {alone}.")
        if ranking is None:
            notes.append("The card is a draft, whose weights nobody has pinned: rows are in order of names, unranked.")
        return {
            "id": self.id,
            "short": card.name.partition("/")[2] if "/" in card.name else card.name,
            "title": card.title,
            "scorer": self._scorer,
            "about": f"{card.name}: {card.pictures // len(card.seeds)} prompts of {card.dataset}, {seeds}, "
            f"{card.model}, {card.steps} steps, guidance {card.guidance:g}.",
            "rule": RULE.format(line=self.line) if ranking else "",
            "caption": self._caption(),
            "columns": self._columns(),
            "rows": [self._row(i, entry) for i, entry in enumerate(board.entries)],
            "notes": notes,
            "facts": {
                "card": card.name,
                "hash": card.hash,
                "track": card.track,
                "model": f"{card.model}, weights {card.weights or 'not pinned'}",
                "prompts": f"{card.dataset}, hash {card.prompts}",
                "seeds": ", ".join(map(str, card.seeds)),
                "steps": f"{card.steps}, {card.scheduler}",
                "guidance": f"{card.guidance:g}",
                "pictures": f"{card.width} x {card.height}, {card.dtype}",
                "scorers": ", ".join(card.scorers),
                "delta": f"{card.delta:g}",
            },
        }

    @property
    def _scorer(self) -> str:
        return (
            self.label(self.difference).text.removesuffix(" difference")
            if self.difference
            else title(self.board.scorer)
        )

    def _caption(self) -> str:
        """Return what holds for the whole table: the A/A control, and where its last columns are read."""
        entry = self.board.entries[0]
        control = entry.row.seed_control
        told = []
        for name in filter(None, (f"{self.board.scorer}{WIN_RATE}", self.difference)):
            if name in control:
                label = self.label(name)
                unit = "%" if label.unit == "fraction" else ""
                told.append(
                    f"{label.text} {label.number(control[name].value)}{unit} {label.interval(control[name])}".rstrip()
                )
        parts = []
        if told:
            parts.append(f"Seed control (A/A), the baseline drawn again with other seeds: {', '.join(told)}.")
        trust = {entry.row.trusted for entry in self.board.entries}
        if trust == {True}:
            parts.append(f"The audit of {self._scorer} on the baseline found that it may be trusted here.")
        elif False in trust:
            parts.append(f"The audit of {self._scorer} on the baseline found that it may not be trusted here.")
        parts.append(
            f"Columns of levels hold the difference of {self._scorer} from the baseline with its 95% interval, and the "
            f"verdict on the win rate, at the point that saves within 2 points of so much. "
            f"The columns on the right are at {self.level:.0%} saved."
        )
        return " ".join(parts)

    def _columns(self) -> list[dict[str, str]]:
        columns = [
            ("rank", "rank", "ascending"),
            ("method", "method", "text"),
            ("n", "savings at parity", "descending"),
        ]
        columns += [("n", f"{level:.0%} saved", "descending") for level in self.levels]
        columns.append(("n", "identical pictures", "descending"))
        if self.diversity:
            label = self.label(self.diversity)
            better = {True: ", higher is better", False: ", lower is better", None: ""}[label.higher_is_better]
            columns.append(
                ("n", f"{label.text}{better}", "ascending" if label.higher_is_better is False else "descending")
            )
        if self._seconds:
            columns.append(("n", "seconds", "ascending"))
        return [{"kind": kind, "heading": heading, "first": first} for kind, heading, first in columns]

    @property
    def _seconds(self) -> bool:
        return any(point.seconds is not None for entry in self.board.entries for point in entry.row.points)

    def _parity(self, entry: Entry) -> dict[str, str]:
        row, label = entry.row, Label("savings at parity", "fraction")
        low, high = where_it_falls(row)
        ends = label.interval(row.parity)
        if low != high:
            return {"text": f"{low:.1%} to {high:.1%}", "interval": ends, "sort": f"{low:.6f}"}
        least = "≥ " if reaches_the_end(row) else ""
        return {"text": f"{least}{row.parity.value:.1%}", "interval": ends, "sort": f"{row.parity.value:.6f}"}

    def _cells(self, i: int, entry: Entry) -> list[dict[str, str]]:
        ranking = self.board.ranking
        rank = rank_text(ranking.ranks[i]).replace("-", "–") if ranking else "–"
        cells = [{"text": rank, "sort": str(i)}, {"text": entry.name, "sort": entry.name}, self._parity(entry)]
        for level in self.levels:
            cells.append(self._at(nearest_point(entry.row, level), self.difference, with_verdict=True))
        point = nearest_point(entry.row, self.level)
        same = f"{point.identical} of {point.pictures}" if point else ""
        cells.append({"text": same, "sort": f"{point.identical / point.pictures}"} if point else _none())
        if self.diversity:
            cells.append(self._at(point, self.diversity))
        if self._seconds:
            told = point and point.seconds is not None
            cells.append({"text": f"{point.seconds:,.1f}", "sort": f"{point.seconds}"} if point and told else _none())
        return [{"interval": "", "verdict": "", "tone": "", **cell} for cell in cells]

    def _figure(self, name: str, result: Result, digits: int = 4) -> dict[str, str]:
        label = self.label(name)
        text, ends = label.number(result.value, digits), label.interval(result, digits)
        sort = f"{result.value}" if isfinite(result.value) else ""
        return {"text": _minus(text), "interval": _minus(ends), "sort": sort}

    def _at(self, point: Point | None, name: str | None, *, with_verdict: bool = False) -> dict[str, str]:
        """Return the cell of a result at a point; a dash where there is no such point."""
        if point is None or name is None or name not in point.results:
            return _none()
        told = {"verdict": point.verdict, "tone": TONES[point.verdict]} if with_verdict else {}
        return {**self._figure(name, point.results[name], SHORT), **told}

    def _row(self, i: int, entry: Entry) -> dict[str, Any]:
        row, method = entry.row, entry.row.method
        place = _place(entry)
        files = [
            (f"{place}/{ROW}", "the row"),
            *([(f"{place}/{SCORES}", "scores, a row a picture")] if entry.scores else []),
        ]
        shown = nearest_point(row, self.level) or row.points[0]
        return {
            "id": f"{self.id}-{i}",
            "name": method.name,
            "kind": method.kind,
            "cells": self._cells(i, entry),
            "description": method.description,
            "authors": method.authors,
            "hardware": method.hardware,
            "url": method.url,
            "points": [self._point(point, place, shown=point is shown) for point in row.points],
            "results": self._results(row.points),
            "notes": [f"{point.name}: {note}" for point in row.points for note in point.notes],
            "facts": {
                **{name: _plain(value) for name, value in method.settings.items()},
                "hash of the row": row.sha256,
                "hash of the scores": row.scores_sha256 or "there are none",
                "computed again from its scores": "yes" if i in self.board.judged else "no",
                "packages": ", ".join(f"{name} {version}" for name, version in row.versions.items()),
            },
            "files": [{"file": file, "text": text} for file, text in files],
        }

    def _point(self, point: Point, place: str, *, shown: bool) -> dict[str, Any]:
        label = Label("", "score", signed=True)
        examples = [
            {
                "text": one.text,
                "seed": one.seed,
                "ours": f"{place}/{one.file}",
                "baseline": f"{place}/{one.baseline}",
                "score": f"{one.score:.3f}",
                "baseline_score": f"{one.baseline_score:.3f}",
                "difference": _minus(label.number(one.score - one.baseline_score)),
                "tone": "good" if one.score > one.baseline_score else "bad" if one.score < one.baseline_score else "",
            }
            for one in point.examples
        ]
        return {"name": point.name, "saved": f"{point.savings:.1%}", "shown": shown, "examples": examples}

    def _results(self, points: Sequence[Point]) -> list[dict[str, Any]]:
        """Return the lines of the table of all results: what a point cost, its verdict, then every result."""

        def line(label: str, texts: Sequence[str], tones: Sequence[str] | None = None) -> dict[str, Any]:
            tones = tones or [""] * len(texts)
            entries = [{"text": text, "interval": "", "tone": tone} for text, tone in zip(texts, tones, strict=True)]
            return {"label": label, "entries": entries}

        lines = [
            line("rows of the denoiser (NFE)", [f"{point.nfe:,}" for point in points]),
            line("saved, %", [_minus(f"{100 * point.savings:.1f}") for point in points]),
            line("seconds", ["–" if point.seconds is None else f"{point.seconds:,.1f}" for point in points]),
            line("identical pictures", [f"{point.identical} of {point.pictures}" for point in points]),
            line("verdict", [point.verdict for point in points], [TONES[point.verdict] for point in points]),
        ]
        for name in dict.fromkeys(name for point in points for name in point.results):
            entries = []
            for point in points:
                result = point.results.get(name)
                entries.append({"interval": "", **(self._figure(name, result) if result else _none()), "tone": ""})
            lines.append({"label": self.label(name).heading, "entries": entries})
        return lines

    def data(self) -> dict[str, Any]:
        """Return what the page's script draws."""
        rate = f"{self.board.scorer}{WIN_RATE}"
        curves = [name for name in (rate, self.difference) if name]
        control = self.board.entries[0].row.seed_control
        figures = {}
        for name in curves:
            label = self.label(name)
            figures[name] = {
                "text": label.text,
                "unit": label.unit,
                "signed": label.signed,
                "line": self.line if name == rate else None,
                "even": 0.5 if name == rate else 0.0,
                "band": chance(control, name),
            }
        rows = [
            {
                "name": entry.name,
                "points": [
                    {
                        "name": point.name,
                        "saved": point.savings,
                        "figures": {name: _ends(point.results[name]) for name in curves if name in point.results},
                    }
                    for point in entry.row.points
                ],
            }
            for entry in self.board.entries
        ]
        return {"curves": curves, "figures": figures, "rows": rows}


def _ends(result: Result) -> list[float | None]:
    return [end if end is not None and isfinite(end) else None for end in (result.value, result.low, result.high)]


def _none() -> dict[str, str]:
    return {"text": "–", "interval": "", "verdict": "", "tone": "", "sort": ""}


def _minus(text: str) -> str:
    return "–" if text == MISSING else text.replace("-", "−")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
