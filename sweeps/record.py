"""The record of a cell: its config, what that resolved to, the results with their intervals.

A run folder can be read with this module alone; it imports no other room.
"""

import os
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import UserError
from common.files import parse_json

SCHEMA_VERSION: Literal[1] = 1
RECORD, SCORES, SPEC = "record.json", "scores.parquet", "sweep.yaml"
NEAR = 0.02  # of denoiser steps saved: cells of so nearly the same savings may be compared with each other
Role = Literal["sharing", "fewer-steps", "another-seed"]


# What files call these fields: their names of the first release, so that every version reads every run.
ON_DISK = {
    "config": "asked",
    "results": "figures",
    "baseline": "standard",
    "baseline_timings": "standard_timings",
    "baseline_joules": "standard_joules",
    "baseline_node_steps": "standard_node_steps",
    "baseline_total": "standard_total",
}


class Part(BaseModel):
    """A part of a record; NaN and infinity survive the way to JSON and back."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="strings",
        alias_generator=lambda name: ON_DISK.get(name, name),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class CellConfig(Part):
    """The cell's place on the axes of its sweep, as the user named it."""

    model: str
    dataset: str
    strategy: str
    features: str
    schedule: str
    combiner: str
    tau: Decimal
    steps: int
    seed: int
    noise: str
    scheduler: str
    guidance: float
    denoiser_cache: str = "none"


class Result(Part):
    """A number, with its 95% interval where it has one (`method` says how), and how many pairs or images gave it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    method: str | None = None


class PlanCost(Part):
    """The cost of a plan in denoiser evaluations; `K` is their number a prompt, `steps_requested` the config's steps.

    `node_steps` and `savings` of old runs count their `probe_rows` too: what a strategy had the denoiser evaluate.
    """

    n_prompts: int
    steps_requested: int
    K: int
    node_steps: int
    baseline_node_steps: int
    savings: float
    probe_rows: int = 0


class FlopCost(Part):
    """FLOPs of the whole set (multiply-add = 2), by component of ours; `savings` has every component below it."""

    components: dict[str, float]
    total: float
    baseline_total: float
    savings: float


class ExecutionStats(Part):
    """The work of the executor: denoiser calls, rows in them, the batch size it ended with, and its notes.

    `batch_size_from`: whether the size that it began with was given, is the device's default, or was measured, now or
    before (`generators.batch_search`).
    `united`: with how many sets of pictures, this one among them, they were denoised as one: rows are then what they
    would have been alone, calls those of all, and seconds this one's share of all by rows. 0: alone.
    `first_call`: seconds of its first denoiser call, and `steady` mean seconds a row of the others (`generators.pace`).
    `skipped`: for how many rows a denoiser cache skipped a module, by its path in the denoiser.
    `options`: how the denoiser computed (`generators.acceleration`): what held, not what was requested.
    """

    calls: int = 0
    rows: int = 0
    batch_size: int | None = None
    batch_size_from: Literal["given", "default", "measured", "remembered"] | None = None
    reused: int = 0
    united: int = 0
    first_call: float | None = None
    steady: float | None = None
    skipped: dict[str, int] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class Failure(Part):
    """Why a cell failed: the error's class, its line, and what to do or, where that is not known, the traceback."""

    type: str
    message: str
    hint: str | None = None
    traceback: str | None = None


class Record(Part):
    """One cell of a sweep, or one of the references that it is held against.

    In ``record.json`` some fields keep the names of the first release (`ON_DISK`).

    Attributes:
        role: ``sharing``: prompts that share. ``another-seed``: the seed control, an A/A test. ``fewer-steps``: the
            equal-compute baseline. The pictures of these two are baselines of other settings.
        config: its place on the axes of the sweep, as the user named it.
        conditioned_on: of the model family (see `Family`); None in records made before it was recorded.
        control: whether the strategy is there to be beaten.
        strategy_source: the class, file hash and distribution of a strategy that is not ours.
        identity: all that changes the result; its hash is the id.
        plan, flops: what the pictures cost, beside the baseline.
        results: named ``<scorer>.<result>``, such as ``vqa.win_rate``.
        timings: seconds by stage, and `baseline_timings` those of the baseline.
        shared_seconds: seconds are a share of what several sets of pictures took that were denoised as one, and say
            nothing of what sharing saves.
        joules: what an accelerator took for the pictures, where that was measured; `baseline_joules` likewise.
        execution: what the executor did. Prompts that are denoised exactly as in the baseline have its pictures, in
            this cell's folder too; `execution.reused` counts them.
        scorers: what measured, by name, and with which packages.
        versions, machine: what the pictures were made with, and on.
        hub: the parts of the model that came from the Hugging Face hub, by role, as ``OWNER/NAME@COMMIT``.
        baseline: the folder, relative to the run, of the pictures that these are compared with.
        images: the folder, relative to the run, of a reference's pictures; None: the cell's own.
        error: why it failed.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    status: Literal["done", "failed"]
    role: Role = "sharing"
    config: CellConfig
    conditioned_on: Literal["image", "text", "both"] | None = None
    control: bool = False
    strategy_source: dict[str, str] = Field(default_factory=dict)
    identity: dict[str, Any] = Field(default_factory=dict)
    plan: PlanCost | None = None
    flops: FlopCost | None = None
    results: dict[str, Result] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)
    baseline_timings: dict[str, float] = Field(default_factory=dict)
    shared_seconds: bool = False
    joules: float | None = None
    baseline_joules: float | None = None
    execution: ExecutionStats = ExecutionStats()
    scorers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    hub: dict[str, str] = Field(default_factory=dict)
    baseline: str | None = None
    images: str | None = None
    error: Failure | None = None

    def folder(self, run: Path) -> Path:
        """Return this cell's folder, if it shares with ``tree.npz``, ``plan.npz``, ``scores.parquet``, ``images/``."""
        return run / "cells" / self.id

    def made(self, run: Path) -> Path:
        """Return the folder of this cell's pictures and of their scores."""
        return run / self.images if self.images else self.folder(run)

    def prompts(self, run: Path) -> list[str]:
        """Return the prompts, in order.

        Raises:
            UserError: the cell failed before they were written, or their file is missing or damaged.
        """
        path = run / self._baseline() / "prompts.json"
        try:
            return [str(prompt) for prompt in parse_json(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"cannot read the prompts {path}: {error}", "run the same sweep again") from error

    def pictures(self, run: Path) -> list[Path]:
        """Return this cell's picture of every prompt, in prompt order."""
        return sorted((self.made(run) / "images").glob("[0-9]*.png"))

    def baseline_pictures(self, run: Path) -> list[Path]:
        """Return the baseline's picture of every prompt, in prompt order."""
        return sorted((run / self._baseline() / "images").glob("[0-9]*.png"))

    def scores(self, run: Path) -> Path:
        """Return the file of this cell's scores: columns ``<metric>.<column>``, a row a prompt, in order."""
        return self.made(run) / SCORES

    def baseline_scores(self, run: Path) -> Path:
        """Return the file of the baseline's scores, likewise."""
        return run / self._baseline() / SCORES

    def _baseline(self) -> str:
        if self.baseline is None:
            raise UserError(f"cell {self.id} has no baseline", "it failed before one was made")
        return self.baseline


def read_record(path: Path) -> Record:
    """Return the record in `path`.

    Raises:
        UserError: it is unreadable, damaged, or of another schema version; the file is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return Record.model_validate_json(text)
    except OSError as error:
        raise UserError(f"cannot read the record {path}: {error.strerror}", "check the folder's permissions") from error
    except (ValidationError, ValueError) as error:
        raise UserError(
            f"the record {path} is damaged or of another version of reusebench",
            "run the same sweep again: the cell is then made anew",
        ) from error


def load_records(run: str | os.PathLike[str]) -> list[Record]:
    """Return every record of a run folder, ordered by the axes and then by tau.

    Raises:
        UserError: the folder is no run, or a record in it is damaged.
    """
    cells = Path(run) / "cells"
    if not cells.is_dir():
        raise UserError(f"{run} is not a run folder: it has no cells", "give a folder that `bench sweep` has written")
    records = [read_record(path) for path in sorted(cells.glob(f"*/{RECORD}"))]
    place = attrgetter(*(axis for axis in CellConfig.model_fields if axis != "tau"), "tau")
    return sorted(records, key=lambda record: place(record.config))


def run_title(run: Path) -> str:
    """Return the title of every table and figure of a run, from its ``sweep.yaml``; empty where it has none.

    Raises:
        UserError: the file is damaged.
    """
    return str(_setting(run, "title") or "")


def run_savings(run: Path) -> list[float]:
    """Return a run's savings targets, as shares, from its ``sweep.yaml``; none where taus were given.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return [float(target) for target in _setting(run, "savings") or ()]
    except (TypeError, ValueError):
        raise UserError(f"the savings in {run / SPEC} are no numbers", "run the same sweep in another folder") from None


def _setting(run: Path, name: str) -> Any:
    from common.bounded_yaml import parse_yaml

    path = run / SPEC
    try:
        spec = parse_yaml(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return spec.get(name)
    except (OSError, ValueError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {what}", "run the same sweep again in another folder") from error
