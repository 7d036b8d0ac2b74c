"""A published table repeated from finished runs: published, measured, and whether they differ, result by result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from metrics.parity import GAP
from metrics.published import MEANS, RATES, Difference, means_differ, rates_differ, standard_error
from metrics.statistics import tango_interval
from reports.base import RunView
from reports.frame import WIN_RATE
from reports.labels import MISSING, ROLES, Label, label, p_value
from reports.paired_scores import better, metric_scores, score_differences
from reports.paper import MINIATURE, Item, Row
from reports.sheet import Column, Entry, Sheet
from sweeps.record import Record, Result

if TYPE_CHECKING:
    import pandas as pd

STRICT = "_strict"
NOT_COMPARABLE = "not comparable: miniature"
OF_COMPARABLE = "vqa.win_rate_strict"  # the rate by which the paper calls pictures comparable
PLAN = {"savings": Label("steps saved", "fraction"), "steps": Label("steps an image")}
DIGITS = {"savings": 2, "steps": 1}  # as published
HOW = {"sharing": "shared", **ROLES}


@dataclass(frozen=True)
class Between:
    """The win rate at savings that no cell has: on a straight line between the two cells around them, prompt by prompt.

    Attributes:
        lower: the cell that saves less.
        upper: the cell that saves more.
        rate: half-tie win rate.
        untied: the mean square of the outcomes on that line; the share of untied pairs where they are a cell's own.
    """

    lower: Record
    upper: Record
    rate: Result
    untied: float

    @property
    def ends(self) -> tuple[float, float]:
        return _savings(self.lower), _savings(self.upper)


@dataclass(frozen=True)
class Measured:
    """The measurement for one published row.

    Attributes:
        row: the published row.
        record: the cell's record; None where no run has the cell. Of two cells, the one that saves less.
        between: for savings that no cell has, the win rate there.
        miniature: whether a miniature stands in for the model.
    """

    row: Row
    record: Record | None = None
    between: Between | None = None
    miniature: bool = False

    def figure(self, name: str) -> Result | None:
        """Return the measured result to hold against the published one of this name: a strict rate's has half-ties."""
        plan = self.record.plan if self.record else None
        if name == "savings":
            return Result(value=plan.savings, n=plan.n_prompts) if plan and not self.between else None
        if name == "steps":
            return Result(value=plan.node_steps / plan.n_prompts, n=plan.n_prompts) if plan else None
        if self.between:
            return self.between.rate if name == OF_COMPARABLE else None
        return self.record.results.get(name.removesuffix(STRICT)) if self.record else None

    def untied(self, name: str) -> float:
        """Return the mean square of the outcomes behind a win rate."""
        if self.between:
            return self.between.untied
        results = self.record.results if self.record else {}
        ties, rate = results.get(f"{name.partition('.')[0]}.ties"), self.figure(name)
        return 1 - ties.value / rate.n if ties and rate and rate.n else 1.0


def paper_sheet(item: Item, views: Sequence[RunView]) -> Sheet | None:
    """Return the item's table; None where it has no published numbers or none of these runs has a cell of it.

    Args:
        item: the published table.
        views: views of finished runs; the first that has a row's cell gives it.
    """
    measured = list(_measured(item, views))
    if not any(cell.record for cell in measured):
        return None
    records = [cell.record for cell in measured if cell.record]
    labels = {name: PLAN.get(name) or label(name, records) for name in _figures(item)}
    miniature = any(cell.miniature for cell in measured)
    keys = _keys(item, measured)
    columns = [
        *(Column(heading, numeric=False, key=True) for heading in keys),
        Column("prompts"),
        *(Column("tau", numeric=False) for _ in [0] if item.which != "tau"),
        *(column for name, result_label in labels.items() for column in _columns(name, result_label)),
    ]
    rows = [
        [
            *(Entry(key(cell)) for key in keys.values()),
            Entry(str(cell.record.plan.n_prompts) if cell.record and cell.record.plan else MISSING),
            *(Entry(_taus(cell)) for _ in [0] if item.which != "tau"),
            *(entry for name, result_label in labels.items() for entry in _entries(item, cell, name, result_label)),
        ]
        for cell in measured
    ]
    title = views[0].title or (MINIATURE if miniature else "")
    return Sheet(
        columns,
        rows,
        _data(item, measured),
        f"{': '.join(filter(None, [title, item.title]))}; published: {item.source}",
        [*item.notes, *_notes(item, measured)],
        [cell.row.role for cell in measured],
    )


def _keys(item: Item, measured: Sequence[Measured]) -> dict[str, Any]:
    """Return the columns that name a row, by heading: those that differ, and always the prompt set."""
    keys: dict[str, Any] = {}
    if len({cell.row.model for cell in measured}) > 1:
        keys["model"] = lambda cell: cell.row.model
    keys["dataset"] = lambda cell: (
        f"{item.miniature.datasets[cell.row.dataset]} for {cell.row.dataset}" if cell.miniature else cell.row.dataset
    )
    if len({cell.row.role for cell in measured}) > 1:
        keys["how"] = lambda cell: HOW[cell.row.role]
    return keys


def _figures(item: Item) -> list[str]:
    """Return the names of the results to show: what is published, and by which rate savings count as comparable."""
    return list(dict.fromkeys([*item.figures, *([OF_COMPARABLE] if item.which == "savings" else [])]))


def _taus(cell: Measured) -> str:
    if cell.between:
        return f"{cell.between.lower.config.tau:f} to {cell.between.upper.config.tau:f}"
    return f"{cell.record.config.tau:f}" if cell.record else MISSING


def _measured(item: Item, views: Sequence[RunView]) -> Iterator[Measured]:
    for row in item.rows:
        mini = (item.miniature.models[row.model], item.miniature.datasets[row.dataset])
        candidates = (
            Measured(row, record, between, names == mini)
            for view in views
            for names in ((row.model, row.dataset), mini)
            for record, between in [_cell(item, row, view, *names)]
            if record
        )
        yield next(candidates, Measured(row))


def _cell(item: Item, row: Row, view: RunView, model: str, dataset: str) -> tuple[Record | None, Between | None]:
    """Return a row's cell in a view, as `Item.which` says; for several seeds the first."""
    pool = view.records if row.role == "sharing" else view.held_against(row.role)
    # a reference's strategy is its role
    sharing = {axis: value for axis, value in item.sharing.items() if axis != "strategy" or row.role == "sharing"}
    fits = [
        record
        for record in pool
        if (record.config.model, record.config.dataset) == (model, dataset)
        and all(getattr(record.config, axis) == value for axis, value in sharing.items())
        and record.plan
    ]
    fits = [record for record in fits if record.config.seed == min(record.config.seed for record in fits)]
    if item.which == "tau":
        return next((record for record in fits if float(record.config.tau) == item.tau), None), None
    saved = row.published["savings"] if item.which == "savings" else 1 - row.published["steps"] / (item.steps or 1)
    nearest = min(fits, key=lambda record: abs(_savings(record) - saved), default=None)
    if item.which == "steps" or nearest is None:
        return nearest, None
    lower = max((record for record in fits if _savings(record) <= saved), key=_savings, default=None)
    upper = min((record for record in fits if _savings(record) >= saved), key=_savings, default=None)
    if lower is None or upper is None:  # all save more, or all less
        return nearest, None
    return lower, _between(view, lower, upper, saved)


def _savings(record: Record) -> float:
    return record.plan.savings if record.plan else 0.0


def _between(view: RunView, lower: Record, upper: Record, saved: float) -> Between | None:
    """Return the win rate at these savings; None where a cell has none."""
    metric = OF_COMPARABLE.partition(".")[0]
    if any(f"{metric}{WIN_RATE}" not in record.results for record in (lower, upper)):
        return None
    below, above = (
        better(record, metric) * np.sign(score_differences(view.path, record, metric, metric_scores))
        for record in (lower, upper)
    )
    distance = _savings(upper) - _savings(lower)
    share = (saved - _savings(lower)) / distance if distance else 0.0
    outcomes = (1 - share) * below + share * above
    n, untied, difference = len(outcomes), float((outcomes**2).mean()), float(outcomes.mean())
    wins, losses = (max(n * (untied + sign * difference) / 2, 0.0) for sign in (1, -1))
    low, high = tango_interval(wins, losses, n)
    rate = Result(value=0.5 + difference / 2, low=0.5 + low / 2, high=0.5 + high / 2, n=n, method="Tango score")
    return Between(lower, upper, rate, untied)


def _columns(name: str, result_label: Label) -> list[Column]:
    result_label = replace(result_label, text=result_label.text.replace(", strict", ""))
    three = [
        Column(f"{result_label.heading}: published"),
        Column(f"{result_label.heading}: measured"),
        Column(f"{result_label.text}: difference", numeric=False),
    ]
    return [*three, Column(f"{result_label.heading}, ties as losses: measured")] if name.endswith(STRICT) else three


def _entries(item: Item, measured: Measured, name: str, result_label: Label) -> list[Entry]:
    """Return published, measured and difference; for a strict win rate, also the strict one measured."""

    def entry(result: Result | None) -> Entry:
        return (
            Entry(_number(name, result_label, result.value), result_label.interval(result))
            if result
            else Entry(MISSING)
        )

    published = measured.row.published.get(name)
    as_published = MISSING if published is None else f"{round(published * result_label.scale, 9):g}"
    if name == "savings" and measured.between:
        around = " to ".join(_number(name, result_label, end) for end in measured.between.ends)
        return [Entry(as_published), Entry(around), Entry(MISSING)]
    three = [
        Entry(as_published),
        entry(measured.figure(name)),
        Entry(_difference_text(item, measured, name, result_label)),
    ]
    own = measured.record.results if measured.record and not measured.between else {}
    return [*three, entry(own.get(name))] if name.endswith(STRICT) else three


def _number(name: str, result_label: Label, value: float) -> str:
    if name in DIGITS:
        return f"{value * result_label.scale:{'+' if result_label.signed else ''}.{DIGITS[name]}f}"
    return result_label.number(value)


def _difference_text(item: Item, measured: Measured, name: str, result_label: Label) -> str:
    published, result = measured.row.published.get(name), measured.figure(name)
    if published is None or result is None:
        return MISSING
    if measured.miniature:
        return NOT_COMPARABLE
    signed = Label(result_label.text, result_label.unit, signed=True)
    if (tested := difference(item, measured, name)) is None:
        return (
            f"{_number(name, signed, result.value - published)}{' points' if result_label.unit == 'fraction' else ''}"
        )
    interval = f"[{signed.number(tested.low)}, {signed.number(tested.high)}]"
    return f"{signed.number(tested.value)} {interval}, p {p_value(tested.p)}"


def difference(item: Item, measured: Measured, name: str) -> Difference | None:
    """Return measured less published, tested; None where there is no chance in it, or no interval to test with."""
    published, result = measured.row.published.get(name), measured.figure(name)
    if published is None or result is None or measured.miniature:
        return None
    if name.partition(".")[2].startswith("win_rate"):
        untied = measured.untied(name)
        return rates_differ(result.value, untied, result.n, published, measured.row.images) if result.n else None
    if result.low is None or result.high is None or result.low == result.high:
        return None
    error, ratio = standard_error(result.low, result.high), (result.n or measured.row.images) / measured.row.images
    return means_differ(result.value, error, published, ratio=ratio, reading=item.reading)


def _notes(item: Item, measured: Sequence[Measured]) -> list[str]:
    notes = []
    if "savings" in item.figures and item.which != "savings":
        notes.append(
            "steps saved involve no chance: they follow from the prompts' embeddings, the tree and the schedule, so a "
            "difference means that one of these differs"
        )
    if item.which == "savings":
        notes.append(
            "the published savings are those at which the paper calls the pictures comparable, by a win rate of about "
            "50%; measured is the win rate at the same savings, on a straight line between the two cells around them"
        )
    for cell in measured:
        if cell.between and cell.between.ends[1] - cell.between.ends[0] > GAP:
            ends = " and ".join(_number("savings", PLAN["savings"], end) for end in cell.between.ends)
            notes.append(f"{cell.row.dataset}: nothing was measured between {ends}% of steps saved")
        elif item.which == "savings" and cell.record and not cell.between:
            notes.append(f"{cell.row.dataset}: no two cells around the published savings; the nearest is shown")
    if item.which == "steps":
        notes.append("measured: the cell whose share of steps an image comes nearest to the published one")
    if any(name.endswith(STRICT) for name in _figures(item)):
        notes.append(
            "win rate: here prompts that share nothing have the baseline's own pictures and tie, and ties count half; "
            "the published rate counts ties as losses, but near 50% where little is shared it can have had few"
        )
    methods = dict.fromkeys(
        d.method for cell in measured for name in _figures(item) if (d := difference(item, cell, name))
    )
    notes += [f"differences: {method}" for method in methods]
    if RATES in methods:
        notes.append("both are treated as independent samples; as the prompts are the same, the test is conservative")
    if MEANS in methods:
        notes.append("the published spread is not known: our own bootstrap's is used for both")
    fewer = [cell for cell in measured if cell.record and cell.record.plan and not cell.miniature and _fewer(cell)]
    notes += [f"{cell.row.dataset}: only {_fewer(cell)} of the paper's {cell.row.prompts:,} prompts" for cell in fewer]
    notes += [f"{cell.row.dataset} ({cell.row.model}): in none of these runs" for cell in measured if not cell.record]
    return list(dict.fromkeys(notes))


def _fewer(measured: Measured) -> int | None:
    n = measured.record.plan.n_prompts if measured.record and measured.record.plan else 0
    return n if 0 < n < measured.row.prompts else None


def _data(item: Item, cells: Sequence[Measured]) -> "pd.DataFrame":
    """Return one row for each result, in full precision."""
    import pandas as pd

    rows = []
    for cell in cells:
        for name in dict.fromkeys([*cell.row.published, *_figures(item)]):
            published = cell.row.published.get(name)
            measured, tested = cell.figure(name), difference(item, cell, name)
            rows.append(
                {
                    "item": item.name,
                    "model": cell.record.config.model if cell.record else None,
                    "dataset": cell.record.config.dataset if cell.record else None,
                    "published_model": cell.row.model,
                    "published_dataset": cell.row.dataset,
                    "role": cell.row.role,
                    "tau": float(cell.record.config.tau) if cell.record else None,
                    "cell": cell.record.id if cell.record else None,
                    "figure": name,
                    "lower_savings": cell.between and cell.between.ends[0],
                    "upper_savings": cell.between and cell.between.ends[1],
                    "published": published,
                    "published_images": cell.row.images,
                    "measured": measured and measured.value,
                    "low": measured and measured.low,
                    "high": measured and measured.high,
                    "n": measured and measured.n,
                    "comparable": bool(measured) and not cell.miniature,
                    "difference": tested and tested.value,
                    "difference_low": tested and tested.low,
                    "difference_high": tested and tested.high,
                    "p": tested and tested.p,
                }
            )
    return pd.DataFrame(rows)


def matching(views: Sequence[RunView], known: Sequence[Item]) -> dict[str, Sheet]:
    """Return the tables that these runs can repeat, by item.

    Raises:
        UserError: there is none.
    """
    sheets = {item.name: sheet for item in known if (sheet := paper_sheet(item, views))}
    if not sheets:
        names = ", ".join(str(view.path) for view in views)
        raise UserError(
            f"{names}: no cell of a published table", "make them with `bench paper run ITEM`; see `bench paper list`"
        )
    return sheets
