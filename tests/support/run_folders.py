"""Run folders as `bench sweep` leaves them, made with `Record` itself and small drawn pictures."""

import json
from collections.abc import Sequence
from decimal import Decimal
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy.cluster.hierarchy import linkage

from common.files import canonical_json, read_sealed, sha256_file, sha256_text, write_sealed
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from sweeps.pictures import MANIFEST, Manifest, load_manifest
from sweeps.record import (
    ID,
    CellConfig,
    ExecutionStats,
    Failure,
    FlopCost,
    PlanCost,
    Record,
    Result,
    read_record,
)

THINGS = ("penguin", "cactus", "rocket", "strawberry", "violin", "lighthouse", "turtle", "bicycle", "mushroom", "crown")
STYLES = ("flat drawing", "glossy 3D rendering", "blob icon", "outlined sticker", "$2 pixel_art & 100% retro")
STEPS = 20
VQA_FIGURES = {
    "win_rate": {"label": "VQA win rate", "unit": "fraction", "higher_is_better": True},
    "win_rate_strict": {"label": "VQA win rate, strict", "unit": "fraction", "higher_is_better": True},
    "wins": {"label": "wins", "unit": "count", "higher_is_better": None},
    "ties": {"label": "ties", "unit": "count", "higher_is_better": None},
    "losses": {"label": "losses", "unit": "count", "higher_is_better": None},
    "vqa_difference": {"label": "VQAScore difference", "unit": "score", "higher_is_better": True},
    "vqa_mean": {"label": "VQAScore", "unit": "score", "higher_is_better": True},
    "vqa_mean_standard": {"label": "VQAScore, baseline", "unit": "score", "higher_is_better": True, "floor": 0.1},
}
CLIP_FIGURES = {
    "clip_similarity": {"label": "CLIP similarity", "unit": "score", "higher_is_better": False},
    "clip_similarity_standard": {"label": "CLIP similarity, standard", "unit": "score", "higher_is_better": False},
}


def prompts_of(n: int) -> list[str]:
    return [
        f"a {STYLES[i // 10 % 5]} of a {THINGS[i % 10]} on a {['blue', 'red'][i // 50 % 2]} ground" for i in range(n)
    ]


def asked(tau: str, **axes: object) -> CellConfig:
    values = {
        "model": "mini-kandinsky",
        "dataset": "mini_templates",
        "strategy": "ward-cosine",
        "features": "image",
        "schedule": "eq7",
        "combiner": "mean",
        "steps": STEPS,
        "seed": 42,
        "noise": "per-root",
        "scheduler": "DDPMScheduler",
        "guidance": 3.0,
    }
    return CellConfig(tau=Decimal(tau), **{**values, **axes})


def outcomes_at(tau: float, n: int, worse: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return outcomes [n]: all ties at tau 0, a win rate that falls below 50% as tau grows, in any order."""
    ties = round(n * exp(-3 * tau))
    wins = min(n - ties, max(0, round((0.5 - (0.09 * tau + worse) * (tau > 0)) * n - ties / 2)))
    losses = n - ties - wins
    return np.random.default_rng([seed, round(100 * tau)]).permutation([1] * wins + [0] * ties + [-1] * losses)


def figures_at(outcomes: np.ndarray, tau: float) -> dict[str, Result]:
    """Figures shaped like real ones."""
    n = len(outcomes)
    wins, ties = int((outcomes > 0).sum()), int((outcomes == 0).sum())
    rate = 0.5 + float(outcomes.mean()) / 2
    half = 1.96 * sqrt((n - ties) / n) * 0.5 / sqrt(n)
    mean = 0.2 * (rate - 0.5)
    similarity = 0.62 + 0.035 * tau
    return {
        "vqa.win_rate": Result(value=rate, low=rate - half, high=rate + half, n=n, method="Tango score"),
        "vqa.win_rate_strict": Result(value=wins / n, low=wins / n * 0.8, high=wins / n * 1.15, n=n, method="Wilson"),
        "vqa.wins": Result(value=wins),
        "vqa.ties": Result(value=ties),
        "vqa.losses": Result(value=n - ties - wins),
        "vqa.vqa_difference": Result(
            value=mean, low=mean - 0.1 * half, high=mean + 0.1 * half, n=n, method="BCa bootstrap"
        ),
        "vqa.vqa_mean": Result(value=0.8 + mean, low=0.78 + mean, high=0.82 + mean, n=n, method="BCa bootstrap"),
        "vqa.vqa_mean_standard": Result(value=0.8, low=0.78, high=0.82, n=n, method="BCa bootstrap"),
        "clip_diversity.clip_similarity": Result(
            value=similarity, low=similarity - 0.02, high=similarity + 0.02, n=n, method="percentile bootstrap"
        ),
        "clip_diversity.clip_similarity_standard": Result(
            value=0.62, low=0.6, high=0.64, n=n, method="percentile bootstrap"
        ),
        "clip_diversity.clip_similarity_difference": Result(value=0.62 - similarity, n=n),
    }


def record_at(
    where: CellConfig, n: int, worse: float = 0.0, family: str = "kandinsky", conditioned_on: str | None = "image"
) -> Record:
    tau = float(where.tau)
    savings = round(0.75 * (1 - exp(-tau)), 4)
    total = STEPS * n
    cost = {"prior": 2e9 * n, "denoiser": 9e8 * total * (1 - savings), "decoder": 3e8 * n}
    standard = cost["prior"] + 9e8 * total + cost["decoder"]
    identity = {"family": {"name": family, "version": 1}, "weights": "0" * 64, "asked": where.model_dump(mode="json")}
    return Record(
        id=id_of(identity),
        status="done",
        config=where,
        conditioned_on=conditioned_on,
        identity=identity,
        plan=PlanCost(
            n_prompts=n,
            steps_requested=STEPS,
            K=STEPS,
            node_steps=round(total * (1 - savings)),
            baseline_node_steps=total,
            savings=savings,
        ),
        flops=FlopCost(
            components=cost,
            total=sum(cost.values()),
            baseline_total=standard,
            savings=1 - sum(cost.values()) / standard,
        ),
        figures=figures_at(outcomes_at(tau, n, worse, where.seed), tau),
        timings={"cluster": 0.5, "denoise": 20 * (1 - savings) + 0.123456789, "decode": 3.5, "score": 4.25},
        baseline_timings={"encode": 1.0, "denoise": 20.0, "decode": 3.5, "score": 4.25},
        execution=ExecutionStats(calls=100, rows=round(total * (1 - savings)), batch_size=32),
        scorers={
            "vqa": {"name": "vqa", "checkpoint": "mini-vqa", "figures": VQA_FIGURES},
            "clip_diversity": {"name": "clip_diversity", "checkpoint": "mini-clip", "figures": CLIP_FIGURES},
        },
        versions={"torch": "2.13.0", "reusebench": "0.1.0"},
        machine={"cpu": "2 cores"},
        standard=f"shared/{sha256_text(f'{where.model} {where.dataset} {where.seed}')[:16]}",
    )


def id_of(identity: dict[str, Any]) -> str:
    """A cell's id."""
    return sha256_text(canonical_json(identity))[:ID]


def identified(record: Record, **identity: Any) -> Record:
    """The record of another cell, which differs in this; its pictures and scores are those of any manifest."""
    known = {**record.identity, **identity}
    return record.model_copy(update={"identity": known, "id": id_of(known), "picture_sets": {}, "scored": {}})


def as_made(folder: Path, **about: Any) -> str:
    """Change a folder's manifest as if its pictures had been made so, of any cell; return its hash."""
    write_sealed(folder / MANIFEST, {**read_sealed(folder / MANIFEST)[0], **about, "id": ""})
    return load_manifest(folder).hash


def untied(run: Path) -> None:
    """Make records those of an earlier version, which do not say which pictures and scores they are of."""
    for path in run.glob("cells/*/record.json"):
        record = read_record(path).model_copy(update={"picture_sets": {}, "scored": {}})
        path.write_text(record.model_dump_json())


def failed(where: CellConfig) -> Record:
    error = Failure(type="UserError", message="the picture 00003.png is damaged", hint="run the same sweep again")
    return Record(id=f"1-failed-{where.tau}", status="failed", config=where, error=error)


def save_record(run: Path, record: Record) -> None:
    record.folder(run).mkdir(parents=True, exist_ok=True)
    (record.folder(run) / "record.json").write_text(record.model_dump_json())


def save_scores(run: Path, record: Record, outcomes: np.ndarray, embedded: bool = True) -> None:
    """Scores of these outcomes: standard's at random, ours above, at or below them."""
    standard = np.random.default_rng(3).uniform(0.3, 0.7, len(outcomes))
    for path, scores in ((record.baseline_scores(run), standard), (record.scores(run), standard + 0.1 * outcomes)):
        path.parent.mkdir(parents=True, exist_ok=True)
        embeddings = {"clip_diversity.clip": [[0.6, 0.8]] * len(scores)} if embedded else {}
        pd.DataFrame({"prompt": prompts_of(len(scores)), "vqa.vqa": scores, **embeddings}).to_parquet(path)


def draw_pictures(folder: Path, n: int, side: int, drift: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for i in range(n):
        hue = np.array([(i % 10) * 25, (i // 10 % 5) * 50, 230 - (i % 7) * 30])
        shade = tuple(int(c) for c in hue * (1 - drift) + 128 * drift)
        picture = Image.new("RGB", (side, side), ("#cfe3f7", "#f7d8d3")[i // 50 % 2])
        x, y = (rng.random(2) * side * 0.3).astype(int)
        shape = (int(x), int(y), int(x + side * 0.6), int(y + side * 0.6))
        getattr(ImageDraw.Draw(picture), ("ellipse", "rectangle")[i % 2])(shape, fill=shade)
        picture.save(folder / f"{i:05d}.png")


def save_tree(folder: Path, n: int, tau: float) -> None:
    """A Ward tree of clustered points, and the plan that it gives."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 8))
    points = centres[np.arange(n) % 10] + 0.35 * rng.normal(size=(n, 8))
    Z = linkage(points / np.linalg.norm(points, axis=1, keepdims=True), "ward")
    Z[:, 2] /= 1.6
    tree = Tree.from_linkage(Z)
    tree.save(folder / "tree.npz")
    build_plan(tree, get_schedule("eq7"), tau, STEPS).save(folder / "plan.npz")


def make_run(
    folder: Path,
    taus: Sequence[str] = ("0", "0.5", "1"),
    n: int = 12,
    side: int = 16,
    series: Sequence[dict[str, object]] = ({},),
    fail: Sequence[str] = (),
) -> Path:
    (folder / "cells").mkdir(parents=True)
    (folder / "sweep.yaml").write_text("schema_version: 1\nmodel: [mini-kandinsky]\ntau: ['0', '0.5', '1']\n")
    for position, axes in enumerate(series):
        for tau in taus:
            where = asked(tau, **axes)
            if tau in fail:
                save_record(folder, failed(where))
                continue
            record = record_at(where, n, worse=0.03 * position)
            save_record(folder, record)
            save_scores(folder, record, outcomes_at(float(tau), n, 0.03 * position, where.seed))
            draw_pictures(record.folder(folder) / "images", n, side, drift=0.4 * float(tau))
            save_tree(record.folder(folder), n, float(tau))
            baseline = folder / record.baseline
            if not (baseline / "prompts.json").exists():
                draw_pictures(baseline / "images", n, side, drift=0)
                (baseline / "prompts.json").write_text(json.dumps(prompts_of(n)))
            save_manifests(record.folder(folder), baseline, record)
    return folder


def save_manifests(folder: Path, baseline: Path, record: Record) -> None:
    """Give prompts that are alone all the way the baseline's pictures, and both folders their manifests."""
    solo = SharingPlan.load(folder / "plan.npz").solo
    for prompt in np.flatnonzero(solo).tolist():
        name = f"images/{prompt:05d}.png"
        (folder / name).write_bytes((baseline / name).read_bytes())
    for place in (folder, baseline):
        images = {path.name: sha256_file(path) for path in sorted((place / "images").glob("*.png"))}
        (place / "generation.json").write_text(Manifest(images=images, plan=record.plan).model_dump_json())


def save_embeddings(path: Path, rows: np.ndarray) -> None:
    scores = pd.read_parquet(path)
    scores["clip_diversity.clip"] = list(rows)
    scores.to_parquet(path)
