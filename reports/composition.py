"""Sharing and one other change of how pictures are made: what each costs alone, and what both cost together.

Four sets of pictures of the same prompts and seeds make a 2 x 2 design: the base's standard pictures, shared ones,
those of a variation of the base, and those that have both. Every score is compared with that of the base's standard
picture of the same prompt and seed; the interaction is what is left of the difference of both when those of each are
taken off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from metrics.over_seeds import pooled_difference
from metrics.statistics import Estimate, Floats
from reports.base import RunView, series_name
from reports.frame import axes_of, paired_metrics, result_names, varying_axes
from reports.labels import title
from reports.method_comparison import Place, joined, nearest, places, roots, wanted_savings
from reports.paired_scores import Read, better, metric_scores
from sweeps.record import BASE, CellConfig, Record, run_savings

MARGIN = 0.05  # of a score from 0 to 1: an interaction within it is none that matters here
EVERY_SET = "all sets"
STACKS, MORE, LESS, UNSETTLED = "stacks", "costs more together", "costs less together", "unsettled"
# what follows from a model's name: its family's features, and its own steps, scheduler and guidance
OF_MODEL = ("features", "steps", "scheduler", "guidance", "guidance_interval")


@dataclass(frozen=True)
class Composition:
    """A 2 x 2 design: sharing, a variation, both, and neither, at one share of steps saved.

    Attributes:
        config: the base's place on the axes, at tau 0 and of its first seed.
        dataset: the prompt set; `EVERY_SET` where those of several stand one after the other.
        variation: the setting that changes, as ``steps=10``.
        metric: what scores the pictures.
        savings: the share of denoiser evaluations that sharing was to save of the base's and of the variation's.
        shared, varied, both: by prompt set and seed, the records of the pictures that share, that have the variation,
            and that have both.
        of_sharing, of_variation, of_both: [S, N] for S seeds of N prompts, the score less that of the base's standard
            picture; more is better.
        roots_of_sharing, roots_of_variation, roots_of_both: the least number of draws of noise that a seed's prompts
            start from; None: not known.
    """

    config: CellConfig
    dataset: str
    variation: str
    metric: str
    savings: float
    shared: Mapping[Place, Record]
    varied: Mapping[Place, Record]
    both: Mapping[Place, Record]
    of_sharing: Floats
    of_variation: Floats
    of_both: Floats
    roots_of_sharing: int | None = None
    roots_of_variation: int | None = None
    roots_of_both: int | None = None

    @property
    def roots(self) -> int | None:
        """The least number of draws of noise behind any of its pictures; None: not known of all."""
        every = self.roots_of_sharing, self.roots_of_variation, self.roots_of_both
        known = [count for count in every if count is not None]
        return min(known) if len(known) == len(every) else None

    @cached_property
    def sharing(self) -> Estimate:
        """What sharing alone changes of the mean score."""
        return pooled_difference(self.of_sharing, self.roots_of_sharing)

    @cached_property
    def alone(self) -> Estimate:
        """What the variation alone changes."""
        return pooled_difference(self.of_variation, self.roots_of_variation)

    @cached_property
    def together(self) -> Estimate:
        """What both change."""
        return pooled_difference(self.of_both, self.roots_of_both)

    @cached_property
    def interaction(self) -> Estimate:
        """What both change beyond the sum of each: below 0, they cost more together than apart."""
        return pooled_difference(self.of_both - self.of_sharing - self.of_variation, self.roots)

    @property
    def verdict(self) -> str:
        """Whether they may be stacked, in words, by the interval of the interaction and `MARGIN`."""
        return verdict(self.interaction)

    def saved(self, records: Mapping[Place, Record], what: str) -> float | None:
        """Return the mean share that these pictures save of what the base's standard ones take; None if not counted.

        Args:
            records: `shared`, `varied` or `both`.
            what: ``rows`` for what the denoiser evaluates, two rows a step with guidance; ``steps``; or ``flops`` for
                those of the whole pipeline.
        """
        shares = [_saved(records[place], base, what) for place, base in self.shared.items()]
        known = [share for share in shares if share is not None]
        return float(np.mean(known)) if known and len(known) == len(shares) else None


@dataclass(frozen=True)
class Compositions:
    """Every 2 x 2 design of a run, the axes on which their bases differ, and what was left out and why."""

    found: tuple[Composition, ...]
    axes: tuple[str, ...]
    notes: tuple[str, ...]


def verdict(interaction: Estimate, margin: float = MARGIN) -> str:
    """Return what an interaction's interval says of stacking.

    Examples:
        >>> of = lambda low, high: verdict(Estimate((low + high) / 2, low, high, 60, "", 0.95))
        >>> of(-0.03, 0.02), of(-0.2, -0.01), of(0.01, 0.2), of(-0.1, 0.02)
        ('stacks', 'costs more together', 'costs less together', 'unsettled')
    """
    if interaction.low is None or interaction.high is None:
        return UNSETTLED
    if -margin < interaction.low and interaction.high < margin:
        return STACKS
    return MORE if interaction.high < 0 else LESS if interaction.low > 0 else UNSETTLED


def compositions(run: RunView) -> Compositions:
    """Return every 2 x 2 design of a run, prompt set by prompt set and, of several, over all of them.

    A variation's cells are matched with the base's that differ from them in the variation's own setting alone, at
    savings that are nearly the same. Call it as `run.once(compositions)`.
    """
    base = [record for record in run.records if record.config.variation == BASE]
    varied: dict[str, list[Record]] = {}
    for record in run.records:
        if record.config.variation != BASE:
            varied.setdefault(record.config.variation, []).append(record)
    read, asked_for = cache(metric_scores), run_savings(run.path)
    found: list[Composition] = []
    notes: list[str] = []
    for variation, records in varied.items():
        for metric in paired_metrics(result_names(records)):
            for way in _ways(base, variation):
                others = _by_settings([record for record in records if _key(record.config, variation) == way])
                own = _by_settings([record for record in base if _key(record.config, variation) == way])
                for settings, mine in own.items() if others else ():
                    nearest_settings = max(others, key=partial(_in_common, settings))
                    try:
                        found += _of_way(run, variation, metric, mine, others[nearest_settings], asked_for, read)
                    except UserError as error:
                        notes.append(f"{variation} is left out for {title(metric)}: {error}")
    axes = [axis for axis in varying_axes(base) if axis not in ("dataset", "seed")]
    return Compositions(tuple(found), tuple(axes), tuple(notes))


def named(composition: Composition, axes: Sequence[str]) -> str:
    """Return a design in words: its base, by the axes on which bases differ, what is stacked, the share saved."""
    base = series_name(composition.config, axes)
    return ", ".join(filter(None, [base, composition.variation])) + f" at {100 * composition.savings:.0f}% saved"


def widest(found: Sequence[Composition]) -> list[Composition]:
    """Return the designs over all prompt sets; of a run over one set, all."""
    return [one for one in found if one.dataset == EVERY_SET] or list(found)


def in_words(run: RunView) -> tuple[str, tuple[str, ...]] | None:
    """Return the question that a run of 2 x 2 designs answers, and a line for each verdict; None for other runs."""
    all_of = run.once(compositions)
    if not all_of.found:
        return None
    metric = all_of.found[0].metric
    found = [one for one in widest(all_of.found) if one.metric == metric]
    said = {
        STACKS: f"Stacks with sharing, as what both lose beyond the sum of each is shown to be within {MARGIN:g}",
        MORE: "Costs more together than apart",
        LESS: "Costs less together than apart",
        UNSETTLED: "Not settled, for want of prompts or seeds",
    }
    lines = [
        f"{words}: {'; '.join(_told(one, all_of.axes) for one in found if one.verdict == verdict)}."
        for verdict, words in said.items()
        if any(one.verdict == verdict for one in found)
    ]
    return "What may be stacked with sharing?", (
        *lines,
        f"In brackets: the interaction in {score_name(run, metric)}, with its 95% interval.",
    )


def score_name(run: RunView, metric: str) -> str:
    """Return what a metric's score is called, as ``VQAScore``."""
    names = (name for name in result_names(run.records) if name.startswith(f"{metric}.") and name.endswith("_mean"))
    mean = next(names, None)
    return run.label(mean).text if mean else title(metric)


def _told(one: Composition, axes: Sequence[str]) -> str:
    estimate = one.interaction
    ends = "" if estimate.low is None else f" [{estimate.low:+.3f}, {estimate.high:+.3f}]"
    return f"{named(one, axes)} ({estimate.value:+.3f}{ends})"


def _ways(base: Sequence[Record], variation: str) -> list[CellConfig]:
    return list(dict.fromkeys(_key(record.config, variation) for record in base))


def _key(asked: CellConfig, variation: str) -> CellConfig:
    """Return the place that a variation's cells have in common with those of the base that they are held against."""
    name = variation.partition("=")[0].replace("-", "_")
    blank = [name, *OF_MODEL] if name == "model" else [name]
    known = {axis for axis in axes_of([asked]) if axis in blank}
    update = {axis: type(getattr(asked, axis))() for axis in known}
    return asked.model_copy(update={**update, "tau": 0, "dataset": "", "seed": 0, "variation": BASE})


def _by_settings(records: Sequence[Record]) -> dict[CellConfig, list[Record]]:
    """Group cells by what they have in common beside prompts, seed and tau."""
    groups: dict[CellConfig, list[Record]] = {}
    for record in records:
        groups.setdefault(record.config.model_copy(update={"tau": 0, "dataset": "", "seed": 0}), []).append(record)
    return groups


def _in_common(one: CellConfig, other: CellConfig) -> int:
    """Return on how many axes two places agree."""
    return sum(getattr(one, axis) == getattr(other, axis) for axis in axes_of([one]))


def _of_way(
    run: RunView,
    variation: str,
    metric: str,
    base: Sequence[Record],
    varied: Sequence[Record],
    asked_for: Sequence[float],
    read: Read,
) -> list[Composition]:
    """Return the designs of one base and one variation of it: at each share saved, each set, then all of them."""
    sharing = {BASE: _by_place(base), variation: _by_place(varied)}
    common = [place for place in places(sharing) if all(place in cells for cells in sharing.values())]
    alone = {place: record for record in varied if not record.config.tau for place in [_place(record)]}
    found = []
    for savings, wanted in wanted_savings(sharing, common, asked_for):
        shared, both = nearest(sharing[BASE], wanted), nearest(sharing[variation], wanted)
        if not shared or not both or not all(place in alone for place in shared):
            continue
        sets = list(dict.fromkeys(dataset for dataset, _ in shared))
        for chosen in [*([name] for name in sets), *([sets] if len(sets) > 1 else [])]:
            four = [
                {place: record for place, record in cells.items() if place[0] in chosen}
                for cells in (shared, {place: alone[place] for place in shared}, both)
            ]
            name = chosen[0] if len(chosen) == 1 else EVERY_SET
            found.append(_composition(run, variation, metric, savings, name, four, read))
    return found


def _composition(
    run: RunView,
    variation: str,
    metric: str,
    savings: float,
    dataset: str,
    cells: Sequence[Mapping[Place, Record]],
    read: Read,
) -> Composition:
    shared, varied, both = cells
    first = next(iter(shared.values()))
    sign = better(first, metric)

    def scores(records: Mapping[Place, Record], *, of_baseline: bool = False) -> Floats:
        return joined(records, lambda record: _scores(run, record, metric, read, of_baseline))

    standard = scores(shared, of_baseline=True)
    tables = [scores(records) for records in cells]
    if any(table.shape != standard.shape for table in tables):
        raise UserError("its cells have different numbers of prompts or seeds", "run it as one sweep")
    of_sharing, of_variation, of_both = (sign * (table - standard) for table in tables)
    config = first.config.model_copy(update={"tau": 0})
    measured = shared, varied, both, of_sharing, of_variation, of_both
    draws = (roots(run, records) for records in cells)
    return Composition(config, dataset, variation, metric, savings, *measured, *draws)


def _scores(run: RunView, record: Record, metric: str, read: Read, of_baseline: bool) -> NDArray[np.float64]:
    """Return a score a prompt: the mean of its copies, where it has several."""
    values = read(record.baseline_scores(run.path) if of_baseline else record.scores(run.path), metric)
    times = 1 if record.sample else record.per_prompt or 1
    return np.asarray(values.reshape(-1, times).mean(axis=1))


def _by_place(records: Sequence[Record]) -> dict[Place, list[Record]]:
    """Return the cells that share, by prompt set and seed."""
    found: dict[Place, list[Record]] = {}
    for record in records:
        if record.config.tau and record.plan:
            found.setdefault(_place(record), []).append(record)
    return found


def _place(record: Record) -> Place:
    return record.config.dataset, record.config.seed


def _saved(record: Record, base: Record, what: str) -> float | None:
    ours, whole = _counted(record, what), _counted(base, what, of_baseline=True)
    return None if ours is None or not whole else 1 - ours / whole


def _counted(record: Record, what: str, *, of_baseline: bool = False) -> float | None:
    counted = record.flops if what == "flops" else record.plan
    ours, baseline = {
        "steps": ("node_steps", "baseline_node_steps"),
        "rows": ("nfe", "baseline_nfe"),
        "flops": ("total", "baseline_total"),
    }[what]
    return getattr(counted, baseline if of_baseline else ours) if counted else None
