"""Are steps saved seconds saved? Full-size models with random weights: ``python -m benchmarks.gpu_check``.

Random weights cost what trained ones cost, so nothing is downloaded: each model is built from its public
configuration, and a plan for 100 prompts that saves about half of the steps runs against the baseline. Encoders, the
decoder, and the way of the weights onto the device are timed too. Denoisers compute with the options of a sweep.
``--miniature`` does the same with the miniature's configurations, which any machine can run.

The results are written after every model; one that the device is too small for is left out by name.
"""

import argparse
import json
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from benchmarks.random_models import half_saved, made_there, prepared
from common.errors import UserError
from common.files import atomic_write
from common.memory import is_out_of_memory
from generators.acceleration import Acceleration
from generators.batching import Batches
from generators.catalogue import model
from generators.component import Component
from generators.conditioning import Conditioning
from generators.device_memory import give_back, synchronise, total_bytes
from generators.executor import Execution, decode_images, execute
from generators.families.base import DTYPES, Family, get_family, resolve_settings
from generators.noise import KeyedNoise
from generators.settings import GenerationSettings
from generators.sharing.evaluations import Evaluations
from generators.sharing.plan import SharingPlan, baseline_plan
from metrics.flops import count
from metrics.live_bytes import fused
from metrics.memory import peaks
from sweeps.cost import cost
from sweeps.executors.local import DECODED
from sweeps.machine import checked_device, machine

RESULTS = Path(__file__).parent / "results"
BATCHES = (1, 2, 4, 8, 16, 32)


FULL_SIZE = ("kandinsky-2.2", "karlo", "sd15", "flux-dev")
MINIATURE = ("mini-kandinsky", "mini-karlo", "mini-sd", "mini-flux")


@dataclass
class Result:
    """What was measured of one model.

    Attributes:
        parameters: of the denoiser.
        flops_per_call: of the denoiser at batch 1, a multiply-add as 2.
        seconds_per_row: by rows in a denoiser call, guidance's rows not counted apart.
        encode_seconds_per_prompt: of the text encoders and priors, a prompt at a time; nothing of tokenizers.
        decode_seconds_per_picture: of the decoder, pictures as many at once as in a sweep.
        load_seconds: for the weights of denoiser and decoder to come from main memory onto the device, as at the end of
            loading and under ``--offload model``; None on a CPU. How long a disk takes belongs to the disk.
        planned_bytes: of memory as `bench plan` predicts it, at `batch_size`, the phases' largest.
        peak_bytes: of the accelerator's memory over all of it; 0 on a CPU.
        options: how the denoiser computed.
        step_savings, wall_savings: of the denoising, against the baseline.
        flop_savings: of the whole run, what sharing does not reduce included.
        ratio: wall savings over step savings; 1 is the limit.
    """

    model: str
    dtype: str
    prompts: int
    steps: int
    parameters: int = 0
    flops_per_call: int = 0
    seconds_per_row: dict[int, float] = field(default_factory=dict)
    batch_size: int = 1
    encode_seconds_per_prompt: float = 0.0
    decode_seconds_per_picture: float = 0.0
    load_seconds: float | None = None
    planned_bytes: int = 0
    peak_bytes: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    step_savings: float = 0.0
    flop_savings: float = 0.0
    wall_savings: float = 0.0
    ratio: float = 0.0


def seconds(work: Any, device: str) -> float:
    """Wall seconds of one call on that device."""
    synchronise(device)
    start = perf_counter()
    work()
    synchronise(device)
    return perf_counter() - start


def seconds_per_row(
    family: Family, conditioning: Conditioning, settings: GenerationSettings, device: str, batches: tuple[int, ...]
) -> dict[int, float]:
    """Of a denoiser call, by its rows, as far as memory allows.

    Raises:
        UserError: not even one row fits.
    """
    sampler, found = family.sampler(settings), {}
    shape = family.latent_shape(settings)
    family.accelerate()
    for batch in batches:
        rows = dict(conditioning.read(np.arange(batch)))
        times = []
        try:
            latents = torch.randn(batch, *shape).to(family.device, family.dtype)
            call = partial(family.predict, latents, 0, sampler, rows, settings)
            for _ in range(4):
                times.append(seconds(call, device))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        found[batch] = min(times[1:]) / batch
    give_back(device)
    if not found:
        raise UserError("memory runs out with a single row in the batch")
    return found


def encode_seconds(components: list[Component], device: str, dtype: torch.dtype) -> float:
    """Of all that encodes one prompt, each module by itself with random weights and its attention fused."""

    def there(value: Any) -> Any:  # inputs that were traced are elsewhere, or shapes alone
        if not isinstance(value, Tensor):
            return value
        kind = dtype if value.is_floating_point() else value.dtype
        return torch.zeros(value.shape, dtype=kind, device=device) if value.is_meta else value.to(device, kind)

    total = 0.0
    for component in components:
        if component.phase == "encode" and component.calls:
            with made_there(device, dtype):
                module = nn.Module.to(fused(component.build()), dtype)
                args, kwargs = tree_map(there, component.inputs(module))
            call = partial(module, *args, **kwargs)
            total += min(seconds(call, device) for _ in range(3)) * component.calls
            del module, call
            give_back(device)
    return total


def load_seconds(family: Family, device: str) -> float | None:
    """For the modules that denoise and decode to come from main memory onto the device."""
    if torch.device(device).type == "cpu":
        return None
    loaded = [value for value in vars(family).values() if hasattr(value, "components")]
    modules = [part for pipeline in loaded for part in pipeline.components.values() if isinstance(part, nn.Module)]
    modules = [module for module in modules if next(iter(module.parameters()), None) is not None]
    for module in modules:
        module.to("cpu")
    return sum(seconds(partial(module.to, device), device) for module in modules)


def planned(family: Family, settings: GenerationSettings, prompts: int, batch: int) -> int:
    """Bytes of memory as `bench plan` predicts them, the largest phase's."""
    sizes = peaks(
        family.components(settings),
        family.latent_shape(settings),
        prompts,
        settings.dtype,
        batch_size=batch,
        remembered=family.sampler(settings).remembered,
        decoded=min(batch, DECODED),
    )
    return max(sizes.values())


def check(
    name: str,
    device: str,
    prompts: int,
    steps: int | None,
    batches: tuple[int, ...],
    options: Acceleration | None = None,
) -> Result:
    """Build the model, time it, and run a plan that saves half against the baseline.

    Raises:
        UserError: the device is too small for it, or it cannot be had.
    """
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    family, settings, conditioning = prepared(name, device, prompts, steps, options)
    components, total = family.components(settings), family.sampler(settings).K
    denoiser = next(part for part in components if part.name == "denoiser")
    with torch.device("meta"):
        parameters = sum(p.numel() for p in denoiser.build().parameters())
    result = Result(name, settings.dtype, prompts, total, parameters, count(denoiser))
    result.seconds_per_row = seconds_per_row(family, conditioning, settings, device, batches)
    result.batch_size = min(result.seconds_per_row, key=lambda batch: result.seconds_per_row[batch])
    result.options = family.accelerate()
    keys, noise = [str(i) for i in range(prompts)], KeyedNoise(0)

    def denoised(plan: SharingPlan) -> Execution:
        return execute(plan, family, conditioning, keys, settings, noise=noise, batch_size=result.batch_size)

    shared, baseline = half_saved(conditioning, family, total), baseline_plan(prompts, total)
    made: list[Execution] = []
    whole = seconds(lambda: made.append(denoised(baseline)), device)
    part = seconds(lambda: denoised(shared), device)
    result.step_savings = shared.savings
    made_of = (Evaluations(shared.node_steps), Evaluations(baseline.node_steps))
    result.flop_savings = cost(components, prompts, *made_of).flop_savings or 0.0
    result.wall_savings = 1 - part / whole
    result.ratio = result.wall_savings / result.step_savings
    batch = min(result.batch_size, DECODED)
    few = replace(made[0], latents=torch.zeros_like(made[0].latents[:batch]), prompts=made[0].prompts[:batch])

    def decoded() -> None:
        for _ in decode_images(family, few, keys, settings, noise=noise, batches=Batches(batch)):
            pass

    result.decode_seconds_per_picture = min(seconds(decoded, device) for _ in range(2)) / len(few.prompts)
    result.load_seconds = load_seconds(family, device)
    result.planned_bytes = planned(family, settings, prompts, result.batch_size)
    for loaded in [key for key, value in vars(family).items() if hasattr(value, "components")]:
        del vars(family)[loaded]  # the encoders come alone, as in a sweep
    give_back(device)
    result.encode_seconds_per_prompt = encode_seconds(components, device, DTYPES[settings.dtype])
    if cuda:
        result.peak_bytes = torch.cuda.max_memory_allocated(device)
    return result


def too_small(name: str, device: str, prompts: int, steps: int | None) -> str | None:
    """Why the device cannot hold the model, from shapes alone; None where it can, or this is not known."""
    entry = model(name)
    dtype = "bf16" if entry.defaults.get("dtype") == "bf16" else "fp16"
    overrides = {"dtype": dtype if device.startswith("cuda") else "fp32", **({"steps": steps} if steps else {})}
    settings = resolve_settings(entry, overrides, device)
    needed = planned(get_family(entry.family).load(entry, device, settings.dtype), settings, prompts, 1)
    there = total_bytes(device)
    if needed <= there:
        return None
    return f"it takes {needed / 2**30:.1f} GiB with a row in a batch, and {device} has {there / 2**30:.1f}"


def checked(name: str, device: str, prompts: int, steps: int | None, batches: tuple[int, ...], options: Any) -> Any:
    """The model's result, or why there is none."""
    try:
        return too_small(name, device, prompts, steps) or check(name, device, prompts, steps, batches, options)
    except UserError as error:
        return str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return "its memory ran out"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--miniature", action="store_true", help="the miniature's sizes, for machines without a GPU")
    parser.add_argument("--model", action="append", help="only this one; may be repeated")
    parser.add_argument("--device", help="a torch device; by default cuda where there is one, else cpu")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--steps", type=int, help="by default as many as suit each model")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="rows a call that are timed")
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, help="as of bench sweep")
    parser.add_argument("--compile", dest="compilation", choices=["no", "regional", "full"], help="as of bench sweep")
    parser.add_argument("--threads", type=int, help="as of bench sweep")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    device = checked_device(chosen.device)
    asked = {name: getattr(chosen, name) for name in ("channels_last", "compilation", "threads")}
    options = Acceleration.chosen(device, **asked)
    options.begin()
    about = machine(device)
    label = str(about.get("accelerator", "cpu")).replace(" ", "-").lower()
    path = chosen.out / f"{'miniature' if chosen.miniature else 'full-size'}-{label}.json"
    written: dict[str, Any] = {"machine": about, "results": [], "skipped": []}
    for name in chosen.model or (MINIATURE if chosen.miniature else FULL_SIZE):
        result = checked(name, device, chosen.prompts, chosen.steps, tuple(chosen.batches), options)
        give_back(device)
        if isinstance(result, Result):
            written["results"].append(asdict(result))
            print(sentence(result), flush=True)
        else:
            written["skipped"].append({"model": name, "reason": result})
            print(f"{name}: left out: {result}", flush=True)
        chosen.out.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(written, indent=1) + "\n")


def sentence(result: Result) -> str:
    """What was measured, for people."""
    fastest = result.seconds_per_row[result.batch_size]
    load = "" if result.load_seconds is None else f", {result.load_seconds:.3g} s to bring the weights there"
    return (
        f"{result.model} ({result.dtype}): {result.parameters / 1e9:.3g} B parameters, "
        f"{result.flops_per_call / 1e12:.3g} TFLOP a call; "
        f"{fastest:.3g} s a row and step at batch {result.batch_size}, "
        f"{result.encode_seconds_per_prompt:.3g} s a prompt to encode, "
        f"{result.decode_seconds_per_picture:.3g} s a picture to decode{load}; "
        f"{result.peak_bytes / 2**30:.1f} GiB at most, {result.planned_bytes / 2**30:.1f} planned; "
        f"saved {result.step_savings:.1%} of steps, {result.flop_savings:.1%} of all FLOPs, "
        f"{result.wall_savings:.1%} of denoising seconds: {result.ratio:.2f} of the steps saved"
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.no_grad():
        main()
