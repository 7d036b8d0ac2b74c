"""What each denoiser option gives and how far it moves results: ``python -m benchmarks.denoiser_options``.

Every option of `generators.acceleration` by itself, and weights in bf16, against none of them: denoiser calls at one
batch in turns, then baseline pictures from the same noise. Compiling is timed apart, as the first call.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import Results, in_turns, parser, ratio, shown, timed, told
from benchmarks.models import EMBEDDED, Loaded, loaded
from generators.acceleration import Acceleration, uncompilable
from generators.combiners.base import MASK
from generators.conditioning import Conditioning
from generators.families.base import get_family
from generators.families.prompt_returns import Leaf
from generators.sharing.plan import baseline_plan

PLAIN = "none"
MODELS = ("mini-kandinsky", "mini-flux")
BATCH = 32
CAPTION = (
    "Denoiser options, each by itself, over none: time of a denoiser call at one batch with 95% intervals (below 1 it "
    "is faster), and how far the worst row of a call's output, of finished latents (norm of the difference over the "
    "norm) and the pictures (levels of 255) are from those without it."
)


def variants(model: Loaded, compiling: bool) -> dict[str, Loaded]:
    """The model under every option that it can have here, its weights copied for each; first without any."""
    network, cpu = model.family.network, model.device == "cpu"
    found = {PLAIN: Acceleration()}
    if network is not None and any(each.dim() == 4 for each in network.parameters()):
        found["channels-last"] = Acceleration(channels_last=True)
    if model.settings.dtype == "fp32":
        found["autocast"] = Acceleration(autocast=True)
    if cpu and torch.get_num_threads() > 1:
        found["threads 1"] = Acceleration(threads=1)
    if compiling and uncompilable(model.device) is None:
        if getattr(network, "_repeated_blocks", None) and _repeats(network):
            found["compile regional"] = Acceleration(compilation="regional")
        found["compile full"] = Acceleration(compilation="full")
    made = {}
    for name, acceleration in found.items():
        made[name] = replace(model, family=deepcopy(model.family))
        made[name].family.acceleration = acceleration
    if model.entry.name in EMBEDDED and model.settings.dtype == "fp32":
        family = get_family(model.entry.family).load(model.entry, model.device, "bf16")
        made["weights bf16"] = replace(model, family=family, conditioning=_narrow(model.conditioning))
    return made


def _narrow(conditioning: Conditioning) -> Conditioning:
    """Return it as encoders in bf16 would give it; of how many bits it is, the names say."""

    def name_of(name: str) -> str:
        own, mask, behind = name.partition(MASK)
        leaf = Leaf.of(own) if "/" in own else None
        return replace(leaf, dtype="bfloat16").name + mask + behind if leaf and leaf.dtype == "float32" else name

    return Conditioning({name_of(name): tensor for name, tensor in conditioning.tensors.items()})


def _repeats(network: Any) -> bool:
    return any(type(each).__name__ in network._repeated_blocks for each in network.modules())


@contextmanager
def _threads(model: Loaded) -> Iterator[None]:
    """As many as the model's option says, while the block runs."""
    before = torch.get_num_threads()
    model.family.acceleration.begin()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def called(model: Loaded) -> Tensor:
    """One denoiser call, in the middle of sampling, on all its rows."""
    family, settings = model.family, model.settings
    sampler = family.sampler(settings)
    latents = torch.randn(len(model), *family.latent_shape(settings), generator=torch.Generator().manual_seed(0))
    with _threads(model):
        family.accelerate()
        rows = model.conditioning.tensors
        return family.predict(latents.to(family.device, family.dtype), sampler.K // 2, sampler, rows, settings)


def finished(model: Loaded) -> tuple[Tensor, "np.ndarray[Any, Any]"]:
    """Return the latents and pictures of the baseline."""
    with _threads(model):
        execution = model.denoised(baseline_plan(len(model), model.steps), batch=len(model))
        return execution.latents, model.decoded(execution, batch=len(model))


def moved(after: Tensor, before: Tensor) -> float:
    """As `generators.acceleration.Within` measures it."""
    rows, was = after.flatten(1).double().cpu(), before.flatten(1).double().cpu()
    return float(((rows - was).norm(dim=1) / was.norm(dim=1)).max())


def row(found: Mapping[str, Any]) -> dict[str, str]:
    """Of the table."""
    return {
        "model": found["model"],
        "option": found["option"],
        "batch": str(found["batch"]),
        "time / none": shown(found["ratio"], 3),
        "first call, s": f"{found['first_call']:.1f}",
        "output moved": f"{found['output_moved']:.1e}",
        "latents moved": f"{found['latents_moved']:.1e}",
        "levels, mean": f"{found['levels_mean']:.2f}",
        "levels, most": str(found["levels_most"]),
    }


def measured(model: Loaded, turns: int, compiling: bool) -> Iterator[dict[str, Any]]:
    """A finding an option."""
    made = variants(model, compiling)
    first = {name: timed(partial(called, each), model.device)[0] for name, each in made.items()}
    outputs: dict[str, Tensor] = {}
    ways: dict[str, Callable[[], Tensor]] = {name: partial(called, each) for name, each in made.items()}
    seconds = in_turns(ways, turns, model.device, last=outputs)
    latents, pictures = finished(made[PLAIN])
    for name, each in list(made.items())[1:]:
        its_latents, its_pictures = finished(each)
        levels = np.abs(its_pictures.astype(int) - pictures)
        yield {
            "model": model.entry.name,
            "option": name,
            "dtype": model.settings.dtype,
            "batch": len(model),
            "held": each.family.accelerate(),
            "ratio": ratio(seconds[name], seconds[PLAIN]),
            "first_call": first[name],
            "output_most_apart": float((outputs[name].float() - outputs[PLAIN].float()).abs().max()),
            "output_moved": moved(outputs[name], outputs[PLAIN]),
            "latents_moved": moved(its_latents, latents),
            "levels_mean": float(levels.mean()),
            "levels_most": int(levels.max()),
            "seconds": {"with": seconds[name], "without": seconds[PLAIN]},
        }


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("denoiser_options", __doc__, turns=10)
    options.add_argument("--model", action="append", help="only this one; may be repeated")
    options.add_argument("--batch", type=int, default=BATCH, help="rows a call (default %(default)s)")
    options.add_argument("--no-compile", action="store_true", help="leave compiling out, which takes longest")
    asked = options.parse_args(argv)
    results = Results("denoiser_options", asked, argv)
    few, batch, turns = ({"steps": 2}, min(asked.batch, 4), 2) if asked.quick else ({}, asked.batch, asked.turns)
    for name in asked.model or MODELS:
        model = loaded(name, batch, asked.device, **few)
        for found in measured(model, turns, compiling=not asked.no_compile):
            results.add(**found)
            print(
                f"{name}, {found['option']}: {found['ratio']} of the time, moved by {found['output_moved']:.1e} "
                f"a call, {found['latents_moved']:.1e} in all",
                flush=True,
            )


if __name__ == "__main__":
    told(main)
