"""A published table repeated from finished runs: published, measured, and whether they differ, result by result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from metrics.published import MEANS, RATES, Difference, means_differ, rates_differ, standard_error
from reports.base import RunView
from reports.labels import MISSING, ROLES, Label, label, p_value
from reports.paper import MINIATURE, Item, Row
from reports.parity import Curve, parity_curves
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance
from sweeps.record import Record, Result

if TYPE_CHECKING:
    import pandas as pd

STRICT = "_strict"
NOT_COMPARABLE = "not comparable: miniature"
PLAN = {"savings": Label("steps saved", "fraction"), "steps": Label("steps an image")}
DIGITS = {"savings": 2, "steps": 1}  # as published
HOW = {"sharing": "shared", **ROLES}


@dataclass(frozen=True)
class Measured:
    """The measurement for one published row.

    Attributes:
        row: the published row.
        record: the cell's record; None where no run has the cell.
        curve: for savings at parity, the curve that they are read from.
        miniature: whether a miniature stands in for the model.
    """

    row: Row
    record: Record | None = None
    curve: Curve | None = None
    miniature: bool = False

    def figure(self, name: str) -> Result | None:
        """Return the measured result, named as it is published."""
        plan = self.record.plan if self.record else None
        if name == "savings" and self.curve:
            parity = self.curve.parity.bound
            ends = (parity.low.savings, parity.high.savings) if parity.low and parity.high else (None, None)
            return Result(value=parity.value.savings, low=ends[0], high=ends[1], n=self.curve.parity.pairs)
        if name == "savings":
            return Result(value=plan.savings, n=plan.n_prompts) if plan else None
        if name == "steps":
            return Result(value=plan.node_steps / plan.n_prompts, n=plan.n_prompts) if plan else None
        return self.record.results.get(name) if self.record else None


def paper_sheet(item: Item, views: Sequence[RunView]) -> Sheet | None:
    """Return the item's table; None where it has no published numbers or none of these runs has a cell of it.

    Args:
        item: the published table.
        views: views of finished runs; the first that has a row's cell gives it.
    """
    measured = list(_measured(item, views))
    if not any(cell.record or cell.curve for cell in measured):
        return None
    records = [cell.record for cell in measured if cell.record]
    labels = {name: PLAN.get(name) or label(name, records) for name in item.figures}
    miniature = any(cell.miniature for cell in measured)
    keys = _keys(item, measured)
    columns = [
        *(Column(heading, numeric=False, key=True) for heading in keys),
        Column("prompts"),
        *(Column("tau") for _ in [0] if item.which != "tau"),
        *(column for name, result_label in labels.items() for column in _columns(name, result_label)),
    ]
    rows = [
        [
            *(Entry(key(cell)) for key in keys.values()),
            Entry(str(cell.record.plan.n_prompts) if cell.record and cell.record.plan else MISSING),
            *(Entry(f"{cell.record.config.tau:f}" if cell.record else MISSING) for _ in [0] if item.which != "tau"),
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
        [*item.notes, *_notes(item, measured, views[0].delta)],
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


def _measured(item: Item, views: Sequence[RunView]) -> Iterator[Measured]:
    for row in item.rows:
        mini = (item.miniature.models[row.model], item.miniature.datasets[row.dataset])
        candidates = (
            Measured(row, record, curve, names == mini)
            for view in views
            for names in ((row.model, row.dataset), mini)
            for record, curve in [_cell(item, row, view, *names)]
            if record or curve
        )
        yield next(candidates, Measured(row))


def _cell(item: Item, row: Row, view: RunView, model: str, dataset: str) -> tuple[Record | None, Curve | None]:
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
    if item.which == "steps":
        share = row.published["steps"] / (item.steps or 1)
        return min(fits, key=lambda record: abs(_share(record) - share), default=None), None
    ids = {record.config.model_copy(update={"tau": 0, "seed": 0}) for record in fits}
    for curve in view.once(parity_curves).curves:
        if curve.config.model_copy(update={"tau": 0, "seed": 0}) in ids:
            return _at_parity(fits, curve), curve
    return None, None


def _share(record: Record) -> float:
    return 1 - record.plan.savings if record.plan else 1.0


def _at_parity(records: Sequence[Record], curve: Curve) -> Record | None:
    """Return the cell that saves most before the curve falls under the bound."""
    reach = curve.parity.bound.value.savings
    return max((r for r in records if 1 - _share(r) <= reach + 1e-9), key=lambda r: r.config.tau, default=None)


def _columns(name: str, result_label: Label) -> list[Column]:
    three = [
        Column(f"{result_label.heading}: published"),
        Column(f"{result_label.heading}: measured"),
        Column(f"{result_label.text}: difference", numeric=False),
    ]
    return (
        [*three, Column(f"{result_label.heading.replace(', strict', '')}: measured")]
        if name.endswith(STRICT)
        else three
    )


def _entries(item: Item, measured: Measured, name: str, result_label: Label) -> list[Entry]:
    """Return published, measured and difference; for a strict win rate, also the one with ties as half."""

    def entry(result: Result | None) -> Entry:
        return (
            Entry(_number(name, result_label, result.value), result_label.interval(result))
            if result
            else Entry(MISSING)
        )

    published = measured.row.published.get(name)
    as_published = MISSING if published is None else f"{round(published * result_label.scale, 9):g}"
    three = [
        Entry(as_published),
        entry(measured.figure(name)),
        Entry(_difference_text(item, measured, name, result_label)),
    ]
    return [*three, entry(measured.figure(name.removesuffix(STRICT)))] if name.endswith(STRICT) else three


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
        n = result.n or 0
        return rates_differ(round(result.value * n), n, published, measured.row.images) if n else None
    if result.low is None or result.high is None or result.low == result.high:
        return None
    error, ratio = standard_error(result.low, result.high), (result.n or measured.row.images) / measured.row.images
    return means_differ(result.value, error, published, ratio=ratio, reading=item.reading)


def _notes(item: Item, measured: Sequence[Measured], delta: float) -> list[str]:
    notes = []
    if "savings" in item.figures and item.which != "parity":
        notes.append(
            "steps saved involve no chance: they follow from the prompts' embeddings, the tree and the schedule, so a "
            "difference means that one of these differs"
        )
    if item.which == "parity":
        notes.append(
            "measured steps saved: the largest up to which the win rate's lower 95% bound stays at or above "
            f"{tolerance(delta)}; the win rate is that of the last tau before that"
        )
    if item.which == "steps":
        notes.append("measured: the cell whose share of steps an image comes nearest to the published one")
    if any(name.endswith(STRICT) for name in item.figures):
        notes.append("win rate: as published, a tie counts as a loss; prompts that share nothing tie here")
    methods = dict.fromkeys(
        d.method for cell in measured for name in item.figures if (d := difference(item, cell, name))
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
        for name, published in cell.row.published.items():
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
