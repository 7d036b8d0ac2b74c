"""The summary table of a run: savings, cost in quality, and uncertainty of each cell."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from metrics.parity import DELTA
from reports.base import RunView, Table
from reports.claims import cell_claim
from reports.frame import SHARED, frame, paired_metrics, result_names, shared_axes, varying_axes, wall_savings
from reports.labels import MISSING, Label, axis_text, is_detail, label, p_value, title
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance
from sweeps.record import Record, Result

if TYPE_CHECKING:
    import pandas as pd

Filled: TypeAlias = tuple[Column, Callable[[Record], Entry]]


class Summary(Table):
    """The cells of a run, a row each: savings, cost in quality, and their intervals."""

    name = "summary"
    rank: ClassVar[int] = 0

    def sheet(self, run: RunView) -> Sheet:
        return summary([*run.records, *run.references, *run.failed], run.delta)


def summary(records: Sequence[Record], delta: float = DELTA) -> Sheet:
    """Return the finished ones of these records in their order: axes that vary, tau, savings, headline results.

    Failed ones are notes, and rows of the data.

    Args:
        records: finished and failed ones.
        delta: the non-inferiority margin: how far below 1/2 a win rate may lie and still be no worse.
    """
    done = [record for record in records if record.status == "done"]
    tested = paired_metrics(result_names(done))
    columns: list[Filled] = [
        *(_axis(name, done) for name in varying_axes(done)),
        (Column("tau", key=True), lambda record: Entry(f"{record.config.tau:f}")),
        _share("steps saved", lambda record: record.plan.savings if record.plan else None),
        _share("FLOPs saved", lambda record: record.flops.savings if record.flops else None),
        *(
            [_share("wall time saved", wall_savings)]
            if any(wall_savings(record) is not None for record in done)
            else []
        ),
        *_figures(done, delta),
    ]
    return Sheet(
        [column for column, _ in columns],
        rows=[[entry(record) for _, entry in columns] for record in done],
        data=_data(records, tested, delta),
        caption=_caption(done),
        notes=[*([_test(delta)] if tested else []), *_notes(records)],
        groups=[record.config.model_copy(update={"tau": 0}) for record in done],
    )


def _data(records: Sequence[Record], tested: Sequence[str], delta: float) -> "pd.DataFrame":
    data = frame(records)
    for metric in tested:
        data[f"{metric}.no_worse_p"] = [_p(record, metric, delta) for record in records]
    return data.assign(delta=delta) if tested else data


def headline(names: Sequence[str], records: Sequence[Record] = ()) -> list[str]:
    """Return the results that a summary shows; the CSV file has all.

    For a metric with a win rate: that, the ties and the paired difference; for any other: all but differences and
    what these records call details, which another table has.
    """
    paired = paired_metrics(names)

    def shown(name: str) -> bool:
        metric, _, figure = name.partition(".")
        difference = figure.endswith("difference")
        if metric in paired:
            return difference or figure in ("ties", "win_rate")
        return not difference and not is_detail(name, records)

    return [name for name in names if shown(name)]


def _figures(records: Sequence[Record], delta: float) -> list[Filled]:
    """Return, metric by metric, the headline results and, for one with a win rate, the non-inferiority test."""
    by_metric: dict[str, list[str]] = {}
    for name in headline(result_names(records), records):
        by_metric.setdefault(name.partition(".")[0], []).append(name)
    tested = paired_metrics(result_names(records))
    columns: list[Filled] = []
    for metric, names in by_metric.items():
        columns += [_figure(name, label(name, records)) for name in names]
        columns += [_noninferiority(metric, delta)] if metric in tested else []
    return columns


def _noninferiority(metric: str, delta: float) -> Filled:
    return Column("non-inferiority p"), lambda record: Entry(p_value(_p(record, metric, delta)))


def _p(record: Record, metric: str, delta: float) -> float | None:
    claim = cell_claim(record, metric, delta)
    return claim.noninferiority_p if claim else None


def _test(delta: float) -> str:
    return f"non-inferiority p: one-sided, of a win rate above {tolerance(delta)}; the table `claims` has it corrected"


def _axis(name: str, records: Sequence[Record]) -> Filled:
    numeric = not isinstance(getattr(records[0].config, name), str)
    return Column(name, numeric, key=True), lambda record: Entry(axis_text(getattr(record.config, name)))


def _share(text: str, value: Callable[[Record], float | None]) -> Filled:
    result_label = Label(text, "fraction")
    return Column(result_label.heading), lambda record: Entry(result_label.number(value(record)))


def _figure(name: str, result_label: Label) -> Filled:
    def entry(record: Record) -> Entry:
        figure = record.results.get(name)
        return Entry(result_label.number(figure.value), result_label.interval(figure)) if figure else Entry(MISSING)

    return Column(result_label.heading), entry


def _caption(records: Sequence[Record]) -> str:
    if not records:
        return "no finished cell"
    shared = [f"{name} {axis_text(value)}" for name, value in shared_axes(records).items()]
    counts = {record.plan.n_prompts for record in records if record.plan}
    return ", ".join([*shared, *(f"{n} prompts" for n in counts if len(counts) == 1)])


def _notes(records: Sequence[Record]) -> list[str]:
    """Return the interval methods, the scorers and the failures; dictionaries stand in for ordered sets."""
    methods: dict[str, dict[str, None]] = {}
    scorers: dict[str, None] = {}
    for record in records:
        for name in headline(list(record.results), [record]):
            if method := _interval_method(record.results[name]):
                methods.setdefault(method, {})[label(name, [record]).text] = None
        for name, scorer_info in record.scorers.items():
            scorers[f"{title(name)} {scorer_info.get('checkpoint', '')}".strip()] = None
    intervals = [f"{method} ({'; '.join(headings)})" for method, headings in methods.items()]
    notes = [f"95% intervals: {', '.join(intervals)}"] if intervals else []
    notes += [f"scorers: {', '.join(scorers)}"] if scorers else []
    notes += [SHARED] if any(record.shared_seconds for record in records) else []
    return [*notes, *(_failure(record) for record in records if record.error)]


def _interval_method(figure: Result) -> str | None:
    estimated = figure.low is not None and figure.high is not None and figure.low < figure.high
    return figure.method if estimated else None


def _failure(record: Record) -> str:
    asked, error = record.config, record.error
    hint = f" ({error.hint})" if error and error.hint else ""
    return f"failed: tau {asked.tau:f} of {asked.model} on {asked.dataset}: {error and error.message}{hint}"
