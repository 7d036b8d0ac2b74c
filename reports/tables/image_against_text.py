"""Do models that are conditioned on image embeddings share better than those conditioned on text?"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from metrics.parity import DIFFERENCE_METHOD, RESAMPLES
from metrics.statistics import Estimate
from reports.base import RunView, Table, series_name
from reports.labels import Label
from reports.parity import SHARING, Contrast, Curve, parities
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

        contrasts = run.once(parities).contrasts()
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
                values = [_mean(group, datasets) for group in (contrast.image, contrast.text)]
                difference = contrast.difference(datasets)
                rows.append(
                    [
                        *(Entry(text) for text in texts),
                        *(Entry(SHARE.number(value)) for value in values),
                        Entry(POINTS.number(difference.value), _interval(difference)),
                    ]
                )
                data.append(_row(contrast, setting, name, values, difference, run.delta))
        caption = (
            f"savings at parity, down to a lower bound of {tolerance(run.delta)}, by what models are conditioned on"
        )
        notes = [note for pair in zip(contrasts, settings, strict=True) for note in _notes(*pair)]
        return Sheet(columns, rows, pd.DataFrame(data), caption, list(dict.fromkeys(notes)))


def names(contrasts: Sequence[Contrast]) -> list[str]:
    """What tells them apart; empty where there is one."""
    axes = [axis for axis in SHARING if len({getattr(each.sharing, axis) for each in contrasts}) > 1]
    metrics = len({each.metric for each in contrasts}) > 1
    parts = [[series_name(each.sharing, axes), each.metric if metrics else ""] for each in contrasts]
    return [", ".join(filter(None, each)) for each in parts]


def sentence(contrast: Contrast, setting: str = "") -> str:
    """The difference over all prompt sets with its interval, and what that cannot show."""
    found = contrast.difference()
    interval = f", 95% interval {_interval(found)}" if _interval(found) else ""
    where, points = f" ({setting})" if setting else "", POINTS.number(found.value)
    return f"image-conditioned less text-conditioned{where}: {points} points{interval}; {contrast.caveat}"


def _notes(contrast: Contrast, setting: str) -> list[str]:
    """The sentence, who is in which group, and how far the interval can be believed."""
    groups = [
        f"{what}: {', '.join(dict.fromkeys(curve.asked.model for curves in group.values() for curve in curves))}"
        for what, group in (("image-conditioned", contrast.image), ("text-conditioned", contrast.text))
    ]
    found = [
        sentence(contrast, setting),
        "; ".join(groups),
        f"95% intervals: {DIFFERENCE_METHOD} ({RESAMPLES:,} resamples, both groups on the same ones); "
        "models and prompt sets are not resampled",
    ]
    if unfinished := sum(curve.found.bound.value.at_least for curve in contrast.curves):
        found.append(
            f"{unfinished} of {len(contrast.curves)} curves are never below within what was measured: "
            "they count with the most that was"
        )
    return found


def _parts(contrast: Contrast) -> dict[str, list[str]]:
    """By row, its prompt sets."""
    one = {dataset: [dataset] for dataset in contrast.image}
    return {**one, ALL: list(one)} if len(one) > 1 else one


def _mean(group: dict[str, list[Curve]], datasets: Sequence[str]) -> float:
    """Over the prompt sets, of the mean over the curves."""
    each = [[curve.found.bound.value.savings for curve in group[dataset]] for dataset in datasets]
    return float(np.mean([np.mean(values) for values in each]))


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
