"""Savings of models conditioned on image embeddings against those of models conditioned on text."""

from collections.abc import Sequence
from typing import Any, ClassVar

from metrics.parity import DIFFERENCE_METHOD, GAP, RESAMPLES
from metrics.statistics import Estimate
from reports.base import RunView, Table, series_name
from reports.labels import Label
from reports.parity import SHARING, Contrast, parity_curves
from reports.sheet import Column, Entry, Sheet
from reports.tables.savings_at_parity import tolerance

SHARE, POINTS = Label("", "fraction"), Label("", "fraction", signed=True)
ALL = "all"


class ImageAgainstText(Table):
    """Mean savings at parity of image-conditioned models less those of text-conditioned ones, by prompt set."""

    name = "image_against_text"
    rank: ClassVar[int] = 2

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        contrasts = run.once(parity_curves).contrasts()
        if not contrasts:
            return None
        settings = names(contrasts)
        named = any(settings)
        columns = [
            *([Column("setting", numeric=False, key=True)] if named else []),
            Column("prompt set", numeric=False, key=True),
            Column("image-conditioned, %"),
            Column("text-conditioned, %"),
            Column("difference, points"),
        ]
        rows, data = [], []
        for contrast, setting in zip(contrasts, settings, strict=True):
            for name, datasets in _parts(contrast).items():
                texts = [setting, name] if named else [name]
                values = contrast.means(datasets)
                difference = contrast.difference(datasets)
                rows.append(
                    [
                        *(Entry(text) for text in texts),
                        *(Entry(SHARE.number(value)) for value in values),
                        Entry(POINTS.number(difference.value), _interval(difference)),
                    ]
                )
                data.append(_row(contrast, setting, name, values, difference, run.delta))
        caption = f"savings at parity, down to an estimated win rate of {tolerance(run.delta)}, by conditioning"
        notes = [note for pair in zip(contrasts, settings, strict=True) for note in _notes(*pair)]
        return Sheet(columns, rows, pd.DataFrame(data), caption, list(dict.fromkeys(notes)))


def names(contrasts: Sequence[Contrast]) -> list[str]:
    """Return the text that tells each contrast from the others; empty where there is one."""
    axes = [axis for axis in SHARING if len({getattr(contrast.sharing, axis) for contrast in contrasts}) > 1]
    metrics = len({contrast.metric for contrast in contrasts}) > 1
    parts = [[series_name(contrast.sharing, axes), contrast.metric if metrics else ""] for contrast in contrasts]
    return [", ".join(filter(None, part)) for part in parts]


def sentence(contrast: Contrast, setting: str = "") -> str:
    """Return the difference over all prompt sets with its interval, and a limit of that evidence."""
    estimate = contrast.difference()
    interval = f", 95% interval {_interval(estimate)}" if _interval(estimate) else ""
    where, points = f" ({setting})" if setting else "", POINTS.number(estimate.value)
    return f"image-conditioned less text-conditioned{where}: {points} points{interval}; {contrast.caveat}"


def _notes(contrast: Contrast, setting: str) -> list[str]:
    """Return the sentence, the models of each group, and how far the interval can be believed."""
    groups = [
        f"{group_name}: {', '.join(dict.fromkeys(curve.config.model for curves in group.values() for curve in curves))}"
        for group_name, group in (("image-conditioned", contrast.image), ("text-conditioned", contrast.text))
    ]
    notes = [
        sentence(contrast, setting),
        "; ".join(groups),
        f"95% intervals: {DIFFERENCE_METHOD} ({RESAMPLES:,} resamples, both groups on the same ones); "
        "models and prompt sets are not resampled",
    ]
    most = ", ".join(f"{SHARE.number(contrast.most(dataset))}% ({dataset})" for dataset in contrast.image)
    notes.append(f"savings count up to the most that all models of a prompt set were measured to: {most}")
    if unfinished := sum(curve.parity.value.at_least for curve in contrast.curves):
        notes.append(
            f"{unfinished} of {len(contrast.curves)} curves are not below the line at the highest savings measured: "
            "they count with those"
        )
    if gaps := sum(bool(curve.parity.value.gap) for curve in contrast.curves):
        notes.append(
            f"{gaps} of {len(contrast.curves)} curves fall between two taus more than {100 * GAP:g} points apart: "
            "a straight line stands for what was not measured there"
        )
    return notes


def _parts(contrast: Contrast) -> dict[str, list[str]]:
    """Return the prompt sets of each row."""
    single = {dataset: [dataset] for dataset in contrast.image}
    return {**single, ALL: list(single)} if len(single) > 1 else single


def _interval(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return ""
    return f"[{POINTS.number(difference.low)}, {POINTS.number(difference.high)}]"


def _row(
    contrast: Contrast, setting: str, name: str, values: Sequence[float], difference: Estimate, delta: float
) -> dict[str, Any]:
    return {
        "metric": contrast.metric,
        **{axis: getattr(contrast.sharing, axis) for axis in SHARING},
        "setting": setting,
        "dataset": name,
        "image": values[0],
        "text": values[1],
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "delta": delta,
    }
