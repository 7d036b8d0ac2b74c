"""Do savings grow with the set? Random subsets of the paper's prompt sets: ``python -m benchmarks.set_size``.

By MiniLM's text embeddings (the extra ``minilm``), so predicted from text and not any model's own; with Ward on cosine
distances, K = 40, eq. 7: at tau 1, and at the tau that puts prompts as far from the means they are denoised with as
``--spread`` says. The prompt sets are fetched by ``bench datasets fetch``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale import STEPS, at_spread
from common.files import atomic_write
from generators.prompts import prompt_set
from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from generators.text_encoders.base import text_embeddings

RESULTS = Path(__file__).parent / "results" / "set_size.json"
SETS = ("animals", "genai_bench", "prompt_templates", "style_variations")
SIZES = (25, 50, 100, 200, 500, 1000, 2000)


def measured(rows: NDArray[np.floating], tau: float, target: float) -> tuple[float, float]:
    """Savings at this tau, and at this spread."""
    tree = get_strategy("ward-cosine").tree(rows)
    at_tau = build_plan(tree, get_schedule("eq7"), tau, STEPS).savings
    return at_tau, at_spread(tree, rows, target)["savings"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tau", type=float, default=1.0)
    parser.add_argument("--spread", type=float, default=0.1)
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    found: dict[str, list[dict[str, object]]] = {}
    for name in SETS:
        rows = text_embeddings("minilm", prompt_set(name).prompts)
        rng = np.random.default_rng(0)
        for n in sorted({min(size, len(rows)) for size in SIZES}):
            drawn = [rng.choice(len(rows), n, replace=False) for _ in range(asked.subsets if n < len(rows) else 1)]
            at_tau, at = zip(*(measured(rows[np.sort(one)], asked.tau, asked.spread) for one in drawn), strict=True)
            found.setdefault(name, []).append({"prompts": n, "at_tau": at_tau, "at_spread": at})
            print(f"{name:>17}, {n:>5}: {np.mean(at_tau):.1%} at tau {asked.tau:g}, {np.mean(at):.1%} at the spread")
    content = {"tau": asked.tau, "spread": asked.spread, "encoder": "minilm", "sets": found}
    atomic_write(asked.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
