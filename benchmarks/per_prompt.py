"""Several pictures of a prompt, sharing steps, beside as many drawn alone: ``python -m benchmarks.per_prompt``.

How alike the pictures of one prompt are (mean cosine similarity of their pairs, to CLIP and to an encoder that reads no
text) and their VQAScore, at several taus, each less that of the same prompts' pictures drawn alone; 95% intervals by
bootstrap over prompts. Several strengths or heights give the grid that the defaults were chosen from. Writes the
figure of docs/results.md too.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.files import atomic_write
from generators.batching import Batches
from generators.executor import decode_images, execute
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.union import union
from metrics.statistics import bootstrap_mean
from metrics.structure_encoders import EFFICIENTNET
from sweeps.grid import Cell, cells
from sweeps.pictures import picture_name
from sweeps.scorers import Scorers
from sweeps.session import Session
from sweeps.spec import COPIES_HEIGHT, RENOISE, SweepSpec, make_spec

RESULTS = Path(__file__).parent / "results" / "per_prompt.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "per_prompt.png"
HEADINGS = {
    "clip": "more alike to CLIP",
    "structure": "more alike to an encoder\nthat reads no text",
    "vqa": "VQAScore less that\nof pictures drawn alone",
}
ALIKE = {"clip": "clip_diversity:images=all", "structure": f"structure_diversity:images=all={EFFICIENTNET}"}
DRAWN_ALONE = "alone"


@dataclass(frozen=True)
class Scored:
    """What is measured of a set of pictures, a number a prompt [N] each."""

    clip: NDArray[np.float64]
    structure: NDArray[np.float64]
    vqa: NDArray[np.float64]


def alike(embeddings: NDArray[Any], per_prompt: int) -> NDArray[np.float64]:
    """Return the mean cosine similarity of the pairs of each prompt's pictures [N].

    Args:
        embeddings: [N * per_prompt, D], each of length 1.
        per_prompt: how many pictures each prompt has, one after the other.

    Examples:
        >>> alike(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), 2).tolist()
        [0.0, 1.0]
    """
    groups = embeddings.astype(np.float64).reshape(-1, per_prompt, embeddings.shape[-1])
    first, second = np.triu_indices(per_prompt, k=1)
    pairs = (groups @ groups.transpose(0, 2, 1))[:, first, second]
    means: NDArray[np.float64] = pairs.mean(axis=1)
    return means


def estimate(values: NDArray[np.float64]) -> list[float]:
    """Return the mean over prompts and the ends of its 95% interval, by bootstrap over prompts."""
    found = bootstrap_mean(values)
    return [found.value, found.low, found.high]


def asked(model: str, dataset: str, prompts: int, per_prompt: int, strength: float, height: float) -> SweepSpec:
    """Return the spec of one way to make them; its taus are taken elsewhere."""
    noise = f"per-root:renoise={strength:g}"
    settings = {"model": model, "dataset": dataset, "limit": prompts, "per_prompt": per_prompt, "noise": noise}
    return make_spec([{**settings, "copies_height": height, "tau": "1"}])


def scored(cell: Cell, session: Session, plans: Sequence[SharingPlan], scorers: Scorers) -> list[Scored]:
    """Return what is measured of each plan's pictures; what the plans have in common is denoised once."""
    source, whole = cell.source, union(plans)
    family, noise = session.family(source), session.noise(source, plans[0])
    execution = execute(
        whole.plan,
        family,
        session.encoded(source).conditioning,
        source.prompts.keys,
        source.settings,
        noise=noise,
        batch_size=32,
        ends=(whole.ends, whole.prompts),
    )
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / picture_name(row) for row in range(len(whole.ends))]
        made = decode_images(family, execution, source.prompts.keys, source.settings, noise=noise, batches=Batches(32))
        for path, picture in zip(paths, (picture for batch in made for picture in batch), strict=True):
            Image.fromarray(picture).save(path)
        texts = [source.prompts.prompts[prompt] for prompt in whole.prompts]
        columns: dict[str, NDArray[Any]] = {}
        for metric in scorers.metrics.values():
            columns |= metric.measure(paths, texts)
    n, found = source.prompts.per_prompt, []
    for rows in whole.rows:
        means = columns["vqa"][rows].astype(np.float64).reshape(-1, n).mean(axis=1)
        found.append(Scored(alike(columns["clip"][rows], n), alike(columns["structure"][rows], n), means))
    return found


def measured(model: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for the pictures drawn alone, then one for each strength, height and tau."""
    rows, alone = [], None
    for strength, height in product(options.strengths, options.heights):
        spec = asked(model, options.dataset, options.prompts, options.per_prompt, strength, height)
        (cell,), session = cells(spec, "cpu"), Session.of(spec, "cpu", lambda event: None)
        scorers = Scorers(cell.source.entry, ["vqa", *ALIKE.values()], "cpu")
        if alone is None:
            baseline = baseline_plan(len(cell.source.prompts), cell.source.steps)
            (alone,) = scored(cell, session, [baseline], scorers)
            rows.append({"model": model, "way": DRAWN_ALONE, "savings": 0.0, **_means(alone)})
        grouping, _ = session.grouping(cell.source, cell.strategy, cell.config.features)
        plans = [build_plan(grouping, cell.schedule, tau, cell.source.steps) for tau in options.taus]
        for tau, plan, ours in zip(options.taus, plans, scored(cell, session, plans, scorers), strict=True):
            row = {"model": model, "way": "shared", "renoise": strength, "height": height, "tau": tau}
            row |= {"savings": plan.savings, **_means(ours)}
            for name in vars(ours):
                row[f"{name}_less_alone"] = estimate(getattr(ours, name) - getattr(alone, name))
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def _means(of: Scored) -> dict[str, list[float]]:
    return {name: estimate(getattr(of, name)) for name in vars(of)}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw what sharing costs the pictures of one prompt against the steps that it saves, a column a measure."""
    import matplotlib.pyplot as plt

    from reports.style import theme

    shared = [row for row in rows if row["way"] != DRAWN_ALONE]
    with theme():
        figure, axes = plt.subplots(1, len(HEADINGS), figsize=(11, 3.6), layout="constrained")
        for axis, (name, heading) in zip(axes, HEADINGS.items(), strict=True):
            for model in dict.fromkeys(row["model"] for row in shared):
                own = [row for row in shared if row["model"] == model]
                saved = [100 * row["savings"] for row in own]
                mean, low, high = np.array([row[f"{name}_less_alone"] for row in own]).T
                axis.errorbar(saved, mean, [mean - low, high - mean], marker="o", capsize=3, label=model)
            axis.axhline(0, color="0.6", linestyle=":")
            axis.set(title=heading, xlabel="steps saved, %")
        axes[0].legend(frameon=False)
        figure.savefig(path, dpi=100)


def _numbers(text: str) -> list[float]:
    return [float(item) for item in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mini-sd,mini-kandinsky")
    parser.add_argument("--dataset", default="mini_templates")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--per-prompt", type=int, default=4)
    parser.add_argument("--taus", type=_numbers, default=[0.5, 1.0, 1.5, 2.0])
    parser.add_argument("--strengths", type=_numbers, default=[RENOISE])
    parser.add_argument("--heights", type=_numbers, default=[COPIES_HEIGHT])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    rows = [row for model in options.models.split(",") for row in measured(model, options)]
    about = {name: getattr(options, name) for name in ("dataset", "prompts", "per_prompt")}
    atomic_write(options.out, json.dumps({**about, "rows": rows}, indent=1) + "\n")
    draw(rows, options.picture)


if __name__ == "__main__":
    main()
