"""Similarity of pairs of pictures by the share of denoising that they had in common."""

from typing import TYPE_CHECKING, Any, ClassVar

from metrics.split_similarity import METHOD
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.frame import varying_axes
from reports.labels import Label, axis_text
from reports.sheet import Column, Entry, Sheet
from reports.splits import Split, band_name, splits
from sweeps.record import CellConfig

if TYPE_CHECKING:
    from metrics.split_similarity import Band

COUNT, SCORE, SIGNED = Label("", "count"), Label("", "score"), Label("", "score", signed=True)


class SplitSimilarity(Table):
    """Mean similarity of pairs of pictures by the share of steps that they shared, beside the baseline's same pairs."""

    name = "split_similarity"
    rank: ClassVar[int] = 20
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        run_splits = [split for series in run.series for split in series.once(splits)]
        if not run_splits:
            return None
        axes = varying_axes(run.records)
        columns = [
            *(Column(axis, CellConfig.model_fields[axis].annotation is not str, key=True) for axis in axes),
            Column("tau", key=True),
            Column("by", numeric=False, key=True),
            Column("steps shared, %", numeric=False, key=True),
            Column("pairs"),
            Column("clusters"),
            Column("similarity"),
            Column("baseline's"),
            Column("excess"),
        ]
        rows = [(split, band) for split in run_splits for band in split.bands]
        return Sheet(
            columns,
            rows=[_entries(run, split, band, axes) for split, band in rows],
            data=pd.DataFrame([_row(split, band) for split, band in rows]),
            caption=(
                "mean similarity of pairs of pictures by the share of denoiser steps that their prompts shared; "
                "baseline's: of the same pairs without sharing; excess: the difference, the effect of sharing"
            ),
            notes=[f"95% intervals: Student's t, {METHOD}; none where pairs come from too few clusters"],
            groups=[split.record.id for split, _ in rows],
        )


def _entries(run: RunView, split: Split, band: "Band", axes: list[str]) -> list[Entry]:
    asked = split.record.config
    return [
        *(Entry(axis_text(getattr(asked, axis))) for axis in axes),
        Entry(f"{asked.tau:f}"),
        Entry(run.label(split.figure).text),
        Entry(band_name(band)),
        Entry(COUNT.number(band.pairs)),
        Entry(COUNT.number(band.clusters)),
        _figure(band.ours, SCORE),
        _figure(band.baseline, SCORE),
        _figure(band.excess, SIGNED),
    ]


def _figure(estimate: Estimate, label: Label) -> Entry:
    if estimate.low is None or estimate.high is None:
        return Entry(label.number(estimate.value))
    return Entry(label.number(estimate.value), f"[{label.number(estimate.low)}, {label.number(estimate.high)}]")


def _row(split: Split, band: "Band") -> dict[str, Any]:
    figures = {"similarity": band.ours, "baseline": band.baseline, "excess": band.excess}
    return {
        "id": split.record.id,
        **split.record.config.model_dump(exclude={"tau"}),
        "tau": float(split.record.config.tau),
        "metric": split.column.rpartition(".")[0],
        "band": band_name(band),
        "share": band.share,
        "pairs": band.pairs,
        "clusters": band.clusters,
        **{
            f"{name}{suffix}": value
            for name, figure in figures.items()
            for suffix, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high))
        },
    }
