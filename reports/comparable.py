"""Several runs as one view: what is comparable on the same axes, what is refused, what is flagged, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from pydantic import Field

from common.errors import UserError
from metrics.parity import DELTA
from reports.base import RunView
from reports.differences import Difference, differences, prompt_set, scorer
from sweeps.record import Asked, Record

RUN = "run"


class Placed(Asked):
    """A cell's place among the cells of several runs."""

    run: str


class Bound(Record):
    """A record that knows its run folder, and reads from there whichever folder a view is written to."""

    home: Path = Field(exclude=True)

    def folder(self, run: Path) -> Path:
        return super().folder(self.home)

    def made(self, run: Path) -> Path:
        return super().made(self.home)

    def prompts(self, run: Path) -> list[str]:
        return super().prompts(self.home)

    def standard_pictures(self, run: Path) -> list[Path]:
        return super().standard_pictures(self.home)

    def standard_scores(self, run: Path) -> Path:
        return super().standard_scores(self.home)


@dataclass(frozen=True)
class Comparison(RunView):
    """Several runs' cells on the same axes; `path` is the folder that its report goes to.

    A run's name is an axis (``run``) where series of several runs would otherwise be the same, or may not be one.

    Attributes:
        runs: by name, the view of each by itself.
        differences: what is refused or flagged.
    """

    runs: Mapping[str, RunView] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()

    @property
    def remarks(self) -> list[str]:
        return [each.sentence for each in self.differences if each.verdict == "refused"]

    def naming_axes(self) -> list[str]:
        """As few of the axes that differ as tell series apart: runs often differ in many, and tables have all."""
        series = {record.asked.model_copy(update={"tau": 0}) for record in self.records}
        axes = super().naming_axes()
        for axis in reversed(axes):
            fewer = [each for each in axes if each != axis]
            if len({tuple(getattr(asked, each) for each in fewer) for asked in series}) == len(series):
                axes = fewer
        return axes


def compare(folders: Sequence[Path], path: Path, delta: float = DELTA) -> Comparison:
    """The joint view of several run folders.

    Figures of another scorer than the first run's are left out; prompts that only share a prompt set's name become
    prompt sets of their own. Both are told in `differences`.

    Args:
        folders: at least two run folders.
        path: where the report of the comparison goes; it need not be there.
        delta: how far below 1/2 a win rate may lie and still be called parity.

    Raises:
        UserError: fewer than two runs, one of them given twice or without a finished cell, or a damaged record.
    """
    names = run_names(folders)
    runs = {name: RunView.of(folder, delta=delta) for name, folder in zip(names, folders, strict=True)}
    for name, view in runs.items():
        if not view.records:
            raise UserError(f"{name} has no finished cell", "run its sweep again, or compare the others")
    found = differences({name: [*view.records, *view.references] for name, view in runs.items()})
    whole = Comparison(
        path=path,
        records=tuple(_bind(record, view.path) for view in runs.values() for record in view.records),
        failed=tuple(_bind(record, view.path) for view in runs.values() for record in view.failed),
        references=tuple(_bind(record, view.path) for view in runs.values() for record in view.references),
        delta=delta,
        title="; ".join(dict.fromkeys(view.title for view in runs.values() if view.title)),
        runs=runs,
        differences=tuple(found),
    )
    return _named(_told_apart(_one_scorer(whole)))


def run_names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as much of their paths as tells them apart.

    Raises:
        UserError: fewer than two folders, or one is given twice.
    """
    places = [folder.resolve() for folder in folders]
    if len(places) < 2:
        raise UserError("one run is nothing to compare", "give two run folders or more")
    if twice := [place for i, place in enumerate(places) if place in places[:i]]:
        raise UserError(f"{twice[0]} is given twice", "give every run folder once")
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    return ["/".join(place.parts[-depth:]) for place in places]


def _bind(record: Record, home: Path) -> Bound:
    return Bound.model_construct(**{name: getattr(record, name) for name in Record.model_fields}, home=home)


def _each(view: Comparison, change: "Mapping[int, Record]") -> Comparison:
    """With some of the records, by their `id()`, replaced."""
    changed = {
        name: tuple(change.get(id(record), record) for record in getattr(view, name))
        for name in ("records", "failed", "references")
    }
    return replace(view, **changed)  # type: ignore[arg-type]


def _one_scorer(view: Comparison) -> Comparison:
    """Without the figures of a metric that another scorer gave than the first record's."""
    every = [*view.records, *view.references]
    first: dict[str, dict[str, object]] = {}
    for record in every:
        for metric in record.scorers:
            first.setdefault(metric, scorer(record, metric))
    change: dict[int, Record] = {}
    for record in every:
        if others := {metric for metric in record.scorers if scorer(record, metric) != first[metric]}:
            kept = {name: each for name, each in record.figures.items() if name.partition(".")[0] not in others}
            scorers = {metric: about for metric, about in record.scorers.items() if metric not in others}
            change[id(record)] = record.model_copy(update={"figures": kept, "scorers": scorers})
    return _each(view, change)


def _told_apart(view: Comparison) -> Comparison:
    """With prompt sets named by their size or hash where one name stands for several."""
    every = [*view.records, *view.references]
    sets: dict[str, dict[tuple[str | None, int | None], None]] = {}
    for record in every:
        sets.setdefault(record.asked.dataset, {})[prompt_set(record)] = None
    names: dict[tuple[str, tuple[str | None, int | None]], str] = {}
    for dataset, found in sets.items():
        by_size = len({n for _, n in found}) == len(found)
        for text, n in found if len(found) > 1 else ():
            names[dataset, (text, n)] = f"{dataset} ({f'{n} prompts' if by_size else (text or 'no hash')[:8]})"
    return _each(
        view,
        {
            id(record): record.model_copy(update={"asked": record.asked.model_copy(update={"dataset": name})})
            for record in every
            if (name := names.get((record.asked.dataset, prompt_set(record))))
        },
    )


def _named(view: Comparison) -> Comparison:
    """With the run's name as an axis, where a series of one run would be another's or may not be."""
    every = [*view.records, *view.references, *view.failed]
    homes = {each.path: name for name, each in view.runs.items()}
    owner = {id(record): homes[record.home] for record in every if isinstance(record, Bound)}
    series: dict[str, set[Asked]] = {name: set() for name in view.runs}
    for record in view.records:
        series[owner[id(record)]].add(record.asked.model_copy(update={"tau": 0}))
    alike = any(one & other for one, other in combinations(series.values(), 2))
    if not alike and not any(each.apart for each in view.differences):
        return view
    return _each(
        view,
        {
            id(record): record.model_copy(
                update={"asked": Placed.model_construct(**dict(record.asked), run=owner[id(record)])}
            )
            for record in every
        },
    )
