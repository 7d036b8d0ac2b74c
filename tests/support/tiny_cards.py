"""A task card of random-weight checkpoints, and submissions to it."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from generators.prompts import prompt_set
from tasks.card import FROZEN, Card

DATASET, PROMPTS, SEEDS, SIDE = "mini_animals", 4, (1, 2), 32


def tiny_card(tiny: Any, **changes: Any) -> Card:
    """Four prompts and two seeds on the tiny Kandinsky, three steps of two rows each."""
    told = {
        "name": "test-v1/tiny",
        "title": "a card of tests",
        "track": "miniature",
        "model": str(tiny.model),
        "weights": None,
        "dataset": DATASET,
        "prompts": prompt_set(DATASET).hash,
        "limit": PROMPTS,
        "seeds": SEEDS,
        "steps": 3,
        "scheduler": "DDIMScheduler",
        "guidance": 3.0,
        "dtype": "fp32",
        "height": SIDE,
        "width": SIDE,
        "rows": 6,
        "settings": {"prior_steps": 2},
        "scorers": (f"vqa={tiny.vqa}", f"clip_diversity={tiny.clip}"),
        "delta": 0.05,
        "savings": ("0.3",),
    }
    return Card.model_validate({**told, **changes})


def save_card(cards: Path, card: Card) -> None:
    """Write a card's file, and its hash into the list of its suite."""
    suite, _, name = card.name.partition("/")
    (cards / suite).mkdir(parents=True, exist_ok=True)
    (cards / suite / f"{name}.yaml").write_text(json.dumps(card.model_dump(mode="json", exclude={"name"})))
    (cards / suite / FROZEN).write_text(f"{card.hash}  {name}\n")


def submit(
    folder: Path, card: Card, *, nfe: float = 3, about: dict[str, Any] | None = None, points: tuple[str, ...] = ()
) -> Path:
    """Write a submission of random pictures, a point after the other; every picture took `nfe` rows."""
    (folder / "pictures").mkdir(parents=True)
    rows, draw = [], np.random.default_rng(7)
    for point in points or ("",):
        for seed in card.seeds:
            for prompt in range(card.limit or 0):
                file = f"pictures/{point}{prompt}-{seed}.png"
                pixels = draw.integers(0, 256, (card.height, card.width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / file)
                row = {"prompt": prompt, "seed": seed, "file": file, "nfe": nfe}
                rows.append(row | ({"point": point} if point else {}))
    told = {"card": card.name, "name": "a method", "noise": "own", **(about or {})}
    (folder / "submission.yaml").write_text(json.dumps({key: value for key, value in told.items() if value}))
    write_manifest(folder, rows)
    return folder


def manifest(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a submission's manifest."""
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_manifest(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write these rows as a submission's manifest."""
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
