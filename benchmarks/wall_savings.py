"""Are FLOPs saved seconds saved? ``python -m benchmarks.wall_savings``.

Each model makes the same prompts by the baseline plan and by plans that save about a quarter, a half and three
quarters of its steps, each alone and warmed up, in turns. Seconds and FLOPs are of clustering, planning, denoising and
decoding; encoding, which is the same for all, is in neither. Goal: wall savings at least 0.95 of FLOP savings, from 100
prompts on. ``--full-size``: public models' sizes with random weights, for a GPU.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.measuring import Results, in_turns, parser, ratio, shown, told
from benchmarks.models import BATCH, Loaded, loaded, wanted
from generators.sharing.plan import baseline_plan, build_plan
from generators.sharing.savings import tau_near_savings
from generators.sharing.schedule import get_schedule
from metrics.flops import price

GOAL, FROM = 0.95, 100
SIZES = (32, 100, 500)
LEVELS = (0.25, 0.5, 0.75)
TURNS = {32: 3, 100: 3}  # one where there are more prompts: each takes long enough
CAPTION = (
    "Wall savings over FLOP savings, of clustering, planning, denoising and decoding, each plan alone and warmed up, "
    "with 95% intervals; 1 is the limit that FLOPs set, unless the baseline wastes time that sharing does not."
)


def shared(model: Loaded, tau: float, batch: int) -> None:
    """What a cell does once its prompts are encoded."""
    model.pictures(build_plan(model.tree(), get_schedule("eq7"), tau, model.steps), batch)


def baseline(model: Loaded, batch: int) -> None:
    model.pictures(baseline_plan(len(model), model.steps), batch)


def flop_savings(model: Loaded, node_steps: int) -> float:
    """Of denoising and decoding."""
    parts = [part for part in model.family.components(model.settings) if part.phase != "encode"]
    n = len(model)
    return price(parts, n, node_steps, n).savings(price(parts, n, n * model.steps, n)) or 0.0


def over(flops: float, of_baseline: float) -> float:
    """Wall savings of what took that share of the baseline's time, over FLOP savings."""
    return (1 - of_baseline) / flops


def measured(model: Loaded, levels: Sequence[float], turns: int, batch: int, results: Results) -> None:
    """Every level of one model and number of prompts, beside the baseline, in the same turns."""
    tree, schedule, n = model.tree(), get_schedule("eq7"), len(model)
    taus = [tau_near_savings(tree, schedule, model.steps, level).tau for level in levels]
    plans = [build_plan(tree, schedule, tau, model.steps) for tau in taus]
    ways: dict[str, Callable[[], object]] = {"baseline": partial(baseline, model, batch)}
    ways |= {f"{level:g}": partial(shared, model, tau, batch) for level, tau in zip(levels, taus, strict=True)}
    model.first(min(n, batch)).pictures(baseline_plan(min(n, batch), model.steps), batch)  # warm, and not all of it
    seconds = in_turns(ways, turns, model.device, warm_up=False)
    for level, tau, plan in zip(levels, taus, plans, strict=True):
        flops = flop_savings(model, plan.node_steps)
        taken = ratio(seconds[f"{level:g}"], seconds["baseline"])
        kept = taken.mapped(partial(over, flops))
        results.add(
            model=model.entry.name,
            dtype=model.settings.dtype,
            prompts=n,
            batch=batch,
            level=level,
            tau=tau,
            step_savings=plan.savings,
            flop_savings=flops,
            wall_savings=1 - taken.value,
            ratio=kept,
            seconds={"baseline": seconds["baseline"], "shared": seconds[f"{level:g}"]},
        )
        print(
            f"{model.entry.name}, {n} prompts: saved {plan.savings:.1%} of steps, {flops:.1%} of FLOPs, "
            f"{1 - taken.value:.1%} of seconds: {kept}",
            flush=True,
        )


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    return {
        "model": found["model"],
        "prompts": str(found["prompts"]),
        "steps saved, %": f"{100 * found['step_savings']:.1f}",
        "FLOPs saved, %": f"{100 * found['flop_savings']:.1f}",
        "wall time saved, %": f"{100 * found['wall_savings']:.1f}",
        "wall / FLOPs": shown(found["ratio"], 2),
        "turns": str(found["ratio"]["turns"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("wall_savings", __doc__, turns=0)
    options.set_defaults(turns=None)
    options.add_argument("--model", action="append", help="only this one; may be repeated")
    options.add_argument("--full-size", action="store_true", help="public models' sizes with random weights")
    options.add_argument("--prompts", type=int, nargs="+", default=SIZES)
    options.add_argument("--savings", type=float, nargs="+", default=LEVELS)
    options.add_argument("--batch-size", type=int, default=BATCH)
    options.add_argument("--steps", type=int, help="by default as many as suit each model")
    asked = options.parse_args(argv)
    sizes, levels = (asked.prompts, asked.savings) if not asked.quick else ([8], [0.5])
    steps = {"steps": 4} if asked.quick else {} if asked.steps is None else {"steps": asked.steps}
    results = Results("wall_savings", asked, argv, goal=GOAL, goal_from_prompts=FROM)
    for name in wanted(asked.model, asked.full_size):
        model = loaded(name, max(sizes), asked.device, **steps)
        for n in sizes:
            turns = 1 if asked.quick else asked.turns or TURNS.get(n, 1)
            measured(model.first(n), levels, turns, asked.batch_size, results)


if __name__ == "__main__":
    told(main)
