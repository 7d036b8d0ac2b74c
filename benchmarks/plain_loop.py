"""One tau by our executor against a plain loop, as published: ``python -m benchmarks.plain_loop``.

Both begin with the same embeddings and draw the same noise in the same order; both cluster, denoise and decode. The
loop (`published_procedure`) is SciPy, a stock UNet and scheduler, and batches of 32 clusters of one step. The pictures
are shown to be the same. Goal: never slower on a CPU, the loop 1.5 times ours on a GPU.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import Results, in_turns, parser, ratio, shown, told
from benchmarks.models import BATCH, Loaded, loaded
from benchmarks.published_procedure import decoded, denoised
from generators.families.kandinsky import Kandinsky
from generators.noise import OfficialNoise
from generators.sharing.labels import fcluster_order
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.schedule import get_schedule

GOALS = {"cpu": 1.0, "cuda": 1.5}
TAUS = (0.5, 1.0, 1.5)
# Means are rounded in another order, and a cluster stands elsewhere in its batch; half precision makes more of both.
APART = {"fp32": 0.05, "fp16": 2.0, "bf16": 4.0}
CAPTION = (
    "A plain loop of the published procedure over ours: time from the same embeddings to the same pictures, with 95% "
    "intervals; above 1 ours is faster."
)


def drawing(model: Loaded) -> torch.Generator:
    """The stream of noise where the prior left it."""
    generator = torch.Generator(model.device).manual_seed(model.settings.seed)
    if model.conditioning.stream is not None:
        generator.set_state(model.conditioning.stream)
    return generator


def plan_of(model: Loaded, tau: float) -> SharingPlan:
    return build_plan(model.tree(), get_schedule("official"), tau, model.steps)


def ours(model: Loaded, tau: float, batch: int) -> NDArray[np.uint8]:
    """Cluster, plan, denoise, decode."""
    tree = model.tree()
    plan = build_plan(tree, get_schedule("official"), tau, model.steps)
    noise = OfficialNoise(drawing(model), model.family.dtype, plan, fcluster_order(tree), model.keys)
    return model.pictures(plan, batch, noise)


def plain(model: Loaded, tau: float) -> NDArray[np.uint8]:
    """The same by the plain loop."""
    settings, family = model.settings, cast(Kandinsky, model.family)
    pipeline = family.decoder
    tensors = model.conditioning.tensors
    embeds = torch.stack([tensors["image_embeds"], tensors["negative_image_embeds"]])
    latents, _ = denoised(
        pipeline,
        embeds.to(model.device),
        tau=tau,
        steps=settings.steps,
        guidance=settings.guidance,
        height=settings.height,
        width=settings.width,
        generator=drawing(model),
    )
    pictures = decoded(pipeline.movq, latents).permute(0, 2, 3, 1).float().cpu().numpy()
    return (pictures * 255).round().astype(np.uint8)


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    return {
        "model": found["model"],
        "prompts": str(found["prompts"]),
        "tau": f"{found['tau']:g}",
        "steps saved, %": f"{100 * found['savings']:.1f}",
        "our batch": str(found["batch"]),
        "loop / ours": shown(found["ratio"], 3),
        "turns": str(found["ratio"]["turns"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("plain_loop", __doc__, turns=5)
    options.add_argument("--model", default="mini-kandinsky", help="of Kandinsky's family (default %(default)s)")
    options.add_argument("--prompts", type=int, default=100)
    options.add_argument("--tau", type=float, nargs="+", default=TAUS)
    options.add_argument("--batch-size", type=int, default=BATCH, help="of ours; the loop's is 32")
    asked = options.parse_args(argv)
    prompts, steps = (6, {"steps": 2}) if asked.quick else (asked.prompts, {})
    model = loaded(asked.model, prompts, asked.device, noise="official", scheduler="DDPMScheduler", **steps)
    results = Results("plain_loop", asked, argv, goal=GOALS[asked.device.partition(":")[0]])
    plain(model.first(BATCH), 0.0)  # warm
    ours(model.first(BATCH), 0.0, asked.batch_size)
    for tau in asked.tau[:1] if asked.quick else asked.tau:
        ways: dict[str, Callable[[], NDArray[np.uint8]]] = {
            "plain": partial(plain, model, tau),
            "ours": partial(ours, model, tau, asked.batch_size),
        }
        made: dict[str, NDArray[np.uint8]] = {}
        seconds = in_turns(ways, 1 if asked.quick else asked.turns, asked.device, warm_up=False, last=made)
        apart = float(np.abs(made["ours"].astype(int) - made["plain"]).mean())
        assert apart <= APART[model.settings.dtype], f"pictures are {apart} levels apart"
        found = ratio(seconds["plain"], seconds["ours"])
        results.add(
            model=asked.model,
            dtype=model.settings.dtype,
            prompts=prompts,
            tau=tau,
            batch=asked.batch_size,
            savings=plan_of(model, tau).savings,
            levels_apart=apart,
            ratio=found,
            seconds=seconds,
        )
        print(f"tau {tau:g}: the plain loop takes {found} times as long as ours", flush=True)


if __name__ == "__main__":
    told(main)
