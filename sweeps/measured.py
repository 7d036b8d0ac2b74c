"""Seconds that finished runs on this machine took: what the next pictures of the same model will take."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from sweeps.record import RECORD, SPEC, read_record
from sweeps.timeline import read_timeline

if TYPE_CHECKING:
    from sweeps.grid import Source
    from sweeps.record import ExecutionStats

NEWEST = 30  # run folders that are looked into
IDENTITY = "identity.json"  # of a folder of `bench generate`
HARDWARE = ("processor", "cores", "device", "accelerator")  # of `machine`: other software changes less


@dataclass(frozen=True)
class Measured:
    """Seconds of one unit of work each, as a finished run took them.

    Attributes:
        run: the run's folder.
        accelerator: the name of its card, as its driver gives it; empty on a CPU.
        node_step: of a denoiser evaluation, a row of a batch; its first call, which warms up, left out.
        prompt: of encoding a prompt.
        picture: of decoding and writing a picture.
        score: of a picture by one scorer; None where the run scored nothing.
    """

    run: Path
    accelerator: str
    node_step: float
    prompt: float = 0.0
    picture: float = 0.0
    score: float | None = None

    def rest(self, prompts: int, pictures: int) -> float:
        """Return the seconds beside denoising: of encoding prompts, and of decoding and writing pictures."""
        return self.prompt * prompts + self.picture * pictures


def measured_here(source: "Source", device: str, folders: Iterable[Path]) -> Measured | None:
    """Return what the newest finished run of the same model took on this machine; None where none is there.

    Seconds of a score are those of the newest that has scored, and those of a prompt of the newest that has encoded:
    others found their prompts encoded (`sweeps.encoding_cache`). Other prompts, seeds, numbers of steps and ways to
    share do not matter; what decides one call of the denoiser does.

    Args:
        source: the model and its settings.
        device: a torch device.
        folders: of runs, which need not be there.
    """
    from sweeps.machine import machine

    here = _hardware(machine(device))
    names = sorted(source.settings.in_denoiser_calls)
    settings = _calls(source.settings.model_dump(mode="json"), names)
    found: Measured | None = None
    for run in _newest(folders):
        same = (
            measured
            for model, identity, on, measured in _measurements(run)
            if model == source.entry.name
            and _hardware(on) == here
            and _calls(identity.get("settings", {}), names) == settings
        )
        if (measured := next(same, None)) is not None:
            score, prompt = (found.score, found.prompt) if found else (None, 0.0)
            score = measured.score if score is None else score
            found = replace(found or measured, score=score, prompt=prompt or measured.prompt)
            if found.score is not None and found.prompt:
                break
    return found


def _hardware(machine: Mapping[str, Any]) -> dict[str, Any]:
    return {name: machine.get(name) for name in HARDWARE}


def _calls(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the settings that decide what a call of the denoiser takes; of guidance, whether there is any."""
    return {name: settings.get(name, 0) > 1 if name == "guidance" else settings.get(name) for name in names}


def _newest(folders: Iterable[Path]) -> list[Path]:
    runs = [path for folder in dict.fromkeys(folders) for path in folder.glob(f"*/{SPEC}")]
    return [path.parent for path in sorted(runs, key=lambda path: -path.stat().st_mtime)[:NEWEST]]


def _measurements(run: Path) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any], Measured]]:
    """Yield the model, the identity and the machine of whatever was denoised in a run, with its seconds."""
    from sweeps.pictures import known_manifest, load_manifest
    from sweeps.store import saved_spec

    if (run / IDENTITY).is_file():
        try:
            manifest, identity = load_manifest(run), json.loads((run / IDENTITY).read_text(encoding="utf-8"))
            (model,) = saved_spec(run).model
        except (OSError, ValueError, UserError):  # half a folder measures nothing
            return
        if step := _step(manifest.execution, manifest.timings):
            n = manifest.plan.n_prompts
            yield model, identity, manifest.machine, _of(run, manifest.machine, step, manifest.timings, n, n)
        return
    scores = dict[str | None, float | None]()
    for path in sorted((run / "cells").glob(f"*/{RECORD}")):
        try:
            record = read_record(path)
        except UserError:
            continue
        baseline = known_manifest(record.baseline_folder(run)) if record.baseline else None
        if baseline is None or not (step := _step(baseline.execution, baseline.timings)):
            continue
        model, n = record.config.model, baseline.plan.n_prompts
        if model not in scores:
            scores[model] = _score(run, model)
        yield (
            model,
            record.identity,
            baseline.machine,
            _of(run, baseline.machine, step, baseline.timings, n, n, scores[model]),
        )


def _step(execution: "ExecutionStats", timings: Mapping[str, float]) -> float | None:
    """Return the seconds of a denoiser evaluation; those of all calls where there was one alone."""
    if execution.steady:
        return execution.steady
    return timings["denoise"] / execution.rows if execution.rows and timings.get("denoise") else None


def _of(
    run: Path,
    machine: Mapping[str, Any],
    step: float,
    timings: Mapping[str, float],
    prompts: int,
    pictures: int,
    score: float | None = None,
) -> Measured:
    return Measured(
        run,
        str(machine.get("accelerator", "")),
        step,
        timings.get("encode", 0.0) / prompts,
        (timings.get("decode", 0.0) + timings.get("write", 0.0)) / pictures,
        score,
    )


def _score(run: Path, model: str) -> float | None:
    """Return the seconds of a score, loading left out; None where there is none."""
    try:
        spans = [span for span in read_timeline(run).spans if span.stage == "score" and span.model == model]
    except OSError:
        return None
    units = sum(span.units for span in spans)
    return sum(span.seconds for span in spans) / units if units else None
