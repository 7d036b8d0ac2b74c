"""The rows of a leaderboard: found in folders, believed where they are whole and of the cards that are here."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from common.errors import NotHereError, UserError
from common.files import sha256_file
from metrics.parity import SavingsAtParity
from tasks.card import Card
from tasks.card import card as card_of
from tasks.ranking import Ranking, rank
from tasks.row import ROW, SCORES, Row

if TYPE_CHECKING:
    from tasks.judge import Judged

MAKE = "score the submission again: `bench score`"


@dataclass(frozen=True)
class Entry:
    """A row, and the folder in which its scores and examples lie.

    Attributes:
        path: of the row's file.
        row: what it holds.
    """

    path: Path
    row: Row

    @property
    def name(self) -> str:
        """Return the method's name."""
        return self.row.method.name

    @property
    def slug(self) -> str:
        """Return a name of the row that any file system and address takes; different rows have different ones."""
        return f"{slug(self.name)}-{(self.row.sha256 or '')[:8]}"

    @cached_property
    def scores(self) -> Path | None:
        """The file of its scores; None where the row is by itself.

        Raises:
            UserError: it is there and is not what the row was computed from.
        """
        path = self.path.with_name(SCORES)
        if not path.is_file():
            return None
        if self.row.scores_sha256 != sha256_file(path):
            raise UserError(f"{path} is not what {self.path} was computed from: its hash is another", MAKE)
        return path

    def file(self, name: str) -> Path:
        """Return the path of a file that the row names.

        Raises:
            UserError: it would lie outside of the row's folder.
        """
        inner = PurePosixPath(name)
        path = self.path.parent / inner
        inside = path.resolve().is_relative_to(self.path.parent.resolve())
        if inner.is_absolute() or ".." in inner.parts or "\\" in name or not inside:
            raise UserError(f"{self.path} names a file outside of its folder: {name!r}", MAKE)
        return path


@dataclass(frozen=True)
class Board:
    """The rows of one card.

    Attributes:
        card: the task.
        entries: in the order of their ranks.
        ranking: of them, by their places here; None where the card is a draft.
        judged: of each entry by its place, what its scores hold of its points; none where they are not there.
        notes: what could not be looked at, in sentences.
    """

    card: Card
    entries: tuple[Entry, ...]
    ranking: Ranking | None
    judged: "dict[int, list[Judged]]" = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def scorer(self) -> str:
        """Return the name of the scorer that decides."""
        return next(iter(self.entries[0].row.scorers))


def found(paths: Sequence[Path]) -> list[Entry]:
    """Return the rows in files and folders, each once, in the order of their cards and names.

    Raises:
        UserError: there is none in one of the paths, one is no row or was changed, or two rows of one card have one
            name and are not the same.
    """
    entries: dict[tuple[str, str], Entry] = {}
    for path in paths:
        files = sorted(path.rglob(ROW)) if path.is_dir() else [path]
        if not files:
            raise UserError(f"{path} holds no {ROW}", "give rows, or folders that `bench score` has written")
        for file in files:
            entry = Entry(file, Row.read(file))
            known = entries.setdefault((entry.row.card, entry.name), entry)
            if known.row.sha256 != entry.row.sha256:
                raise UserError(
                    f"two rows of {entry.row.card} are called {entry.name!r}: {known.path} and {file}",
                    "give one of them another name, or leave one out",
                )
    return [entries[key] for key in sorted(entries)]


def boards(entries: Iterable[Entry]) -> list[Board]:
    """Return the boards of these rows, one a card, ranked.

    Every row whose scores are beside it is computed again from them.

    Raises:
        UserError: a row is of a card that is not here or of another version of it, or its scores do not give it.
    """
    return [_board(name, list(group)) for name, group in groupby(entries, key=lambda entry: entry.row.card)]


def _board(name: str, entries: list[Entry]) -> Board:
    card = card_of(name)
    if other := [entry for entry in entries if entry.row.card_sha256 != card.hash]:
        listed = ", ".join(f"{entry.name} ({entry.path})" for entry in other)
        raise UserError(
            f"of another version of the card {name} than the one here, {card.hash[:12]}..., {_is_are(other)}: {listed}",
            "score these methods again, or leave their rows out: rows of different versions are not comparable",
        )
    judged, alone, notes = {}, [], []
    for i, entry in enumerate(entries):
        if entry.scores is None:
            alone.append(entry.name)
            continue
        try:
            judged[i] = _verified(entry, card)
        except NotHereError as error:
            notes.append(f"{entry.name} was not computed again from its scores: {error.message}.")
    if alone:
        notes.append(f"Without {SCORES} beside the row, nothing was computed again of: {', '.join(alone)}.")
    if card.status == "draft":
        return Board(card, tuple(entries), None, judged, tuple(notes))
    ranking = rank([entry.row for entry in entries], {i: _curve(points, card) for i, points in judged.items()})
    place = {old: new for new, old in enumerate(ranking.order)}
    ordered = Ranking(
        tuple(range(len(entries))),
        tuple(ranking.ranks[i] for i in ranking.order),
        ranking.better[list(ranking.order)][:, list(ranking.order)],
        tuple(sorted(place[i] for i in ranking.unpaired)),
    )
    return Board(
        card,
        tuple(entries[i] for i in ranking.order),
        ordered,
        {place[i]: points for i, points in judged.items()},
        tuple(notes),
    )


def _is_are(several: Sequence[object]) -> str:
    return "are" if len(several) > 1 else "is"


def _verified(entry: Entry, card: Card) -> "list[Judged]":
    """Return what a row's scores hold of its points, in the row's order; the row is what they give."""
    from tasks.judge import read_judged, verify, zones_of

    verify(entry.path.parent, card)
    assert entry.scores is not None
    judged = {one.name: one for one in read_judged(entry.scores, card, zones_of(entry.row))}
    return [judged[point.name] for point in entry.row.points]


def _curve(points: "list[Judged]", card: Card) -> SavingsAtParity:
    from tasks.judge import at_parity

    return at_parity(points, card)


def slug(name: str) -> str:
    """Return a name as part of a file's.

    Examples:
        >>> slug("ward-cosine, own x0"), slug("<script>")
        ('ward-cosine-own-x0', 'script')
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:60] or "method"
