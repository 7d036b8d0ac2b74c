"""The record of a cell: what was asked, what it resolved to, the figures with their intervals.

A run folder can be read with this module alone; it imports no other room.
"""

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import UserError

SCHEMA_VERSION: Literal[1] = 1
RECORD, SCORES, SPEC = "record.json", "scores.parquet", "sweep.yaml"
NEAR = 0.02  # of denoiser steps saved: cells of so nearly the same savings may be compared with each other
Role = Literal["sharing", "fewer-steps", "another-seed"]


class Part(BaseModel):
    """A part of a record; NaN and infinity survive the way to JSON and back."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Asked(Part):
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


class Figure(Part):
    """A number, with its 95% interval where it has one (`method` says how), and how many pairs or images gave it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    method: str | None = None


class PlanFigures(Part):
    """What the plan costs in denoiser evaluations; `K` is their number a prompt, `steps_requested` what was asked.

    `node_steps` and `savings` of old runs count their `probe_rows` too: what a strategy asked the denoiser.
    """

    n_prompts: int
    steps_requested: int
    K: int
    node_steps: int
    standard_node_steps: int
    savings: float
    probe_rows: int = 0


class FlopFigures(Part):
    """FLOPs of the whole set (multiply-add = 2), by component of ours; `savings` has every component below it."""

    components: dict[str, float]
    total: float
    standard_total: float
    savings: float


class ExecutionFigures(Part):
    """What the executor did: denoiser calls, rows in them, the batch size it ended with, and what it had to say.

    `batch_size_from`: whether the size that it began with was asked for, is the device's default, or was measured, now
    or before (`generators.batch_search`).
    `united`: with how many sets of pictures, this one among them, they were denoised as one: rows are then what they
    would have been alone, calls those of all, and seconds this one's share of all by rows. 0: alone.
    `first_call`: seconds of its first denoiser call, and `steady` mean seconds a row of the others (`generators.pace`).
    `skipped`: for how many rows a denoiser cache skipped a module, by its path in the denoiser.
    `options`: how the denoiser computed (`generators.acceleration`): what held, not what was asked.
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
    """One cell of a sweep.

    `figures` are named ``<metric>.<figure>``, e.g. ``vqa.win_rate``. `standard` is the folder, relative to the
    run, of the standard images that this cell is compared with. A prompt whose whole path is standard's has
    standard's picture in its own folder too; `execution.reused` counts them. `versions` and `machine` are of the
    pictures; what scored them, and with which packages, is in `scorers`. `conditioned_on` is the model family's
    (see `Family`); records made before it was recorded do not say. `control`: the strategy is there
    to be beaten. `strategy_source`: the class, file hash
    and distribution of a strategy that is not ours.

    `role` says what the record is of: prompts that share, or what these are held against (`sweeps.references`), whose
    pictures are standard images of other settings and lie in `images`, a folder relative to the run. `timings` are
    seconds by stage, and `joules` what an accelerator took for the pictures where that was measured; both of standard
    generation too. `shared_seconds`: of the pictures or of standard's they are a share of what several sets took that
    were denoised as one, and say nothing of what sharing saves.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    status: Literal["done", "failed"]
    role: Role = "sharing"
    asked: Asked
    conditioned_on: Literal["image", "text", "both"] | None = None
    control: bool = False
    strategy_source: dict[str, str] = Field(default_factory=dict)
    identity: dict[str, Any] = Field(default_factory=dict)
    plan: PlanFigures | None = None
    flops: FlopFigures | None = None
    figures: dict[str, Figure] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)
    standard_timings: dict[str, float] = Field(default_factory=dict)
    shared_seconds: bool = False
    joules: float | None = None
    standard_joules: float | None = None
    execution: ExecutionFigures = ExecutionFigures()
    scorers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    standard: str | None = None
    images: str | None = None
    error: Failure | None = None

    def folder(self, run: Path) -> Path:
        """This cell's folder; of one that shares: ``tree.npz``, ``plan.npz``, ``scores.parquet``, ``images/``."""
        return run / "cells" / self.id

    def made(self, run: Path) -> Path:
        """The folder of this cell's pictures and of their scores."""
        return run / self.images if self.images else self.folder(run)

    def prompts(self, run: Path) -> list[str]:
        """The prompts, in order.

        Raises:
            UserError: the cell failed before they were written, or their file is missing or damaged.
        """
        path = run / self._standard() / "prompts.json"
        try:
            return [str(prompt) for prompt in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"cannot read the prompts {path}: {error}", "run the same sweep again") from error

    def pictures(self, run: Path) -> list[Path]:
        """This cell's picture of every prompt, in prompt order."""
        return sorted((self.made(run) / "images").glob("[0-9]*.png"))

    def standard_pictures(self, run: Path) -> list[Path]:
        """The standard generator's picture of every prompt, in prompt order."""
        return sorted((run / self._standard() / "images").glob("[0-9]*.png"))

    def scores(self, run: Path) -> Path:
        """What metrics measured of this cell's pictures: columns ``<metric>.<column>``, a row a prompt, in order."""
        return self.made(run) / SCORES

    def standard_scores(self, run: Path) -> Path:
        """What they measured of the standard generator's pictures, likewise."""
        return run / self._standard() / SCORES

    def _standard(self) -> str:
        if self.standard is None:
            raise UserError(f"cell {self.id} has no standard images", "it failed before they were made")
        return self.standard


def read_record(path: Path) -> Record:
    """The record in `path`.

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
    """Every record of a run folder, ordered by the axes and then by tau.

    Raises:
        UserError: the folder is no run, or a record in it is damaged.
    """
    cells = Path(run) / "cells"
    if not cells.is_dir():
        raise UserError(f"{run} is not a run folder: it has no cells", "give a folder that `bench sweep` has written")
    records = [read_record(path) for path in sorted(cells.glob(f"*/{RECORD}"))]
    return sorted(records, key=lambda record: _place(record.asked))


def run_title(run: Path) -> str:
    """What every table and figure of a run says above all else, from its ``sweep.yaml``; mostly nothing.

    Raises:
        UserError: the file is damaged.
    """
    return str(_setting(run, "title") or "")


def run_savings(run: Path) -> list[float]:
    """The shares of denoiser steps that a run was asked to save, from its ``sweep.yaml``; none where taus were given.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return [float(each) for each in _setting(run, "savings") or ()]
    except (TypeError, ValueError):
        raise UserError(f"the savings in {run / SPEC} are no numbers", "run the same sweep in another folder") from None


def _setting(run: Path, name: str) -> Any:
    import yaml

    path = run / SPEC
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return spec.get(name)
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {what}", "run the same sweep again in another folder") from error


def _place(asked: Asked) -> tuple[Any, ...]:
    axes = asked.model_dump(exclude={"tau"})
    return (*(axes[name] for name in axes), asked.tau)
