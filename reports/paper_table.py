"""A published table made again from finished runs: published, measured, and whether they differ, figure by figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from metrics.published import MEANS, RATES, Difference, means_differ, rates_differ, standard_error
from reports.base import RunView
from reports.labels import MISSING, Label, label, p_value
from reports.paper import MINIATURE, Item, Row
from reports.parity import Curve, parities
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance
from sweeps.record import Figure, Record

if TYPE_CHECKING:
    import pandas as pd

STRICT = "_strict"
NOT_COMPARABLE = "not comparable: miniature"
PLAN = {"savings": Label("steps saved", "fraction"), "steps": Label("steps an image")}
DIGITS = {"savings": 2, "steps": 1}  # as published
HOW = {"sharing": "shared", "fewer-steps": "fewer steps", "another-seed": "another seed"}


@dataclass(frozen=True)
class Measured:
    """What was found of a published row.

    Attributes:
        row: the published one.
        record: the cell; None where no run has it.
        curve: at parity, the curve that the savings are read from.
        miniature: whether a miniature stands in for the model.
    """

    row: Row
    record: Record | None = None
    curve: Curve | None = None
    miniature: bool = False

    def figure(self, name: str) -> Figure | None:
        """What was measured, named as it is published."""
        plan = self.record.plan if self.record else None
        if name == "savings" and self.curve:
            found = self.curve.found.bound
            ends = (found.low.savings, found.high.savings) if found.low and found.high else (None, None)
            return Figure(value=found.value.savings, low=ends[0], high=ends[1], n=self.curve.found.pairs)
        if name == "savings":
            return Figure(value=plan.savings, n=plan.n_prompts) if plan else None
        if name == "steps":
            return Figure(value=plan.node_steps / plan.n_prompts, n=plan.n_prompts) if plan else None
        return self.record.figures.get(name) if self.record else None


def paper_sheet(item: Item, views: Sequence[RunView]) -> Sheet | None:
    """The item's table; None where it has no published numbers or none of these runs has a cell of it.

    Args:
        item: what is published.
        views: of finished runs; of two that have a row's cell, the first gives it.
    """
    found = list(_measured(item, views))
    if not any(each.record or each.curve for each in found):
        return None
    records = [each.record for each in found if each.record]
    labels = {name: PLAN.get(name) or label(name, records) for name in item.figures}
    miniature = any(each.miniature for each in found)
    keys = _keys(item, found)
    columns = [
        *(Column(heading, numeric=False, key=True) for heading in keys),
        Column("prompts"),
        *(Column("tau") for _ in [0] if item.which != "tau"),
        *(column for name, about in labels.items() for column in _columns(name, about)),
    ]
    rows = [
        [
            *(Entry(key(each)) for key in keys.values()),
            Entry(str(each.record.plan.n_prompts) if each.record and each.record.plan else MISSING),
            *(Entry(f"{each.record.asked.tau:f}" if each.record else MISSING) for _ in [0] if item.which != "tau"),
            *(entry for name, about in labels.items() for entry in _entries(item, each, name, about)),
        ]
        for each in found
    ]
    title = views[0].title or (MINIATURE if miniature else "")
    return Sheet(
        columns,
        rows,
        _data(item, found),
        f"{': '.join(filter(None, [title, item.title]))}; published: {item.source}",
        [*item.notes, *_notes(item, found, views[0].delta)],
        [each.row.role for each in found],
    )


def _keys(item: Item, found: Sequence[Measured]) -> dict[str, Any]:
    """What names a row, by heading: what differs, the prompt set always."""
    keys: dict[str, Any] = {}
    if len({each.row.model for each in found}) > 1:
        keys["model"] = lambda each: each.row.model
    keys["dataset"] = lambda each: (
        f"{item.miniature.datasets[each.row.dataset]} for {each.row.dataset}" if each.miniature else each.row.dataset
    )
    if len({each.row.role for each in found}) > 1:
        keys["how"] = lambda each: HOW[each.row.role]
    return keys


def _measured(item: Item, views: Sequence[RunView]) -> Iterator[Measured]:
    for row in item.rows:
        mini = (item.miniature.models[row.model], item.miniature.datasets[row.dataset])
        tried = (
            Measured(row, record, curve, names == mini)
            for view in views
            for names in ((row.model, row.dataset), mini)
            for record, curve in [_cell(item, row, view, *names)]
            if record or curve
        )
        yield next(tried, Measured(row))


def _cell(item: Item, row: Row, view: RunView, model: str, dataset: str) -> tuple[Record | None, Curve | None]:
    """The cell of a view that a row is of, as `Item.which` says; of several seeds the first."""
    pool = view.records if row.role == "sharing" else view.held_against(row.role)
    # a reference's strategy is its role
    sharing = {axis: value for axis, value in item.sharing.items() if axis != "strategy" or row.role == "sharing"}
    fits = [
        record
        for record in pool
        if (record.asked.model, record.asked.dataset) == (model, dataset)
        and all(getattr(record.asked, axis) == value for axis, value in sharing.items())
        and record.plan
    ]
    fits = [record for record in fits if record.asked.seed == min(record.asked.seed for record in fits)]
    if item.which == "tau":
        return next((record for record in fits if float(record.asked.tau) == item.tau), None), None
    if item.which == "steps":
        share = row.published["steps"] / (item.steps or 1)
        return min(fits, key=lambda record: abs(_share(record) - share), default=None), None
    ids = {record.asked.model_copy(update={"tau": 0, "seed": 0}) for record in fits}
    for curve in view.once(parities).curves:
        if curve.asked.model_copy(update={"tau": 0, "seed": 0}) in ids:
            return _at_parity(fits, curve), curve
    return None, None


def _share(record: Record) -> float:
    return 1 - record.plan.savings if record.plan else 1.0


def _at_parity(records: Sequence[Record], curve: Curve) -> Record | None:
    """The cell that saves most, all below it at parity too: the last before the curve falls under the bound."""
    reach = curve.found.bound.value.savings
    return max((each for each in records if 1 - _share(each) <= reach + 1e-9), key=lambda r: r.asked.tau, default=None)


def _columns(name: str, about: Label) -> list[Column]:
    three = [
        Column(f"{about.heading}: published"),
        Column(f"{about.heading}: measured"),
        Column(f"{about.text}: difference", numeric=False),
    ]
    return [*three, Column(f"{about.heading.replace(', strict', '')}: measured")] if name.endswith(STRICT) else three


def _entries(item: Item, each: Measured, name: str, about: Label) -> list[Entry]:
    """Published, measured, and their difference; of a strict win rate, the one with ties as half as well."""

    def entry(found: Figure | None) -> Entry:
        return Entry(_number(name, about, found.value), about.interval(found)) if found else Entry(MISSING)

    published = each.row.published.get(name)
    as_published = MISSING if published is None else f"{round(published * about.scale, 9):g}"
    three = [Entry(as_published), entry(each.figure(name)), Entry(_told(item, each, name, about))]
    return [*three, entry(each.figure(name.removesuffix(STRICT)))] if name.endswith(STRICT) else three


def _number(name: str, about: Label, value: float) -> str:
    if name in DIGITS:
        return f"{value * about.scale:{'+' if about.signed else ''}.{DIGITS[name]}f}"
    return about.number(value)


def _told(item: Item, each: Measured, name: str, about: Label) -> str:
    published, found = each.row.published.get(name), each.figure(name)
    if published is None or found is None:
        return MISSING
    if each.miniature:
        return NOT_COMPARABLE
    signed = Label(about.text, about.unit, signed=True)
    if (tested := difference(item, each, name)) is None:
        return f"{_number(name, signed, found.value - published)}{' points' if about.unit == 'fraction' else ''}"
    interval = f"[{signed.number(tested.low)}, {signed.number(tested.high)}]"
    return f"{signed.number(tested.value)} {interval}, p {p_value(tested.p)}"


def difference(item: Item, each: Measured, name: str) -> Difference | None:
    """Measured less published, tested; None where there is no chance in it, or no interval to know it by."""
    published, found = each.row.published.get(name), each.figure(name)
    if published is None or found is None or each.miniature:
        return None
    if name.partition(".")[2].startswith("win_rate"):
        n = found.n or 0
        return rates_differ(round(found.value * n), n, published, each.row.images) if n else None
    if found.low is None or found.high is None or found.low == found.high:
        return None
    error, ratio = standard_error(found.low, found.high), (found.n or each.row.images) / each.row.images
    return means_differ(found.value, error, published, ratio=ratio, reading=item.reading)


def _notes(item: Item, found: Sequence[Measured], delta: float) -> list[str]:
    notes = []
    if "savings" in item.figures and item.which != "parity":
        notes.append(
            "steps saved: no chance is in them; the prompts' embeddings, the tree and the schedule decide them, so the "
            "difference says how far apart these are"
        )
    if item.which == "parity":
        notes.append(
            "measured steps saved: the largest up to which the win rate's lower 95% bound stays at or above "
            f"{tolerance(delta)}; the win rate is that of the last tau before"
        )
    if item.which == "steps":
        notes.append("measured: the cell whose steps an image, as a share of all, are nearest to the published")
    if any(name.endswith(STRICT) for name in item.figures):
        notes.append("win rate: as published, ties count as none; prompts that share nothing tie here")
    methods = dict.fromkeys(d.method for each in found for name in item.figures if (d := difference(item, each, name)))
    notes += [f"differences: {method}" for method in methods]
    if RATES in methods:
        notes.append("taken for independent samples; the prompts are the same, so that the test is conservative")
    if MEANS in methods:
        notes.append("no spread is published: that of the published figure is taken from our own bootstrap")
    fewer = [each for each in found if each.record and each.record.plan and not each.miniature and _fewer(each)]
    notes += [f"{each.row.dataset}: only {_fewer(each)} of the paper's {each.row.prompts:,} prompts" for each in fewer]
    notes += [f"{each.row.dataset} ({each.row.model}): in none of these runs" for each in found if not each.record]
    return list(dict.fromkeys(notes))


def _fewer(each: Measured) -> int | None:
    n = each.record.plan.n_prompts if each.record and each.record.plan else 0
    return n if 0 < n < each.row.prompts else None


def _data(item: Item, found: Sequence[Measured]) -> "pd.DataFrame":
    """A row a figure, in full precision."""
    import pandas as pd

    rows = []
    for each in found:
        for name, published in each.row.published.items():
            measured, tested = each.figure(name), difference(item, each, name)
            rows.append(
                {
                    "item": item.name,
                    "model": each.record.asked.model if each.record else None,
                    "dataset": each.record.asked.dataset if each.record else None,
                    "published_model": each.row.model,
                    "published_dataset": each.row.dataset,
                    "role": each.row.role,
                    "tau": float(each.record.asked.tau) if each.record else None,
                    "cell": each.record.id if each.record else None,
                    "figure": name,
                    "published": published,
                    "published_images": each.row.images,
                    "measured": measured and measured.value,
                    "low": measured and measured.low,
                    "high": measured and measured.high,
                    "n": measured and measured.n,
                    "comparable": bool(measured) and not each.miniature,
                    "difference": tested and tested.value,
                    "difference_low": tested and tested.low,
                    "difference_high": tested and tested.high,
                    "p": tested and tested.p,
                }
            )
    return pd.DataFrame(rows)


def matching(views: Sequence[RunView], known: Sequence[Item]) -> dict[str, Sheet]:
    """The tables that these runs can make again, by item.

    Raises:
        UserError: there is none.
    """
    found = {item.name: sheet for item in known if (sheet := paper_sheet(item, views))}
    if not found:
        names = ", ".join(str(view.path) for view in views)
        raise UserError(
            f"{names}: no cell of a published table", "make them with `bench paper run ITEM`; see `bench paper list`"
        )
    return found
