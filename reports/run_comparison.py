"""Several runs as one view: the comparable ones on the same axes, with what is refused and what is flagged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Self

from pydantic import Field

from common.errors import UserError
from metrics.parity import DELTA
from reports.base import RunView
from reports.comparability import Mismatch, PromptSet, mismatches, prompt_set, scorer
from sweeps.record import CellConfig, Record

RUN = "run"


class Placed(CellConfig):
    """A cell's place on the axes of several runs."""

    run: str


class Bound(Record):
    """A record that knows its run folder and reads from there, wherever the view is written to."""

    home: Path = Field(exclude=True)

    def folder(self, run: Path) -> Path:
        return super().folder(self.home)

    def made(self, run: Path) -> Path:
        return super().made(self.home)

    def baseline_folder(self, run: Path) -> Path:
        return super().baseline_folder(self.home)


@dataclass(frozen=True)
class RunComparison(RunView):
    """The cells of several runs on the same axes; `path` is the folder that the report goes to.

    A run's name is an axis (``run``) where two runs' series would otherwise be taken for one.

    Attributes:
        runs: the view of each run by itself, by name.
        mismatches: those that are refused or flagged.
    """

    runs: Mapping[str, RunView] = field(default_factory=dict)
    mismatches: tuple[Mismatch, ...] = ()

    def _called(self, labels: Mapping[str, str], columns: Sequence[str]) -> Self:
        runs = {name: view._called(labels, columns) for name, view in self.runs.items()}
        return replace(super()._called(labels, columns), runs=runs)

    @property
    def remarks(self) -> list[str]:
        refused = [mismatch.sentence for mismatch in self.mismatches if mismatch.verdict == "refused"]
        return [*refused, *super().remarks]

    def naming_axes(self) -> list[str]:
        """Return as few of the varying axes as tell series apart; tables show all of them."""
        series = {record.config.model_copy(update={"tau": 0}) for record in self.records}
        axes = super().naming_axes()
        for axis in reversed(axes):
            fewer = [name for name in axes if name != axis]
            if len({tuple(getattr(place, name) for name in fewer) for place in series}) == len(series):
                axes = fewer
        return axes


def compare(
    folders: Sequence[Path], path: Path, delta: float = DELTA, indifference: float | None = None
) -> RunComparison:
    """Return the joint view of several run folders.

    Results of another scorer than the first run's are left out, and different prompts under one name become prompt
    sets of their own; `RunComparison.mismatches` has both.

    Args:
        folders: at least two run folders.
        path: the folder for the comparison's report; it need not exist.
        delta: the non-inferiority margin: how far below 1/2 a win rate may lie and still count as parity.
        indifference: half the width of every scorer's zone, in place of what the records say.

    Raises:
        UserError: fewer than two runs, one of them given twice or without a finished cell, or a damaged record.
    """
    names = run_names(folders)
    runs = {
        name: RunView.of(folder, delta=delta, indifference=indifference)
        for name, folder in zip(names, folders, strict=True)
    }
    for name, view in runs.items():
        if not view.records:
            raise UserError(f"{name} has no finished cell", "run its sweep again, or compare the others")
    problems = mismatches({name: [*view.records, *view.references] for name, view in runs.items()})
    comparison = RunComparison(
        path=path,
        records=tuple(_bind(record, view.path) for view in runs.values() for record in view.records),
        failed=tuple(_bind(record, view.path) for view in runs.values() for record in view.failed),
        references=tuple(_bind(record, view.path) for view in runs.values() for record in view.references),
        delta=delta,
        title="; ".join(dict.fromkeys(view.title for view in runs.values() if view.title)),
        runs=runs,
        missing=tuple(f"{name}: {what}" for name, view in runs.items() for what in view.missing),
        mismatches=tuple(problems),
    )
    return _named(_told_apart(_one_scorer(comparison)))


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, with as much of their paths as tells them apart.

    Raises:
        UserError: fewer than two folders, or one is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    if len(resolved) < 2:
        raise UserError("one run cannot be compared", "give two run folders or more")
    if repeated := [path for i, path in enumerate(resolved) if path in resolved[:i]]:
        raise UserError(f"{repeated[0]} is given twice", "give every run folder once")
    depth = 1
    while len({path.parts[-depth:] for path in resolved}) < len(resolved):
        depth += 1
    return ["/".join(folder_.parts[-depth:]) for folder_ in resolved]


def _bind(record: Record, home: Path) -> Bound:
    return Bound.model_construct(**{name: getattr(record, name) for name in Record.model_fields}, home=home)


def _with_replaced(view: RunComparison, replacements: "Mapping[int, Record]") -> RunComparison:
    """Return the view with some of its records replaced, by their `id()`."""
    changed = {
        name: tuple(replacements.get(id(record), record) for record in getattr(view, name))
        for name in ("records", "failed", "references")
    }
    return replace(view, **changed)  # type: ignore[arg-type]


def _one_scorer(view: RunComparison) -> RunComparison:
    """Return the view without results that another scorer gave than the first record's."""
    records = [*view.records, *view.references]
    first: dict[str, dict[str, object]] = {}
    for record in records:
        for metric in record.scorers:
            first.setdefault(metric, scorer(record, metric))
    replacements: dict[int, Record] = {}
    for record in records:
        if differing := {metric for metric in record.scorers if scorer(record, metric) != first[metric]}:
            comparable = {
                name: figure for name, figure in record.results.items() if name.partition(".")[0] not in differing
            }
            scorers = {metric: scorer_info for metric, scorer_info in record.scorers.items() if metric not in differing}
            replacements[id(record)] = record.model_copy(update={"results": comparable, "scorers": scorers})
    return _with_replaced(view, replacements)


def _told_apart(view: RunComparison) -> RunComparison:
    """Return the view with prompt sets named by their size or hash where several share one name."""
    records = [*view.records, *view.references]
    sets: dict[str, dict[PromptSet, None]] = {}
    for record in records:
        sets.setdefault(record.config.dataset, {})[prompt_set(record)] = None
    names: dict[tuple[str, PromptSet], str] = {}
    for dataset, variants in sets.items():
        sizes = {variant: variant[2].text if variant[2] else f"{variant[1]} prompts" for variant in variants}
        hashes = {
            (text, n, sample): ", ".join([(text or "no hash")[:8], *([f"sample {sample.hash[:8]}"] if sample else [])])
            for text, n, sample in variants
        }
        told = sizes if len(set(sizes.values())) == len(variants) else hashes
        names |= {(dataset, variant): f"{dataset} ({told[variant]})" for variant in variants if len(variants) > 1}
    return _with_replaced(
        view,
        {
            id(record): record.model_copy(update={"config": record.config.model_copy(update={"dataset": name})})
            for record in records
            if (name := names.get((record.config.dataset, prompt_set(record))))
        },
    )


def _named(view: RunComparison) -> RunComparison:
    """Return the view with the run's name as an axis, where two runs would otherwise share a series."""
    records = [*view.records, *view.references, *view.failed]
    homes = {run_view.path: name for name, run_view in view.runs.items()}
    owner = {id(record): homes[record.home] for record in records if isinstance(record, Bound)}
    series: dict[str, set[CellConfig]] = {name: set() for name in view.runs}
    for record in view.records:
        series[owner[id(record)]].add(record.config.model_copy(update={"tau": 0}))
    overlapping = any(first & second for first, second in combinations(series.values(), 2))
    if not overlapping and not any(mismatch.apart for mismatch in view.mismatches):
        return view
    return _with_replaced(
        view,
        {
            id(record): record.model_copy(
                update={"config": Placed.model_construct(**dict(record.config), run=owner[id(record)])}
            )
            for record in records
        },
    )
