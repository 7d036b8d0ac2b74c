"""How often does a cache of latents hit, and how far in? ``python -m benchmarks.cache_hits``.

The strategy `cache` at its own table (tau 1, 50 steps) over public prompt sets as streams, by MiniLM's text embeddings
(the extra ``minilm``): what is planned, no picture is made. Sets stream in their own order, prompt_templates, which is
sorted, in a drawn one. The prompt sets are fetched by ``bench datasets fetch``.
"""

import argparse
import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from common.files import atomic_write
from generators.prompts import prompt_set
from generators.sharing.schedule import get_schedule
from generators.sharing.stream import Eviction, Storing
from generators.strategies.base import get_strategy
from generators.strategies.cache import Cache
from generators.text_encoders.base import text_embeddings

RESULTS = Path(__file__).parent / "results" / "cache_hits.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "cache_hits.png"
ORDERS = {"animals": "given", "genai_bench": "given", "prompt_templates": "drawn"}
SIZES = (200, 1000)
STEPS = 50


def hits(strategy: Cache, rows: NDArray[np.floating], steps: int) -> dict[int, float]:
    """Return the share of prompts that start at each step above 0, by step."""
    starts = strategy.grouping(rows, seed=0).starts(get_schedule("eq7"), 1, steps)
    return {step: n / len(rows) for step, n in sorted(Counter(s.latent[1] for s in starts if s.latent).items())}


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Draw a panel a set, a bar a size and rule, a colour a step."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(ORDERS), figsize=(11, 3.2), sharey=True, layout="constrained")
    steps = sorted({int(step) for row in found for step in row["hits"]})
    for panel, name in zip(panels, ORDERS, strict=True):
        rows = [row for row in found if row["set"] == name]
        labels = [f"{row['size']:,} latents, {row['eviction']}, {row['store']}" for row in rows]
        left = np.zeros(len(rows))
        for place, step in enumerate(steps):
            wide = np.array([100 * row["hits"].get(step, 0) for row in rows])
            colour = plt.get_cmap("viridis_r")(place / max(len(steps) - 1, 1))
            panel.barh(labels, wide, left=left, color=colour, label=f"{step} of {STEPS} steps")
            left += wide
        for place, row in enumerate(rows):
            panel.text(left[place], place, f" {row['saved']:.1%} saved", va="center", fontsize=7)
        panel.set(title=f"{name}, {rows[0]['prompts']:,}", xlim=(0, 1.35 * left.max()), xlabel="prompts that hit, %")
        panel.set_xticks([tick for tick in panel.get_xticks() if 0 <= tick <= 100])
    panels[0].invert_yaxis()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(steps), title="skipped")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    for name, order in ORDERS.items():
        rows = text_embeddings("minilm", prompt_set(name).prompts)
        for size, eviction, store in product(SIZES, get_args(Eviction), get_args(Storing)):
            rule = {"size": size, "eviction": eviction, "store": store}
            strategy = get_strategy("cache", order=order, **rule)
            assert isinstance(strategy, Cache)
            by_step = hits(strategy, rows, STEPS)
            saved = sum(step * share for step, share in by_step.items()) / STEPS
            found.append({"set": name, "prompts": len(rows), "order": order, **rule, "hits": by_step, "saved": saved})
            print(f"{name:>16}, {size:>5}, {eviction:>5}, {store:>6}: {sum(by_step.values()):.1%}, {saved:.1%} saved")
    atomic_write(asked.out, json.dumps({"steps": STEPS, "encoder": "minilm", "streams": found}, indent=1) + "\n")
    draw(found, asked.picture)


if __name__ == "__main__":
    main()
