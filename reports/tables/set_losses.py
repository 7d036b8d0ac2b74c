"""What a set of pictures lost: pictures that repeat others, diversity, and its distance from the baseline's set."""

from collections.abc import Sequence
from typing import ClassVar

from metrics.duplicates import REPEATS, SOURCE, WHAT_REPEATS
from reports.base import RunView, Table
from reports.frame import frame, result_names, varying_axes
from reports.labels import MISSING, Label, axis_text, title
from reports.sheet import Column, Entry, Sheet
from reports.tables.misplaced import in_words
from sweeps.record import Record, Result

EXACT = f"{SOURCE}.duplicates"
NEAR = "_near_duplicates"
SHARE, SCORE = Label("", "fraction"), Label("", "score")
# Of an encoder's results: heading, end of the name, how it is written.
COLUMNS = (
    ("Vendi, % of the baseline's", "_vendi_ratio", SHARE),
    ("Conditional-Vendi, % of the baseline's", "_conditional_vendi_ratio", SHARE),
    ("discrepancy, CMMD's kernel", "_discrepancy_gaussian", SCORE),
    ("discrepancy, KID's kernel", "_discrepancy_cubic", SCORE),
)
NOTES = ("exact duplicates: pictures that are, bit for bit, another prompt's; of k alike, k - 1 are counted",)
BY_ENCODERS = (
    "near duplicates: pictures that the encoder tells from another prompt's no better than a picture from its own copy "
    "saved as JPEG 90",
    "Vendi: the effective number of different pictures; Conditional-Vendi: of those that one prompt has; discrepancy: "
    "from the baseline's set, 0 where both are alike; 95% intervals: Tango score, jackknife",
)


class SetLosses(Table):
    """Pictures that repeat another prompt's, diversity, and distance from the baseline's set, by cell and encoder."""

    name = "set_losses"
    rank: ClassVar[int] = 1

    def sheet(self, run: RunView) -> Sheet | None:
        records = [*run.records, *run.references]
        if not any(EXACT in record.results for record in records):
            return None
        encoders = _encoders(records)
        axes = varying_axes(records)
        repeats = any(REPEATS in record.results for record in records)
        columns = [
            *(Column(axis, not isinstance(getattr(records[0].config, axis), str), key=True) for axis in axes),
            Column("tau", key=True),
            Column("pictures"),
            Column("exact duplicates"),
            Column("baseline's"),
            *([Column("repeats")] if repeats else []),
        ]
        if encoders:
            columns += [
                Column("by", numeric=False, key=True),
                Column("near duplicates"),
                Column("baseline's"),
                *(Column(heading) for heading, *_ in COLUMNS),
            ]
        rows = [(record, encoder) for record in records for encoder in encoders or [""]]
        return Sheet(
            columns,
            rows=[_entries(record, encoder, axes, repeats) for record, encoder in rows],
            data=frame(records),
            caption="what the set of pictures lost, beside the baseline's",
            notes=[*losses(run), *NOTES, *([WHAT_REPEATS] if repeats else []), *(BY_ENCODERS if encoders else ())],
            groups=[record.config.model_copy(update={"tau": 0}) for record, _ in rows],
        )


def losses(view: RunView) -> list[str]:
    """Return in words which cells have more duplicates, less diversity or more misplaced pictures than the baseline.

    The seed control is told beside them. A cell is named where its interval leaves out both what the baseline has and
    what the seed control has. Nothing is returned for a view whose pictures were never counted.
    """
    records = [*view.records, *view.held_against("another-seed")]
    if not any(EXACT in record.results for record in records):
        return []
    sentences = [_repeats(view, EXACT, "another prompt's picture, bit for bit")]
    for encoder in _encoders(records):
        scorer = title(encoder.partition(".")[0])
        sentences.append(_repeats(view, f"{encoder}{NEAR}", f"nearly another prompt's picture ({scorer})"))
        for end, which in (("_vendi_ratio", ""), ("_conditional_vendi_ratio", " that the prompts do not explain")):
            sentences.append(_diversity(view, f"{encoder}{end}", f"diversity{which} ({scorer})"))
    return [*(sentence for sentence in sentences if sentence), *in_words(view)]


def _repeats(view: RunView, name: str, what: str) -> str:
    """Return what is said of one kind of duplicate."""
    counted = [record for record in view.records if name in record.results]
    if not counted:
        return ""
    difference, controls = f"{name}_difference", _controls(view, name)
    by_chance = max([0.0, *(record.results[difference].value for record in controls)])
    lost = [record for record in counted if _low(record, difference) > by_chance]
    known = [f"the baseline has {_count(counted[0], f'{name}_standard')}"]
    known += [f"the seed control has {_count(record, name)}" for record in controls[:1]]
    beside = "; ".join(known)
    if lost:
        return f"duplicates: {_places(view, lost, name)} are {what} ({beside}): the set lost pictures"
    most = max(counted, key=lambda record: record.results[name].value)
    if most.results[name].value:
        return f"duplicates: {_places(view, [most], name)} are {what}, too few to tell from chance ({beside})"
    return f"duplicates: no picture is {what} ({beside})"


def _diversity(view: RunView, name: str, what: str) -> str:
    """Return what is said of a ratio of diversities; nothing where no cell's interval lies below the others'."""
    controls = _controls(view, name)
    by_chance = min([1.0, *(record.results[name].value for record in controls)])
    lost = [record for record in view.records if _high(record, name) < by_chance]
    if not lost:
        return ""
    worst = min(lost, key=lambda record: record.results[name].value)
    control = "".join(f"; the seed control has {_ratio(record.results[name])}" for record in controls[:1])
    return f"{what}: {_place(view, worst)} has {_ratio(worst.results[name])} of the baseline's{control}"


def _controls(view: RunView, name: str) -> list[Record]:
    """Return the seed controls that have a result."""
    return [record for record in view.held_against("another-seed") if name in record.results]


def _encoders(records: Sequence[Record]) -> list[str]:
    """Return the encoders that looked for near duplicates, as ``<scorer>.<encoder>``."""
    return [name.removesuffix(NEAR) for name in result_names(records) if name.endswith(NEAR)]


def _entries(record: Record, encoder: str, axes: Sequence[str], repeats: bool) -> list[Entry]:
    """Return a row; without an encoder it ends with the exact duplicates, and the repeats if these are shown."""
    entries = [
        *(Entry(axis_text(getattr(record.config, axis))) for axis in axes),
        Entry(f"{record.config.tau:f}"),
        Entry(str(record.made_prompts) if record.plan else MISSING),
        Entry(_count(record, EXACT)),
        Entry(_count(record, f"{EXACT}_standard")),
        *([Entry(_count(record, REPEATS) if REPEATS in record.results else "0")] if repeats else []),
    ]
    if not encoder:
        return entries
    near = f"{encoder}{NEAR}"
    return [
        *entries,
        Entry(title(encoder.partition(".")[0])),
        Entry(_count(record, near)),
        Entry(_count(record, f"{near}_standard")),
        *(_entry(record.results.get(f"{encoder}{end}"), label) for _, end, label in COLUMNS),
    ]


def _entry(result: Result | None, label: Label) -> Entry:
    return Entry(label.number(result.value), label.interval(result)) if result else Entry(MISSING)


def _count(record: Record, name: str) -> str:
    return f"{record.results[name].value:.0f}" if name in record.results else MISSING


def _ratio(result: Result) -> str:
    return f"{SHARE.number(result.value)}% {SHARE.interval(result)}".rstrip()


def _places(view: RunView, records: Sequence[Record], name: str) -> str:
    """Return how many pictures of which cells, the one with most first; that one alone where there are many."""
    first, *others = [
        f"{_count(record, name)} of {_pictures(record, name)} pictures at {_place(view, record)}"
        for record in sorted(records, key=lambda record: -record.results[name].value)
    ]
    if len(others) > 2:
        return f"{first}, and fewer in {len(others)} other cells,"
    return ", ".join([first, *others])


def _pictures(record: Record, name: str) -> str:
    return str(record.results[f"{name}_difference"].n)


def _place(view: RunView, record: Record) -> str:
    where = [axis_text(getattr(record.config, axis)) for axis in view.naming_axes()]
    return f"tau {record.config.tau:f}" + (f" ({', '.join(where)})" if where else "")


def _low(record: Record, name: str) -> float:
    """Return the lower end of a result's interval; below all numbers where there is none."""
    result = record.results.get(name)
    return float("-inf") if result is None or result.low is None else result.low


def _high(record: Record, name: str) -> float:
    result = record.results.get(name)
    return float("inf") if result is None or result.high is None else result.high
