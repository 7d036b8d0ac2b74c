"""The summary table of a run: savings, cost in quality, and uncertainty of each way to share, its seeds pooled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from common.errors import UserError
from metrics.duplicates import REPEATS, WHAT_REPEATS
from reports.base import RunView, Table
from reports.claims import BASELINE_MEAN, BROKEN, claim_of
from reports.frame import SHARED, frame, paired_metrics, result_names, shared_axes, varying_axes, wall_savings
from reports.labels import MISSING, Label, axis_text, is_detail, label, p_value, title
from reports.paired_scores import metric_scores
from reports.pooling import noise_draws, pooled_record, ways
from reports.sheet import Column, Entry, Sheet
from reports.tables.claims import roots_notes, roots_text
from reports.tables.savings_at_parity import tolerance
from sweeps.record import Record, Result

if TYPE_CHECKING:
    import pandas as pd

BLANK = "pictures.blank"
NEGLIGIBLE = 5e-4  # of a share: it is shown as the same
POOLED = "a row is all seeds of a way to share; results without an interval are means over seeds; `seeds` has each seed"
Filled: TypeAlias = tuple[Column, Callable[[Record], Entry]]


@dataclass(frozen=True)
class Line:
    """A way to share, or a reference: all its seeds as one record.

    Attributes:
        record: the seeds' pooled record.
        seeds: the seeds' records.
        roots: the number of draws of noise that a seed's prompts start from; None where not known.
        noninferiority_p: by metric; None where nothing was tested.
        broken: metrics by which the baseline is broken.
    """

    record: Record
    seeds: tuple[Record, ...]
    roots: int | None
    noninferiority_p: Mapping[str, float | None]
    broken: tuple[str, ...] = ()


class Summary(Table):
    """The ways to share of a run, a row each, their seeds pooled: savings, cost in quality, and their intervals."""

    name = "summary"
    rank: ClassVar[int] = 0

    def sheet(self, run: RunView) -> Sheet:
        return summary(run, ways([*run.records, *run.references]))


def summary(run: RunView, groups: Sequence[tuple[Record, ...]]) -> Sheet:
    """Return a row for each group of finished records that differ in seed alone: what varies, savings, results.

    Failed cells are notes, and rows of the data.

    Args:
        run: the view of the run.
        groups: in the order of the rows.
    """
    lines, notes = [], []
    for group in groups:
        try:
            lines.append(_line(run, group))
        except UserError as error:
            notes.append(f"tau {group[0].config.tau:f} of {group[0].config.model} is left out: {error}")
    records = [line.record for line in lines]
    tested = paired_metrics(result_names(records))
    of_record = {id(line.record): line for line in lines}
    several = any(len(line.seeds) > 1 for line in lines)
    axes = [axis for axis in varying_axes(records) if not (several and axis == "seed")]
    columns: list[Filled] = [
        *(_axis(name, records) for name in axes),
        (Column("tau", key=True), lambda record: Entry(f"{record.config.tau:f}")),
        *([(Column("seeds"), lambda record: Entry(str(len(of_record[id(record)].seeds))))] if several else []),
        *(
            [(Column("roots"), lambda record: Entry(roots_text(of_record[id(record)].roots)))]
            if any(line.roots is not None for line in lines)
            else []
        ),
        _share("steps saved", lambda record: record.plan.savings if record.plan else None),
        *([_share("NFE saved", _nfe_savings)] if any(map(_other_rows, records)) else []),
        _share("FLOPs saved", lambda record: record.flops.savings if record.flops else None),
        *(
            [_share("wall time saved", wall_savings)]
            if any(wall_savings(record) is not None for record in records)
            else []
        ),
        *_figures(records, of_record),
    ]
    every = [record for line in lines for record in line.seeds]
    return Sheet(
        [column for column, _ in columns],
        rows=[[entry(record) for _, entry in columns] for record in records],
        data=_data(run, lines, tested),
        caption=_caption(records, several),
        notes=[
            *([_test(run.delta)] if tested else []),
            *roots_notes([(len(line.seeds), line.roots) for line in lines]),
            *([POOLED] if several else []),
            *_broken_notes(lines),
            *_notes(records, every, run.failed),
            *notes,
        ],
        groups=[record.config.model_copy(update={"tau": 0}) for record in records],
    )


def _nfe_savings(record: Record) -> float | None:
    return record.plan.nfe_savings if record.plan else None


def _other_rows(record: Record) -> bool:
    """Return whether rows of the denoiser and node-steps are not saved alike: guidance was left out, or rows reused."""
    saved = _nfe_savings(record)
    return saved is not None and record.plan is not None and abs(saved - record.plan.savings) > NEGLIGIBLE


def _line(run: RunView, group: tuple[Record, ...]) -> Line:
    claims = {}
    for metric in paired_metrics(result_names(group)):
        if claim := claim_of(run, group, metric, metric_scores):
            claims[metric] = claim
    return Line(
        pooled_record(run.path, group, metric_scores),
        group,
        noise_draws(run.path, group),
        {metric: claim.noninferiority_p for metric, claim in claims.items()},
        tuple(metric for metric, claim in claims.items() if claim.broken),
    )


def _data(run: RunView, lines: Sequence[Line], tested: Sequence[str]) -> "pd.DataFrame":
    data = frame([*(line.record for line in lines), *run.failed])
    data["id"] = [
        *(" ".join(record.id for record in line.seeds) for line in lines),
        *(record.id for record in run.failed),
    ]
    padding = [None] * len(run.failed)
    data.insert(
        list(data.columns).index("seed") + 1 if "seed" in data else len(data.columns),
        "seeds",
        [*(" ".join(str(record.config.seed) for record in line.seeds) for line in lines), *padding],
    )
    data["roots"] = [*(line.roots for line in lines), *padding]
    for metric in tested:
        data[f"{metric}.no_worse_p"] = [*(line.noninferiority_p.get(metric) for line in lines), *padding]
    return data.assign(delta=run.delta) if tested else data


def headline(names: Sequence[str], records: Sequence[Record] = ()) -> list[str]:
    """Return the results that a summary shows; the CSV file has all.

    For a metric with a win rate: that, the ties, the paired difference and both mean scores; for any other: all but
    differences and what these records call details, which another table has.
    """
    paired = paired_metrics(names)

    def shown(name: str) -> bool:
        metric, _, figure = name.partition(".")
        difference = figure.endswith("difference")
        mean = figure.endswith(("_mean", BASELINE_MEAN))
        if metric in paired:
            return difference or mean or figure in ("ties", "win_rate")
        return not difference and not is_detail(name, records)

    return [name for name in names if shown(name)]


def _figures(records: Sequence[Record], lines: Mapping[int, Line]) -> list[Filled]:
    """Return, metric by metric, the headline results and, for one with a win rate, the non-inferiority test."""
    by_metric: dict[str, list[str]] = {}
    for name in headline(result_names(records), records):
        by_metric.setdefault(name.partition(".")[0], []).append(name)
    tested = paired_metrics(result_names(records))
    columns: list[Filled] = []
    for metric, names in by_metric.items():
        columns += [_figure(name, label(name, records)) for name in names]
        columns += [_noninferiority(metric, lines)] if metric in tested else []
    return columns


def _noninferiority(metric: str, lines: Mapping[int, Line]) -> Filled:
    def entry(record: Record) -> Entry:
        line = lines[id(record)]
        return Entry(BROKEN if metric in line.broken else p_value(line.noninferiority_p.get(metric)))

    return Column("non-inferiority p"), entry


def _broken_notes(lines: Sequence[Line]) -> list[str]:
    """Return which scorers say of the baseline's own pictures that they do not show their prompts; mostly nothing."""
    metrics = dict.fromkeys(metric for line in lines for metric in line.broken)
    return [f"{BROKEN}: by {title(metric)} the baseline's own pictures do not show their prompts" for metric in metrics]


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


def _caption(records: Sequence[Record], several: bool) -> str:
    if not records:
        return "no finished cell"
    shared = [
        f"{name} {axis_text(value)}" for name, value in shared_axes(records).items() if not (several and name == "seed")
    ]
    planned = [record for record in records if record.plan]
    counts = {record.sample.text if record.sample else f"{record.made_prompts} prompts" for record in planned}
    return ", ".join([*shared, *(counts if len(counts) == 1 else ())])


def _notes(records: Sequence[Record], every: Sequence[Record], failed: Sequence[Record]) -> list[str]:
    """Return the interval methods, the scorers and the failures; dictionaries stand in for ordered sets."""
    methods: dict[str, dict[str, None]] = {}
    scorers: dict[str, None] = {}
    for record in records:
        for name in headline(list(record.results), [record]):
            if method := _interval_method(record.results[name]):
                methods.setdefault(method, {})[label(name, [record]).text] = None
    for record in every:
        for name, scorer_info in record.scorers.items():
            scorers[f"{title(name)} {scorer_info.get('checkpoint', '')}".strip()] = None
    intervals = [f"{method} ({'; '.join(headings)})" for method, headings in methods.items()]
    notes = [f"95% intervals: {', '.join(intervals)}"] if intervals else []
    notes += [f"scorers: {', '.join(scorers)}"] if scorers else []
    notes += [WHAT_REPEATS] if any(REPEATS in record.results for record in every) else []
    notes += _blank_notes(every)
    notes += [SHARED] if any(record.shared_seconds for record in every) else []
    return [*notes, *(_failure(record) for record in failed)]


def _blank_notes(records: Sequence[Record]) -> list[str]:
    """Return where pictures are of one colour, so that nothing is shown; mostly nothing."""
    cells = [record for record in records if record.results.get(BLANK, Result(value=0)).value]
    said = [f"{record.results[BLANK].value:.0f} at tau {record.config.tau:f}" for record in cells]
    baselines = [value.value for record in records if (value := record.results.get(f"{BLANK}_standard"))]
    said += [f"{max(baselines):.0f} of a baseline"] if any(baselines) else []
    return [f"pictures of one colour, which show nothing: {', '.join(dict.fromkeys(said))}"] if said else []


def _interval_method(figure: Result) -> str | None:
    estimated = figure.low is not None and figure.high is not None and figure.low < figure.high
    return figure.method if estimated else None


def _failure(record: Record) -> str:
    asked, error = record.config, record.error
    hint = f" ({error.hint})" if error and error.hint else ""
    return f"failed: tau {asked.tau:f} of {asked.model} on {asked.dataset}: {error and error.message}{hint}"
