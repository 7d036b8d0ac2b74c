"""The record of a cell: its config, what that resolved to, the results with their intervals.

A run folder can be read with this module alone; it imports no other room.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from common.errors import UserError
from common.files import canonical_json, parse_json, read_sealed, sha256_file, sha256_text, write_sealed

if TYPE_CHECKING:
    from generators.sharing.evaluations import Evaluations

SCHEMA_VERSION: Literal[1] = 1
RECORD, SCORES, SPEC, CELLS = "record.json", "scores.parquet", "sweep.yaml", "cells.json"
AGAIN = "run the same sweep again: it makes the cell again"
ID = 16  # hexadecimal digits of an identity's hash that name its folder
NEAR = 0.02  # of denoiser steps saved: cells of so nearly the same savings may be compared with each other
BASE = "base"  # the variation of a cell that has none
Role = Literal["sharing", "fewer-steps", "less-guidance", "less-guidance-and-steps", "another-seed"]
EQUAL: tuple[Role, ...] = ("fewer-steps", "less-guidance", "less-guidance-and-steps")  # baselines of a cell's compute


# fields that came after the first release
LATER = {"sample", "per_prompt", "distinct_savings", "nfe", "baseline_nfe"}
LATER |= {"unguided_steps", "baseline_unguided_steps", "reused_rows"}
EVERYWHERE = "0..1"  # the guidance interval of whoever asks for none
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
    """The cell's place on the axes of its sweep, as the user named it.

    `variation` is the one setting, as ``steps=10``, that it changes against the sweep's base; `BASE`: none. It is
    written where there is one.
    """

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
    guidance_interval: str = EVERYWHERE
    denoiser_cache: str = "none"
    variation: str = BASE

    @model_serializer(mode="wrap")
    def _as_always(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        idle = {("guidance_interval", EVERYWHERE), ("variation", BASE)}  # axes that came later
        written: dict[str, Any] = serialise(self)
        return {name: value for name, value in written.items() if (name, value) not in idle}


class Result(Part):
    """A number, with its 95% interval where it has one (`method` says how), and how many pairs or images gave it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    method: str | None = None


class Sample(Part):
    """The prompts of a set of which pictures are made: drawn at random within strata, planned with all the others.

    Attributes:
        of: N, the number of prompts of the whole set.
        strata: of each stratum, its number of prompts and those that were drawn of it, by their place in the set.

    Examples:
        >>> sample = Sample(of=10, strata=((5, (4, 1)), (5, (7, 6))))
        >>> sample.rows, sample.labels, len(sample)
        ((1, 4, 6, 7), (0, 0, 1, 1), 4)
    """

    of: int
    strata: tuple[tuple[int, tuple[int, ...]], ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def rows(self) -> tuple[int, ...]:
        """Return the prompts that were drawn, ascending, as their pictures and scores stand."""
        return tuple(sorted(row for _, rows in self.strata for row in rows))

    @property
    def labels(self) -> tuple[int, ...]:
        """Return the number of the stratum of each of `rows`."""
        of = {row: number for number, (_, rows) in enumerate(self.strata) for row in rows}
        return tuple(of[row] for row in self.rows)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of prompts of each stratum."""
        return tuple(size for size, _ in self.strata)

    @property
    def hash(self) -> str:
        """Return what tells a sample of a set from any other."""
        return sha256_text(self.model_dump_json())

    @property
    def text(self) -> str:
        """Return how many of how many prompts were drawn, in words."""
        return f"{len(self):,} of {self.of:,} prompts, taken at random"


def _without_later(written: dict[str, Any]) -> dict[str, Any]:
    """Return what is written of a record without fields that came later and say nothing: it is as it always was."""
    return {name: value for name, value in written.items() if name not in LATER or value is not None}


class PlanCost(Part):
    """The cost of a plan in denoiser evaluations; `K` is their number a prompt, `steps_requested` the config's steps.

    `node_steps` and `savings` of old runs count their `probe_rows` too: what a strategy had the denoiser evaluate.
    `distinct_savings`: of the pictures that repeat no earlier one of their prompt, bit for bit, where some do: to make
    one picture twice saves nothing.
    `nfe`: rows that the denoiser evaluates, two a node-step with classifier-free guidance, where a model has it; None
    in records made before it was kept, and where a model's rows cannot be told.
    `unguided_steps`: node-steps outside the guidance interval, and `reused_rows` what siblings had in common, where
    there is any.
    """

    n_prompts: int
    steps_requested: int
    K: int
    node_steps: int
    baseline_node_steps: int
    savings: float
    probe_rows: int = 0
    distinct_savings: float | None = None
    nfe: int | None = None
    baseline_nfe: int | None = None
    unguided_steps: int | None = None
    baseline_unguided_steps: int | None = None
    reused_rows: int | None = None

    @property
    def evaluations(self) -> "Evaluations":
        """Return what the pictures have the denoiser evaluate."""
        from generators.sharing.evaluations import Evaluations

        unguided = self.unguided_steps or 0
        return Evaluations(self.node_steps - unguided, unguided, self.reused_rows or 0)

    @property
    def baseline_evaluations(self) -> "Evaluations":
        """Return the same of the baseline."""
        from generators.sharing.evaluations import Evaluations

        unguided = self.baseline_unguided_steps or 0
        return Evaluations(self.baseline_node_steps - unguided, unguided)

    @property
    def nfe_savings(self) -> float | None:
        """Return the share of the baseline's rows saved; None where rows are not known."""
        return None if self.nfe is None or not self.baseline_nfe else 1 - self.nfe / self.baseline_nfe

    @model_serializer(mode="wrap")
    def _as_always(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_later(serialise(self))


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
    `isolated`: whether it was denoised by itself, all of it and warmed up, so that its seconds are measured; None in
    records made before it was kept.
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
    isolated: bool | None = None
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
            equal-compute baseline; ``less-guidance``, ``less-guidance-and-steps``: other baselines of as many rows. The
            pictures of all these are baselines of other settings.
        config: its place on the axes of the sweep, as the user named it.
        conditioned_on: of the model family (see `Family`); None in records made before it was recorded.
        control: whether the strategy is there to be beaten.
        strategy_source: the class, file hash and distribution of a strategy that is not ours.
        identity: all that changes the result; its hash is the id.
        plan, flops: what the pictures cost, beside the baseline.
        results: named ``<scorer>.<result>``, such as ``vqa.win_rate``.
        timings: seconds by stage, and `baseline_timings` those of the baseline.
        shared_seconds: seconds say nothing of what sharing saves: they are a share of what several sets of pictures
            took that were denoised as one, or those of a part of the pictures, or not warmed up.
        joules: what an accelerator took for the pictures, where that was measured; `baseline_joules` likewise.
        execution: what the executor did. Prompts that are denoised exactly as in the baseline have its pictures, in
            this cell's folder too; `execution.reused` counts them.
        scorers: what measured, by name, and with which packages.
        versions, machine: what the pictures were made with, and on.
        hub: the parts of the model that came from the Hugging Face hub, by role, as ``OWNER/NAME@COMMIT``.
        baseline: the folder, relative to the run, of the pictures that these are compared with.
        images: the folder, relative to the run, of a reference's pictures; None: the cell's own.
        picture_sets: by folder, relative to the run, the hash of the pictures that it describes (`Manifest.hash`).
        scored: by scorer, the hashes of its scores of these pictures and of the baseline's (`sweeps.scores.digests`).
            Records of earlier versions have neither: their files cannot be checked.
        sample: the prompts whose pictures these are, where they are not all of the set's; plan and FLOPs are the whole
            set's all the same, and `execution.rows` what was denoised.
        per_prompt: pictures of each prompt, one after the other, where they are several.
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
    picture_sets: dict[str, str] = Field(default_factory=dict)
    scored: dict[str, tuple[str, str]] = Field(default_factory=dict)
    sample: Sample | None = None
    per_prompt: int | None = None
    error: Failure | None = None

    def folder(self, run: Path) -> Path:
        """Return this cell's folder, if it shares with ``tree.npz``, ``plan.npz``, ``scores.parquet``, ``images/``."""
        return run / "cells" / self.id

    def made(self, run: Path) -> Path:
        """Return the folder of this cell's pictures and of their scores."""
        return run / self.images if self.images else self.folder(run)

    @model_serializer(mode="wrap")
    def _as_always(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_later(serialise(self))

    @property
    def made_prompts(self) -> int:
        """Return the number of prompts whose pictures these are; 0 where no plan says so."""
        return len(self.sample) if self.sample else self.plan.n_prompts if self.plan else 0

    def prompts(self, run: Path) -> list[str]:
        """Return the prompts whose pictures these are, in order: of a sample those that were drawn.

        Raises:
            UserError: as `every_prompt`.
        """
        prompts = self.every_prompt(run)
        return [prompts[row] for row in self.sample.rows] if self.sample else prompts

    def every_prompt(self, run: Path) -> list[str]:
        """Return the prompts that were planned, in order.

        Raises:
            UserError: the cell failed before they were written, or their file is missing, damaged or of other prompts.
        """
        path = self.baseline_folder(run) / "prompts.json"
        try:
            prompts = [str(prompt) for prompt in parse_json(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"cannot read the prompts {path}: {error}", "run the same sweep again") from error
        if self.identity.get("prompts", digest := sha256_text(canonical_json(prompts))) != digest:
            raise UserError(f"the prompts {path} are not those of cell {self.id}", AGAIN)
        return prompts

    def baseline_folder(self, run: Path) -> Path:
        """Return the folder of the baseline's pictures and of their scores."""
        return run / self._baseline()

    def pictures(self, run: Path) -> list[Path]:
        """Return this cell's picture of every prompt, in prompt order, as they are; `whole_pictures` verifies them."""
        return self._pictures(self.made(run))

    def baseline_pictures(self, run: Path) -> list[Path]:
        """Return the baseline's picture of every prompt, in prompt order."""
        return self._pictures(self.baseline_folder(run))

    def picture_hashes(self, run: Path, *, of_baseline: bool = False) -> dict[str, str]:
        """Return the hashes of its pictures, or of the baseline's, by file name; none where no version kept them.

        Raises:
            UserError: the pictures that the folder has are not those that the record describes.
        """
        folder = self.baseline_folder(run) if of_baseline else self.made(run)
        name = self.baseline if of_baseline else self.images or f"cells/{self.id}"
        from sweeps.pictures import known_manifest

        manifest = known_manifest(folder)
        if manifest is None:
            if self.picture_sets:
                raise UserError(f"the manifest of the pictures in {folder} is missing or damaged", AGAIN)
            return {}
        if self.picture_sets.get(name or "", manifest.hash) != manifest.hash:
            raise UserError(f"the pictures in {folder} are not those of the record of cell {self.id}", AGAIN)
        return manifest.images

    def whole_pictures(self, run: Path, *, of_baseline: bool = False, rows: "list[int] | None" = None) -> list[Path]:
        """Return its pictures, or the baseline's, of all prompts or of some, each verified by its hash.

        Raises:
            UserError: one is missing or is not what was made.
        """
        hashes = self.picture_hashes(run, of_baseline=of_baseline)
        paths = self.baseline_pictures(run) if of_baseline else self.pictures(run)
        if rows is not None and len(paths) <= max(rows, default=-1):
            raise UserError(f"cell {self.id} has only {len(paths)} pictures", "run the same sweep again")
        chosen = paths if rows is None else [paths[row] for row in rows]
        for path in chosen:
            check_file(path, hashes.get(path.name))
        return chosen

    def artifact(self, run: Path, name: str) -> Path:
        """Return the path of ``plan.npz`` or ``tree.npz``, verified by the hash that the pictures' manifest has of it.

        Raises:
            UserError: it is missing or is not what the pictures were made by.
        """
        from sweeps.pictures import known_manifest

        path = self.folder(run) / name
        manifest = known_manifest(self.folder(run))
        if manifest is None and self.picture_sets:
            raise UserError(f"the manifest beside {path} is missing or damaged, so it cannot be checked", AGAIN)
        check_file(path, None if manifest is None else manifest.files.get(name))
        return path

    def scores(self, run: Path) -> Path:
        """Return the file of this cell's scores: columns ``<metric>.<column>``, a row a prompt, in order.

        Raises:
            UserError: it is there, and is not what the record was made from.
        """
        return self._scores(self.made(run), 0)

    def baseline_scores(self, run: Path) -> Path:
        """Return the file of the baseline's scores, likewise."""
        return self._scores(self.baseline_folder(run), 1)

    def whole_scores(self, run: Path, *, of_baseline: bool = False) -> Path:
        """Return the file of its scores, or of the baseline's, which is there if anything was measured.

        Raises:
            UserError: it is missing, or is not what the record was made from.
        """
        path = self.baseline_scores(run) if of_baseline else self.scores(run)
        if self.scored and not path.exists():
            raise UserError(f"the scores {path} are missing", "run the same sweep again: it measures them again")
        return path

    def _pictures(self, folder: Path) -> list[Path]:
        from sweeps.pictures import known_manifest

        if manifest := known_manifest(folder):
            return [folder / "images" / name for name in manifest.images]
        return sorted((folder / "images").glob("[0-9]*.png"))

    def _scores(self, folder: Path, which: int) -> Path:
        from sweeps.scores import check_scores

        if (folder / SCORES).exists():
            check_scores(folder / SCORES, {name: both[which] for name, both in self.scored.items()})
        return folder / SCORES

    def _baseline(self) -> str:
        if self.baseline is None:
            raise UserError(f"cell {self.id} has no baseline", "it failed before one was made")
        return self.baseline


def check_file(path: Path, expected: str | None) -> None:
    """Raise a UserError where a file's SHA-256 is another, or it cannot be read; without a hash nothing is read."""
    try:
        whole = expected is None or sha256_file(path) == expected
    except FileNotFoundError:
        raise UserError(f"{path} is missing", AGAIN) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", AGAIN) from error
    if not whole:
        raise UserError(f"{path} is damaged: it is not what was written", AGAIN)


def write_record(path: Path, record: Record) -> None:
    """Write a record, with a hash of its content."""
    write_sealed(path, json.loads(record.model_dump_json()))


def read_record(path: Path) -> Record:
    """Return the record in `path`, which has to be that of the cell whose folder it lies in.

    Raises:
        UserError: it is unreadable, damaged, of another cell, or of another schema version; the file is named.
    """
    return _read_record(path)[0]


def _read_record(path: Path) -> tuple[Record, bool]:
    """Return a record, and whether it has a hash."""
    try:
        content, digest = read_sealed(path)
        record = Record.model_validate(content)
    except OSError as error:
        raise UserError(f"cannot read the record {path}: {error.strerror}", "check the folder's permissions") from error
    except (ValidationError, ValueError, RecursionError) as error:
        raise UserError(
            f"the record {path} is damaged or of another version of reusebench",
            "run the same sweep again: the cell is then made anew",
        ) from error
    of_identity = digest is None or record.id == sha256_text(canonical_json(record.identity))[:ID]
    if record.id != path.parent.name or not of_identity:
        raise UserError(f"the record {path} is of another cell, {record.id}", AGAIN)
    for folder in (record.baseline, record.images):
        if folder and (PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts):
            raise UserError(f"the record {path} names a folder outside of its run, {folder}", AGAIN)
    return record, digest is not None


@dataclass(frozen=True)
class RunRecords:
    """The records of a run folder that can be believed, and what is said of the others.

    Attributes:
        records: ordered by the axes and then by tau.
        damaged: a sentence on every record that cannot be read or is not what was written.
        missing: a sentence on every cell that the sweep was to have and that has no record.
        checked: whether every record has a hash; those of earlier versions have none.
    """

    records: list[Record]
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    checked: bool = True


def read_run(run: str | os.PathLike[str]) -> RunRecords:
    """Return every record of a run folder that is whole, and what is wrong with the others.

    Raises:
        UserError: the folder is no run.
    """
    run = Path(run)
    cells = run / "cells"
    if not cells.is_dir():
        raise UserError(f"{run} is not a run folder: it has no cells", "give a folder that `bench sweep` has written")
    records: list[Record] = []
    damaged: list[str] = []
    named: set[str] = set()
    unchecked = 0
    for folder in sorted(path for path in cells.iterdir() if not path.name.startswith(".")):
        try:
            record, sealed = _read_record(folder / RECORD)
        except UserError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                continue  # not made yet, or made and gone: what the sweep was to have tells
            damaged.append(f"{error.message}: {_place(run, folder.name)} is left out")
            named.add(folder.name)
        else:
            records.append(record)
            unchecked += not sealed
    place = attrgetter(*(axis for axis in CellConfig.model_fields if axis != "tau"), "tau")
    known = {*named, *(record.id for record in records)}
    try:
        expected = expected_cells(run)
        missing = [
            f"{_described(name, about)} has no record: it is not made yet, or its folder was removed"
            for name, about in expected.items()
            if name not in known
        ]
        if not expected and records and not unchecked:
            missing = [f"{run / CELLS} is missing, so nobody can tell whether cells are"]
    except UserError as error:
        damaged.append(f"{error.message}, so nobody can tell whether cells are missing")
        missing = []
    return RunRecords(sorted(records, key=lambda record: place(record.config)), damaged, missing, not unchecked)


def load_records(run: str | os.PathLike[str]) -> list[Record]:
    """Return every record of a run folder, ordered by the axes and then by tau.

    Raises:
        UserError: the folder is no run, or a record in it is damaged.
    """
    found = read_run(run)
    for path in sorted((Path(run) / "cells").iterdir()) if found.damaged else ():
        try:
            read_record(path / RECORD)
        except UserError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    return found.records


def damaged_files(run: Path, records: Sequence[Record]) -> list[str]:
    """Return a sentence on every file of finished cells that is missing or is not what was written, pictures left out.

    Pictures are verified where they are shown: there may be many.
    """
    sentences: dict[str, None] = {}

    def look(read: Callable[[], object]) -> None:
        try:
            read()
        except UserError as error:
            sentences[str(error)] = None

    for record in records:
        if record.status != "done" or not record.picture_sets:
            continue  # a failed one has nothing else, and of an earlier version's nothing can be checked
        look(partial(record.prompts, run))
        for of_baseline in (False, True):
            look(partial(record.picture_hashes, run, of_baseline=of_baseline))
            look(partial(record.whole_scores, run, of_baseline=of_baseline))
        for name in ("plan.npz", "tree.npz") if record.role == "sharing" else ():
            look(partial(record.artifact, run, name))
    return list(sentences)


def expected_cells(run: Path) -> dict[str, dict[str, Any]]:
    """Return the cells and references that a run was to have, by id: role and config; none for runs of old versions.

    Raises:
        UserError: their file is damaged.
    """
    path = run / CELLS
    try:
        content, digest = read_sealed(path)
        if digest is None or content.get("schema_version") != SCHEMA_VERSION:
            raise ValueError("it has no hash")
        return {str(name): dict(about) for name, about in content["cells"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the list of cells {path} is damaged", "run the same sweep again: it is then written anew"
        ) from error


def write_expected(run: Path, cells: Mapping[str, Mapping[str, Any]]) -> None:
    """Write which cells a run is to have, with those that it was to have before and has a record of."""
    try:
        before = expected_cells(run)
    except (UserError, OSError):
        before = {}
    kept = {name: about for name, about in before.items() if (run / "cells" / name / RECORD).exists()}
    cells = {**kept, **{name: dict(about) for name, about in cells.items()}}
    if cells != before:
        write_sealed(run / CELLS, {"schema_version": SCHEMA_VERSION, "cells": cells})


def _place(run: Path, name: str) -> str:
    """Return where a cell stands, as far as the run knows."""
    try:
        return _described(name, expected_cells(run).get(name, {}))
    except UserError:
        return f"cell {name}"


def _described(name: str, about: Mapping[str, Any]) -> str:
    config = about.get("config", {})
    axes = ("strategy", "model", "dataset", "seed")
    where = ", ".join([f"tau {config.get('tau')}", *(str(config.get(axis)) for axis in axes)]) if config else ""
    return f"cell {name[:8]} ({where})" if where else f"cell {name}"


def run_title(run: Path) -> str:
    """Return the title of every table and figure of a run, from its ``sweep.yaml``; empty where it has none.

    Raises:
        UserError: the file is damaged.
    """
    return str(run_setting(run, "title") or "")


def run_savings(run: Path) -> list[float]:
    """Return a run's savings targets, as shares, from its ``sweep.yaml``; none where taus were given.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return [float(target) for target in run_setting(run, "savings") or ()]
    except (TypeError, ValueError):
        raise UserError(f"the savings in {run / SPEC} are no numbers", "run the same sweep in another folder") from None


def run_setting(run: Path, name: str) -> Any:
    """Return a setting from a run's ``sweep.yaml``; None where it has none.

    Raises:
        UserError: the file is damaged.
    """
    from common.bounded_yaml import parse_yaml

    path = run / SPEC
    try:
        spec = parse_yaml(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return spec.get(name)
    except (OSError, ValueError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {what}", "run the same sweep again in another folder") from error
