"""A sweep over tau as one plan against its runs one by one: ``python -m benchmarks.united_sweep``.

Nine taus, each run by itself from its embeddings to its pictures, against the union of their plans, which denoises once
what several of them denoise alike and decodes once what is one picture. The pictures are shown to be the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Results, in_turns, parser, ratio, shown, told
from benchmarks.models import BATCH, Loaded, loaded, wanted
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.union import union

TAUS = tuple(float(tau) for tau in np.arange(0, 2.01, 0.25))
# A node stands elsewhere in its batch, which changes the order of sums; half precision makes more of that.
APART = {"fp32": 0.05, "fp16": 2.0, "bf16": 4.0}
CAPTION = (
    "A sweep over tau run by run over the same sweep as one plan: node-steps and time of the same pictures, with 95% "
    "intervals."
)


def plans_of(model: Loaded, taus: Sequence[float]) -> list[SharingPlan]:
    tree, schedule = model.tree(), get_schedule("eq7")
    return [build_plan(tree, schedule, tau, model.steps) for tau in taus]


def one_by_one(model: Loaded, taus: Sequence[float], batch: int) -> list[NDArray[np.uint8]]:
    """Each tau's pictures, as separate runs make them."""
    return [model.pictures(plan, batch) for tau in taus for plan in plans_of(model, [tau])]


def united(model: Loaded, taus: Sequence[float], batch: int) -> list[NDArray[np.uint8]]:
    """Each tau's pictures, all of one plan."""
    whole = union(plans_of(model, taus))
    made = model.decoded(model.denoised(whole.plan, batch, ends=(whole.ends, whole.prompts)), batch)
    return [made[rows] for rows in whole.rows]


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    steps = found["node_steps"]
    return {
        "model": found["model"],
        "prompts": str(found["prompts"]),
        "taus": str(len(found["taus"])),
        "node-steps, run by run": f"{steps['separate']:,}",
        "united": f"{steps['united']:,}",
        "node-steps, ratio": f"{found['node_steps_ratio']:.2f}",
        "time, ratio": shown(found["ratio"], 2),
        "turns": str(found["ratio"]["turns"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("united_sweep", __doc__, turns=3)
    options.add_argument("--model", action="append", help="mini-kandinsky unless given; may be repeated")
    options.add_argument("--full-size", action="store_true", help="public models' sizes with random weights")
    options.add_argument("--prompts", type=int, default=120)
    options.add_argument("--tau", type=float, nargs="+", default=TAUS)
    options.add_argument("--batch-size", type=int, default=BATCH)
    asked = options.parse_args(argv)
    prompts, taus, few = (6, asked.tau[::4], {"steps": 3}) if asked.quick else (asked.prompts, asked.tau, {})
    results = Results("united_sweep", asked, argv)
    for name in asked.model or (["mini-kandinsky"] if not asked.full_size else wanted(None, True)):
        model = loaded(name, prompts, asked.device, **few)
        plans = plans_of(model, taus)
        separate, together = sum(plan.node_steps for plan in plans), union(plans).plan.node_steps
        united(model.first(BATCH), taus[:1], asked.batch_size)  # warm
        ways: dict[str, Callable[[], list[NDArray[np.uint8]]]] = {
            "separate": partial(one_by_one, model, taus, asked.batch_size),
            "united": partial(united, model, taus, asked.batch_size),
        }
        made: dict[str, list[NDArray[np.uint8]]] = {}
        seconds = in_turns(ways, 1 if asked.quick else asked.turns, asked.device, warm_up=False, last=made)
        pairs = zip(made["separate"], made["united"], strict=True)
        apart = max(float(np.abs(one.astype(int) - other).mean()) for one, other in pairs)
        assert apart <= APART[model.settings.dtype], f"pictures are {apart} levels apart"
        found = ratio(seconds["separate"], seconds["united"])
        results.add(
            model=name,
            dtype=model.settings.dtype,
            prompts=prompts,
            taus=list(taus),
            node_steps={"separate": separate, "united": together},
            node_steps_ratio=separate / together,
            levels_apart=apart,
            ratio=found,
            seconds=seconds,
        )
        print(
            f"{name}: {len(taus)} runs of {separate} node-steps, {together} united ({separate / together:.2f} times "
            f"fewer): the runs take {found} times as long",
            flush=True,
        )


if __name__ == "__main__":
    told(main)
