"""Accelerators by name: their peak FLOP/s as their makers give it, and seconds a step as measured on them."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict

from common.errors import UserError, nearest
from common.files import parse_json

if TYPE_CHECKING:
    from sweeps.measured import Measured

# Of a checkout; an installed package has none.
MEASURED = Path(__file__).parents[1] / "benchmarks" / "results"


class Accelerator(BaseModel):
    """An accelerator.

    Attributes:
        called: a part of the name that its driver gives it.
        peak_flops: dense fp16 or bf16 with fp32 accumulation, a second, as `source` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    called: str
    peak_flops: float
    source: str

    def seconds(
        self,
        model: str,
        node_steps: int,
        *,
        denoising: float,
        rest: float,
        utilisation: float,
        seconds_per_step: float | None = None,
        measured: "Measured | None" = None,
    ) -> tuple[float, str]:
        """Return the seconds that a model's pictures take, and what they rest on.

        A node-step takes `seconds_per_step`, where the user knows, or what was measured; where nothing was, as long as
        its FLOPs take at the share `utilisation` of the peak.

        Args:
            node_steps: denoiser evaluations, in rows.
            denoising: FLOPs of these.
            rest: FLOPs of encoding and decoding.
            measured: what a run of the model took on one such, which goes before the benchmarks.

        Raises:
            UserError: as `measured_seconds`.

        Examples:
            >>> known = {"utilisation": 0.5, "seconds_per_step": 0.2}
            >>> seconds, basis = accelerator("h100").seconds("mine", 10, denoising=1e15, rest=0.0, **known)
            >>> round(seconds, 3), basis
            (2.0, 'seconds a step as given')
        """
        reached = self.peak_flops * utilisation
        step, basis = seconds_per_step, "seconds a step as given"
        if step is None and measured is not None:
            step, basis = measured.node_step, f"seconds a step as {measured.run} took"
        if step is None:
            step, basis = measured_seconds(self, model), f"seconds a step as measured on {self.name}"
        if step is None:
            return (denoising + rest) / reached, f"FLOPs at {utilisation:.0%} of the peak"
        return step * node_steps + rest / reached, basis


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Return every known accelerator, by name."""
    content = yaml.safe_load(files("sweeps").joinpath("accelerators.yaml").read_text(encoding="utf-8"))
    return {name: Accelerator(name=name, **about) for name, about in content.items()}


def accelerator(name: str) -> Accelerator:
    """Return the accelerator called `name`, in any case.

    Raises:
        UserError: there is none; the nearest name is in the hint.

    Examples:
        >>> accelerator("H100").description
        'NVIDIA H100 SXM, 80 GB'
    """
    if name.lower() not in accelerators():
        raise UserError(f"unknown accelerator {name!r}", nearest(name.lower(), accelerators()))
    return accelerators()[name.lower()]


def measured_seconds(of: Accelerator, model: str, folder: Path = MEASURED) -> float | None:
    """Return the seconds of one denoiser evaluation (a row of a batch); None where it was not measured.

    `folder` has the files that `benchmarks.gpu_check` leaves; the fastest batch of all measurements counts.

    Raises:
        UserError: a file of measurements is damaged; it is named.
    """
    seconds_per_row: list[float] = []
    for path in sorted(folder.glob("*.json")):
        try:
            content: Any = parse_json(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or not isinstance(content.get("results"), list):
                continue  # of another benchmark
            if of.called not in str(content.get("machine", {}).get("accelerator", "")):
                continue
            for result in content["results"]:
                if result.get("model") == model:
                    seconds_per_row += map(float, result.get("seconds_per_row", {}).values())
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UserError(f"cannot read the measurements {path}: {error}", "measure again, or remove it") from error
    return min(seconds_per_row, default=None)
