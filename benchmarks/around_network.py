"""Milliseconds a step that are not the network's: ``python -m benchmarks.around_network``.

Of every class of pipeline that the tests prove equal to stock, on its small random checkpoint: from the end of one
forward to the beginning of the next, in the processor's time of one thread, by our executor and by the pipeline's own
call. A step's are the sum of the medians over all steps. What is around a network does not grow with its depth, so on a
full-size model these are the milliseconds that it is slower by; a network of 0.8 TFLOP takes seconds on a CPU and
tens of milliseconds on a GPU. ``--full-size`` shows the share for Stable Diffusion 1.5 and for FLUX.1 of six blocks.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.measuring import Results, parser, told
from generators.executor import execute
from generators.families.pipeline_classes import PROVED
from generators.noise import KeyedNoise
from generators.sharing.plan import baseline_plan

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))  # whose small checkpoints these are

STEPS = 20
FULL_SIZE = {"sd15": {}, "flux-dev": {"num_layers": 2, "num_single_layers": 4}}
CAPTION = (
    "Processor time of one thread around the network, in milliseconds a step at batch 1, by us and by the pipeline's "
    "own call, on small random checkpoints."
)


@contextmanager
def heard(network: nn.Module) -> Iterator[list[tuple[float, float]]]:
    """Give the thread's seconds at the beginning and the end of each forward, as they come."""
    calls: list[tuple[float, float]] = []
    forward = network.forward

    @wraps(forward)  # modular pipelines look at its parameters
    def timed(*args: Any, **further: Any) -> Any:
        start = time.thread_time()
        try:
            return forward(*args, **further)
        finally:
            calls.append((start, time.thread_time()))

    with patch.object(network, "forward", timed):
        yield calls


def around(work: Callable[[], object], network: nn.Module, steps: int) -> float:
    """Return the milliseconds a step around the network in this work.

    Args:
        work: calls the network as often in every step.
        steps: how many there are.
    """
    with heard(network) as calls:
        work()
    a_step, rest = divmod(len(calls), steps)
    if rest or not a_step:
        raise ValueError(f"{len(calls)} calls of the network in {steps} steps")
    between = [1e3 * (following[0] - call[1]) for call, following in pairwise(calls)]
    return sum(median(between[place::a_step]) for place in range(a_step))


def small(name: str, folder: Path) -> tuple[float, float]:
    """Return milliseconds a step of that class: ours, and stock's."""
    from pytest import MonkeyPatch
    from stock_pipelines import KEYS, PROMPTS, Case
    from tiny_pipelines import SMALLER, shrink

    with MonkeyPatch.context() as smaller:
        if name in SMALLER:
            shrink(smaller, name)
        return compared(Case.tiny(name, folder), PROMPTS[:1], KEYS[:1])


def compared(case: Any, prompts: list[str], keys: list[str]) -> tuple[float, float]:
    """Return milliseconds a step of one checkpoint: ours, and stock's."""
    settings = case.settings(steps=STEPS)
    family, steps = case.family, case.family.sampler(settings).K
    conditioning = family.encode(prompts, keys, settings)
    network = getattr(case.stock, family._model.denoiser)

    def ours() -> None:
        execute(baseline_plan(1, steps), family, conditioning, keys, settings, noise=KeyedNoise(0), batch_size=1)

    def theirs() -> None:
        case.stock(**case.arguments(settings, prompts), output_type="np", generator=torch.Generator().manual_seed(0))

    ours()
    theirs()
    return around(ours, family.network, steps), around(theirs, network, steps)


def full_size(name: str, fewer: dict[str, int]) -> dict[str, float]:
    """Return milliseconds a step around the network with random weights in bf16, and the network's own."""
    import diffusers

    from benchmarks.random_models import denoising, prepared

    kind = diffusers.FluxTransformer2DModel if fewer else diffusers.UNet2DConditionModel
    built = kind.from_config.__func__

    def shallow(cls: Any, config: Any, **further: Any) -> Any:
        return built(cls, {**config, **fewer}, **further)

    with patch.object(kind, "from_config", classmethod(shallow)):
        family, settings, conditioning = prepared(name, "cpu", 1, 3, dtype="bf16")
        pipeline = denoising(family)
    network, steps = family.network, family.sampler(settings).K
    assert network is getattr(pipeline, family._model.denoiser)
    with heard(network) as calls:
        execute(baseline_plan(1, steps), family, conditioning, ["0"], settings, noise=KeyedNoise(0), batch_size=1)
    own = median(1e3 * (end - start) for start, end in calls)
    return {"ours": median(1e3 * (following[0] - call[1]) for call, following in pairwise(calls)), "network": own}


def row(found: dict[str, Any]) -> dict[str, str]:
    """Of the table."""
    shown = {"class": found["class"], "ours": f"{found['ours']:.2f}"}
    if "network" in found:
        return {
            **shown,
            "the network's": f"{found['network']:,.0f}",
            "share": f"{found['ours'] / found['network']:.2%}",
        }
    return {**shown, "stock": f"{found['stock']:.2f}"}


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("around_network", __doc__, turns=1)
    options.add_argument("--class", dest="classes", action="append", help="only this one; may be repeated")
    options.add_argument("--full-size", action="store_true", help="two public models' shapes too, in bf16: minutes")
    asked = options.parse_args(argv)
    torch.set_num_threads(1)
    results = Results("around_network", asked, argv)
    names = asked.classes or (list(PROVED)[:1] if asked.quick else list(PROVED))
    for name in names:
        with TemporaryDirectory() as folder:
            ours, stock = small(name, Path(folder))
        results.add(**{"class": name}, ours=ours, stock=stock)
        print(f"{name}: {ours:.2f} ms a step around the network, stock {stock:.2f}", flush=True)
    for name, fewer in FULL_SIZE.items() if asked.full_size else ():
        results.add(**{"class": name}, **full_size(name, fewer))
        print(f"{name}: {row(results.found[-1])}", flush=True)


if __name__ == "__main__":
    told(main)
