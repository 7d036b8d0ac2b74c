"""A sweep of a tiny model, end to end: what is kept, what is made again, what fails alone."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from sweeps.events import CellFinished, Note, StageAdvanced, StageStarted
from sweeps.record import load_records


def tables(records) -> list[dict]:
    """What two runs of one sweep have in common: all but the seconds."""
    return [record.model_dump(exclude={"timings"}) for record in records]


def kept(events) -> list[bool]:
    return [event.kept for event in events if isinstance(event, CellFinished)]


def notes(events) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Note))


def stages(events) -> list[str]:
    return [event.stage for event in events if isinstance(event, StageStarted)]


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("[0-9]*.png"))}


def test_sweep_costs_what_the_plan_says_and_ties_at_tau_0(sweep, tiny, tmp_path):
    records = sweep(tmp_path / "run", tau="0,0.3,0.6", metric=[f"vqa={tiny.vqa}", f"clip_diversity={tiny.clip}"])
    standard, *shared = records
    assert standard.plan.savings == 0
    assert standard.flops.savings == 0
    assert standard.execution.calls == 0, "standard images are there already"
    assert standard.execution.reused == 4
    assert standard.figures["vqa.win_rate"].value == 0.5
    assert standard.figures["vqa.ties"].value == 4
    assert standard.figures["vqa.vqa_difference"].value == 0
    assert standard.pictures(tmp_path / "run")[1].read_bytes() == standard.standard_pictures(tmp_path / "run")[1].read_bytes()
    for record in shared:
        own = 4 - record.execution.reused
        assert record.execution.rows == record.plan.node_steps - record.execution.reused * record.plan.K
        assert record.plan.standard_node_steps == 4 * 3
        assert 0 < record.flops.savings < record.plan.savings, "what sharing does not reduce is in the denominator"
        assert sum(record.figures[f"vqa.{name}"].value for name in ("wins", "ties", "losses")) == 4
        assert record.figures["vqa.ties"].value >= 4 - own
        assert set(record.figures) == set(standard.figures)
    assert records == load_records(tmp_path / "run")
