"""The summary table of a run: what each cell saved, what it cost, and how sure that is."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from metrics.parity import DELTA
from reports.base import RunView, Table
from reports.claims import claim
from reports.frame import SHARED, figure_names, frame, paired_metrics, shared_axes, varying_axes, wall_savings
from reports.labels import MISSING, Label, axis_text, label, p_value, title
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance
from sweeps.record import Figure, Record

if TYPE_CHECKING:
    import pandas as pd

Filled: TypeAlias = tuple[Column, Callable[[Record], Entry]]


class Summary(Table):
    """The cells of a run, one row each: what each saved, what it cost, and how sure that is."""

    name = "summary"
    rank: ClassVar[int] = 0

    def sheet(self, run: RunView) -> Sheet:
        return summary([*run.records, *run.references, *run.failed], run.delta)


def summary(records: Sequence[Record], delta: float = DELTA) -> Sheet:
    """The finished ones of these records in their order: axes that vary, tau, savings, headline figures.

    Failed ones are notes, and rows of the data.

    Args:
        records: finished and failed ones.
        delta: how far below 1/2 a win rate may lie and still be no worse.
    """
    done = [record for record in records if record.status == "done"]
    tested = paired_metrics(figure_names(done))
    filled: list[Filled] = [
        *(_axis(name, done) for name in varying_axes(done)),
        (Column("tau", key=True), lambda record: Entry(f"{record.asked.tau:f}")),
        _share("steps saved", lambda record: record.plan.savings if record.plan else None),
        _share("FLOPs saved", lambda record: record.flops.savings if record.flops else None),
        *([_share("wall time saved", wall_savings)] if any(wall_savings(each) is not None for each in done) else []),
        *_figures(done, delta),
    ]
    return Sheet(
        [column for column, _ in filled],
        rows=[[entry(record) for _, entry in filled] for record in done],
        data=_data(records, tested, delta),
        caption=_caption(done),
        notes=[*([_test(delta)] if tested else []), *_notes(records)],
        groups=[record.asked.model_copy(update={"tau": 0}) for record in done],
    )


def _data(records: Sequence[Record], tested: Sequence[str], delta: float) -> "pd.DataFrame":
    data = frame(records)
    for metric in tested:
        data[f"{metric}.no_worse_p"] = [_p(record, metric, delta) for record in records]
    return data.assign(delta=delta) if tested else data


def headline(names: Sequence[str]) -> list[str]:
    """The figures that a summary shows; the CSV file has all.

    Of a metric with a win rate, that, the ties and the paired difference; of any other, all but differences.
    """
    paired = paired_metrics(names)

    def shown(name: str) -> bool:
        metric, _, figure = name.partition(".")
        difference = figure.endswith("difference")
        return (difference or figure in ("ties", "win_rate")) if metric in paired else not difference

    return [name for name in names if shown(name)]


def _figures(records: Sequence[Record], delta: float) -> list[Filled]:
    """Metric by metric, its headline figures and, where it has a win rate, the test that this is no worse."""
    by_metric: dict[str, list[str]] = {}
    for name in headline(figure_names(records)):
        by_metric.setdefault(name.partition(".")[0], []).append(name)
    tested = paired_metrics(figure_names(records))
    filled: list[Filled] = []
    for metric, names in by_metric.items():
        filled += [_figure(name, label(name, records)) for name in names]
        filled += [_no_worse(metric, delta)] if metric in tested else []
    return filled


def _no_worse(metric: str, delta: float) -> Filled:
    return Column("no worse p"), lambda record: Entry(p_value(_p(record, metric, delta)))


def _p(record: Record, metric: str, delta: float) -> float | None:
    found = claim(record, metric, delta)
    return found.no_worse_p if found else None


def _test(delta: float) -> str:
    return f"no worse p: one-sided, of a win rate above {tolerance(delta)}; each by itself, the claims are corrected"


def _axis(name: str, records: Sequence[Record]) -> Filled:
    numeric = not isinstance(getattr(records[0].asked, name), str)
    return Column(name, numeric, key=True), lambda record: Entry(axis_text(getattr(record.asked, name)))


def _share(text: str, value: Callable[[Record], float | None]) -> Filled:
    about = Label(text, "fraction")
    return Column(about.heading), lambda record: Entry(about.number(value(record)))


def _figure(name: str, about: Label) -> Filled:
    def entry(record: Record) -> Entry:
        figure = record.figures.get(name)
        return Entry(about.number(figure.value), about.interval(figure)) if figure else Entry(MISSING)

    return Column(about.heading), entry


def _caption(records: Sequence[Record]) -> str:
    if not records:
        return "no finished cell"
    shared = [f"{name} {axis_text(value)}" for name, value in shared_axes(records).items()]
    counts = {record.plan.n_prompts for record in records if record.plan}
    return ", ".join([*shared, *(f"{n} prompts" for n in counts if len(counts) == 1)])


def _notes(records: Sequence[Record]) -> list[str]:
    """Dictionaries stand in for ordered sets."""
    methods: dict[str, dict[str, None]] = {}
    scorers: dict[str, None] = {}
    for record in records:
        for name in headline(list(record.figures)):
            if method := _interval_method(record.figures[name]):
                methods.setdefault(method, {})[label(name, [record]).text] = None
        for name, about in record.scorers.items():
            scorers[f"{title(name)} {about.get('checkpoint', '')}".strip()] = None
    intervals = [f"{method} ({'; '.join(headings)})" for method, headings in methods.items()]
    notes = [f"95% intervals: {', '.join(intervals)}"] if intervals else []
    notes += [f"scorers: {', '.join(scorers)}"] if scorers else []
    notes += [SHARED] if any(record.shared_seconds for record in records) else []
    return [*notes, *(_failure(record) for record in records if record.error)]


def _interval_method(figure: Figure) -> str | None:
    estimated = figure.low is not None and figure.high is not None and figure.low < figure.high
    return figure.method if estimated else None


def _failure(record: Record) -> str:
    asked, error = record.asked, record.error
    hint = f" ({error.hint})" if error and error.hint else ""
    return f"failed: tau {asked.tau:f} of {asked.model} on {asked.dataset}: {error and error.message}{hint}"
