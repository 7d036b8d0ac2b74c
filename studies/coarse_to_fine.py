"""Coarse to fine: at which step each frequency of a picture is settled."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.selection import evenly
from studies.base import Part, Study, every_source, sizes
from studies.manifest import CURVES, KIND, CoarseToFine, Pictured, Settled

if TYPE_CHECKING:
    from torch import Tensor

    from sweeps.grid import Source
    from sweeps.session import Session
    from sweeps.spec import SweepSpec

TOLERANCE = 0.1
SHOWN_PROMPTS, SHOWN_STEPS = 4, 8


class CoarseToFineStudy(Study):
    """When each spatial frequency is settled, coarse to fine: predicted pictures at every step, and their spectra.

    Every model makes the spec's prompts alone. At each step its prediction of the clean latents is decoded as if it
    were finished; its luma is held against the final picture's, octave by octave. A band counts as settled when the
    difference has fallen below a tenth of the final picture's power in it for good. The paper's figure asks which
    models settle their fine frequencies late. Schedulers differ in how they space steps and whether they draw noise,
    which decides it as well: the spec's `scheduler` can be the same for all. Pictures that come to nothing settle at
    once. Karlo's frequencies beyond its decoder's size are its super-resolution's.
    """

    name = "coarse-to-fine"
    manifest = CoarseToFine

    def parts(self, spec: "SweepSpec", device: str) -> Iterator[Part]:
        return (Part(source, {"tolerance": TOLERANCE}) for source in every_source(spec, device))

    def node_steps(self, spec: "SweepSpec") -> int:
        return sum(prompts * steps for prompts, steps in sizes(spec))

    def make_part(self, part: Part, folder: Path, session: "Session", run: Path) -> dict[str, Any]:
        from generators.noise import node_key
        from generators.sharing.arrays import write_npz
        from metrics.statistics import bootstrap_mean
        from studies.spectra import band_error, octaves, radial_power, spectrum
        from studies.work import decoded

        predicted, final = _trajectories(part.source, session, run)
        keys = [node_key([key]) for key in part.source.keys]
        last = decoded(part.source, session, final, keys)
        n, steps = len(last), len(predicted)
        goal, shown = spectrum(last), evenly(steps, SHOWN_STEPS)
        height, width = last.shape[1:3]
        bands = octaves(height, width)
        error, power = np.empty((n, steps, len(bands))), np.empty((n, steps, min(height, width) // 2))
        pictured = evenly(n, SHOWN_PROMPTS)
        for k, latents in enumerate(predicted):
            pictures = decoded(part.source, session, latents, keys)
            predicted_spectrum = spectrum(pictures)
            error[:, k], power[:, k] = band_error(predicted_spectrum, goal), radial_power(predicted_spectrum)
            if k in shown:
                _write(folder, {_name(prompt, k): pictures[prompt] for prompt in pictured})
        _write(folder, {_name(prompt): last[prompt] for prompt in pictured})
        write_npz(folder / CURVES, KIND, {"error": error, "power": power, "final": radial_power(goal)})
        settled = settled_share(error)
        means = [bootstrap_mean(settled[:, band]) for band in range(len(bands))]
        prompts = part.source.prompts.prompts
        return {
            "bands": bands,
            "tolerance": TOLERANCE,
            "settled": settled.tolist(),
            "mean": [Settled(value=mean.value, low=mean.low, high=mean.high) for mean in means],
            "steps": shown,
            "pictured": [
                Pictured(prompt=prompts[i], steps=[_name(i, k) for k in shown], final=_name(i)) for i in pictured
            ],
        }


def settled_share(error: NDArray[np.float64], tolerance: float = TOLERANCE) -> NDArray[np.float64]:
    """Return the share of the steps after which an error stays below the tolerance, [n, B] of [n, K, B].

    1/K where it always is, 1 where it is only in the final picture.

    Examples:
        >>> settled_share(np.array([[[0.5], [0.05], [0.02], [0.01]]])).tolist()
        [[0.5]]
    """
    steps = error.shape[1]
    above = error >= tolerance
    after_last = np.where(above.any(axis=1), steps - np.argmax(above[:, ::-1], axis=1), 0)
    share: NDArray[np.float64] = np.minimum(after_last + 1, steps) / steps
    return share


def _trajectories(source: "Source", session: "Session", run: Path) -> "tuple[list[Tensor], Tensor]":
    """Return the predicted clean latents of every step, K of [n, ...], and the finished ones, in prompt order."""
    import torch

    from generators.sharing.plan import baseline_plan
    from studies.work import denoised

    predicted: list[list[Tensor]] = [[] for _ in range(source.steps)]

    def watch(k: int, nodes: NDArray[np.int64], latents: "Tensor", x0: "Tensor | None") -> None:
        if x0 is None:
            raise UserError(
                f"{source.scheduler} does not say what clean picture a step predicts", "choose another --scheduler"
            )
        predicted[k].append(x0.detach().to("cpu", copy=True))

    execution = denoised(source, baseline_plan(len(source.prompts), source.steps), session, run, watch)
    return [torch.cat(parts) for parts in predicted], execution.latents


def _name(prompt: int, step: int | None = None) -> str:
    return f"prompt-{prompt:05d}-{'final' if step is None else f'step-{step:03d}'}.png"


def _write(folder: Path, pictures: dict[str, NDArray[np.uint8]]) -> None:
    from PIL import Image

    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
