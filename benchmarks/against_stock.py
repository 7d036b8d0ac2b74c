"""Baseline pictures by our executor against diffusers' own pipelines: ``python -m benchmarks.against_stock``.

The same modules, conditioning, steps, guidance and batch, decoded on both sides; first the pictures are shown to be the
same from the same noise. Then each draws its own: the pipeline from one generator, as it is usually called, ours a
stream a picture. Karlo's pipeline takes prompts only, so both encode there too. Goal: at most 1.02 times its time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Results, in_turns, parser, ratio, shown, told
from benchmarks.models import Loaded, loaded, wanted
from benchmarks.stock import Stock
from generators.sharing.plan import baseline_plan

GOAL = 1.02
BATCHES = (8, 32)
# In half precision guidance makes more of rounding; on the CPU ours is stock bit for bit (tests/generators/families).
APART = {"fp32": 0.0, "fp16": 2.0, "bf16": 4.0}
CAPTION = (
    "Baseline pictures by our executor over diffusers' own pipeline: time of the same pictures at the same batch, "
    "with 95% intervals; below 1 ours is faster."
)


def ours(model: Loaded) -> NDArray[np.uint8]:
    """Make one batch of baseline pictures."""
    return model.pictures(baseline_plan(len(model), model.steps), batch=len(model))


def encoded_and_ours(model: Loaded) -> NDArray[np.uint8]:
    model.family.encode(model.prompts, model.keys, model.settings)
    return ours(model)


def same(made: NDArray[np.uint8], expected: NDArray[np.uint8], dtype: str) -> float:
    """By how many levels they differ on average; an AssertionError if that is more than rounding makes."""
    apart = float(np.abs(made.astype(int) - expected).mean())
    assert made.shape == expected.shape and apart <= APART[dtype], f"pictures are {apart} levels apart"
    return apart


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    return {
        "model": found["model"],
        "batch": str(found["batch"]),
        "steps": str(found["steps"]),
        "ours / stock": shown(found["ratio"], 3),
        "turns": str(found["ratio"]["turns"]),
        "timed": "encode, denoise, decode" if found["encoded"] else "denoise, decode",
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("against_stock", __doc__, turns=7)
    options.add_argument("--model", action="append", help="only this one; may be repeated")
    options.add_argument("--full-size", action="store_true", help="public models' sizes with random weights")
    options.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    asked = options.parse_args(argv)
    few = {"steps": 2} if asked.quick else {}
    results = Results("against_stock", asked, argv, goal=GOAL)
    for name in wanted(asked.model, asked.full_size):
        if name == "karlo":
            continue  # its pipeline's prior and text encoder are not built with random weights
        model = loaded(name, max(asked.batches), asked.device, **few)
        for batch in asked.batches:
            part = model.first(batch)
            stock = Stock(part)
            apart = same(ours(part), stock.same_pictures(slice(None)), part.settings.dtype)
            ways: dict[str, Callable[[], object]] = {
                "ours": partial(encoded_and_ours if stock.encodes else ours, part),
                "stock": partial(stock.pictures, slice(None)),
            }
            seconds = in_turns(ways, 1 if asked.quick else asked.turns, asked.device)
            found = ratio(seconds["ours"], seconds["stock"])
            results.add(
                model=name,
                dtype=part.settings.dtype,
                batch=batch,
                steps=part.steps,
                encoded=stock.encodes,
                levels_apart=apart,
                ratio=found,
                seconds=seconds,
            )
            print(f"{name}, batch {batch}: {found} of the stock pipeline's time", flush=True)


if __name__ == "__main__":
    told(main)
