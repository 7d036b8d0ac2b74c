"""Rows of a leaderboard as `bench score` writes them, made of numbers: no picture is generated, none is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metrics.paired_scores import score_figures
from metrics.set_similarity import similarity_figures
from sweeps.record import Result
from tasks.card import Card, card
from tasks.row import EXAMPLES, ROW, Example, Method, Point, Row

LEVELS = (0.1, 0.2, 0.3, 0.5, 0.7)
SCORERS = {
    "vqa": {"higher_is_better": True, "figures": {k: asdict(v) for k, v in score_figures("vqa", "VQAScore").items()}},
    "clip_diversity": {"figures": {k: asdict(v) for k, v in similarity_figures("clip", "CLIP").items()}},
}


def results(difference: float, n: int = 180) -> dict[str, Result]:
    """Results of a point whose pictures differ by so much."""
    rate, half = 0.5 + difference, 0.06
    return {
        "vqa.win_rate": Result(value=rate, low=rate - half, high=rate + half, n=n, method="pooled"),
        "vqa.vqa_difference": Result(value=difference, low=difference - half, high=difference + half, n=n),
        "vqa.vqa_mean": Result(value=0.6 + difference, n=n),
        "vqa.vqa_mean_standard": Result(value=0.6, n=n),
        "clip_diversity.clip_similarity": Result(value=0.5 - difference, low=0.45, high=0.7, n=n),
        "clip_diversity.clip_similarity_standard": Result(value=0.5, low=0.4, high=0.6, n=n),
    }


def a_row(
    name: str,
    parity: tuple[float, float, float] = (0.2, 0.1, 0.3),
    losses: Sequence[float] = (0.0, 0.01, 0.04, 0.12, 0.3),
    levels: Sequence[float] = LEVELS,
    of: Card | None = None,
    folder: Path | None = None,
    seconds: float | None = None,
    kind: str = "submission",
    text: str = "a red car, flat",
    changes: Mapping[str, Any] | None = None,
    **about: Any,
) -> Row:
    """A row whose points lose so much at these levels of savings; with a folder, its examples are written into it."""
    task = of or card("mini-sd-styles")
    points = []
    for level, loss in zip(levels, losses, strict=True):
        examples = []
        for number in range(2 if folder else 0):
            files = [f"{EXAMPLES}/{number:05d}-42-{which}.webp" for which in (f"{level:g}", "baseline")]
            for file in files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shade = int(255 * (level if "baseline" not in file else 0.9))
                Image.fromarray(np.full((16, 16, 3), shade, np.uint8)).save(folder / file, "WEBP")
            scores = {"score": 0.6 - loss, "baseline_score": 0.6}
            examples.append(Example(prompt=number, text=text, seed=42, file=files[0], baseline=files[1], **scores))
        verdict = "no worse" if loss < 0.005 else "undecided" if loss < 0.1 else "worse"
        points.append(
            Point(
                name=f"saves {level:g}",
                nfe=round(7200 * (1 - level)),
                baseline_nfe=7200,
                savings=level,
                seconds=seconds,
                pictures=180,
                identical=round(180 * max(0.0, 0.5 - level)),
                results=results(-loss),
                verdict=verdict,
                pictures_sha256="a" * 64,
                examples=tuple(examples),
            )
        )
    value, low, high = parity
    row = Row(
        card=task.name,
        card_sha256=task.hash,
        method=Method(name=name, kind=kind, **about),
        points=tuple(points),
        parity=Result(value=value, low=low, high=high, n=180),
        seed_control=results(0.003),
        scorers=SCORERS,
        trusted=True,
        floor=0.01,
        versions={"torch": "2.6"},
    )
    row = row.model_copy(update=dict(changes or {})).sealed()
    if folder:
        row.write(folder / ROW)
    return row


def write_rows(folder: Path, *names: str, **about: Any) -> list[Row]:
    """Rows in folders of their own, each better than the one before."""
    return [
        a_row(name, (0.1 + 0.1 * i, 0.05 + 0.1 * i, 0.14 + 0.1 * i), folder=folder / f"row-{i}", **about)
        for i, name in enumerate(names)
    ]
