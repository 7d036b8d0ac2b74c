"""Are steps saved seconds saved? Full-size models with random weights: ``python -m benchmarks.gpu_check``.

Random weights cost what trained ones cost, so nothing is downloaded: each model is built from its public
configuration, and a plan for 100 prompts that saves about half of the steps runs against the baseline.
``--miniature`` does the same with the miniature's configurations, which any machine can run.
"""

import argparse
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.files import atomic_write
from common.memory import is_out_of_memory
from generators.catalogue import model
from generators.checkpoints import load_config
from generators.conditioning import Conditioning
from generators.executor import execute
from generators.families.base import DTYPES, Family, get_family, resolve_settings
from generators.model_entry import ModelEntry
from generators.noise import KeyedNoise
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.savings import tau_for_savings
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from metrics.flops import count
from sweeps.cost import cost
from sweeps.machine import machine

RESULTS = Path(__file__).parent / "results"
BATCHES = (1, 2, 4, 8, 16, 32)
GROUPS = 20  # prompts come in this many groups of near neighbours


@dataclass(frozen=True)
class Case:
    """A model, where its family keeps the denoiser, and what conditions it.

    Attributes:
        pipeline: the family's attribute that holds the stock pipeline from the conditioning on.
        steps: fewer than the model's own where a picture takes long.
        shapes: of one prompt's conditioning; sizes in words are read from the configuration of (component, key).
    """

    pipeline: str
    steps: int
    shapes: dict[str, tuple[int | tuple[str, str], ...]]
    masks: tuple[str, ...] = ()


WIDTH = ("text_encoder", "hidden_size")
TOKENS = ("text_encoder", "max_position_embeddings")
STATES, EMBEDS = (TOKENS, WIDTH), (("text_encoder", "projection_dim"),)
CASES = {
    "kandinsky": Case(
        "decoder",
        20,
        dict.fromkeys(("image_embeds", "negative_image_embeds"), (("unet", "encoder_hid_dim"),)),
    ),
    "stable-diffusion": Case("denoiser", 20, {"text_states": STATES, "negative_text_states": STATES}),
    "karlo": Case(
        "denoisers",
        25,
        {
            "image_embeds": (("prior", "embedding_dim"),),
            **{f"{side}text_embeds": EMBEDS for side in ("", "negative_")},
            **{f"{side}text_states": STATES for side in ("", "negative_")},
        },
        masks=("text_states", "negative_text_states"),
    ),
    "flux": Case(
        "denoiser",
        4,
        {
            "text_states": (-1, ("transformer", "joint_attention_dim")),
            "pooled": (("transformer", "pooled_projection_dim"),),
        },
    ),
}
FULL_SIZE = ("kandinsky-2.2", "karlo", "sd15", "flux-dev")
MINIATURE = ("mini-kandinsky", "mini-karlo", "mini-sd", "mini-flux")


@dataclass
class Result:
    """What was measured of one model.

    Attributes:
        parameters: of the denoiser.
        flops_per_call: of the denoiser at batch 1, a multiply-add as 2.
        seconds_per_row: by rows in a denoiser call, guidance's rows not counted apart.
        peak_bytes: of the accelerator's memory over all of it; 0 on a CPU.
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
    peak_bytes: int = 0
    step_savings: float = 0.0
    flop_savings: float = 0.0
    wall_savings: float = 0.0
    ratio: float = 0.0


@contextmanager
def _defaults(device: str, dtype: torch.dtype) -> Iterator[None]:
    """New modules are made there and in that type, so that the largest fits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def random_pipeline(entry: ModelEntry, role: str, device: str, dtype: torch.dtype) -> Any:
    """The stock pipeline of that role with random weights; what only encodes prompts is left out."""
    import diffusers
    from diffusers import ModelMixin

    index = load_config(entry.source(role), "", "model_index.json")
    kind = getattr(diffusers, index["_class_name"])
    parts: dict[str, Any] = {}
    for name in inspect.signature(kind).parameters:
        library, class_name = index.get(name) or (None, None)
        part = getattr(diffusers, class_name, None) if library == "diffusers" and class_name else None
        parts[name] = None
        if part is not None and issubclass(part, ModelMixin) and name != "prior":
            with _defaults(device, dtype):
                parts[name] = part.from_config(entry.config(role, name)).eval()
        elif part is not None and hasattr(part, "set_timesteps"):
            parts[name] = part.from_config(entry.config(role, name, "scheduler_config.json"))
    if "text_proj" in parts:
        from generators.families.unclip import text_projection_class

        with _defaults(device, dtype):
            parts["text_proj"] = text_projection_class().from_config(entry.config(role, "text_proj")).eval()
    parts |= {name: False for name in parts if name.startswith("requires_")}
    return kind(**parts)


def random_conditioning(case: Case, entry: ModelEntry, settings: GenerationSettings, prompts: int) -> Conditioning:
    """Conditioning of groups of near neighbours, as prompts of a set are."""
    dice = torch.Generator().manual_seed(0)
    role = get_family(entry.family).roles[-1]

    def size(axis: int | tuple[str, str]) -> int:
        if isinstance(axis, int):
            return settings.max_sequence_length if axis < 0 else axis
        component, key = axis
        holder = "prior" if component == "prior" and "prior" in entry.sources else role
        config = entry.config(holder, component)
        return int(config.get(key, {"max_position_embeddings": 77, "projection_dim": 768}.get(key, 0)))

    group = torch.arange(prompts) % GROUPS
    tensors: dict[str, Tensor] = {}
    for name, axes in case.shapes.items():
        shape = tuple(size(axis) for axis in axes)
        centres = torch.randn(GROUPS, *shape, generator=dice)
        tensors[name] = centres[group] + 0.5 * torch.randn(prompts, *shape, generator=dice)
    tensors |= {f"{name}.mask": torch.ones(prompts, tensors[name].shape[1]) for name in case.masks}
    return Conditioning(tensors)


def half_saved(conditioning: Conditioning, family: Family, steps: int) -> SharingPlan:
    """The plan that saves about half of the steps."""
    first = next(iter(conditioning.tensors.values())).flatten(1).double().numpy()
    tree, schedule = get_strategy("ward-cosine").tree(first, seed=0), get_schedule("eq7")
    return build_plan(tree, schedule, tau_for_savings(tree, schedule, steps, 0.5).tau, steps)


def _sync(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds_per_row(
    family: Family, conditioning: Conditioning, settings: GenerationSettings, device: str, batches: tuple[int, ...]
) -> dict[int, float]:
    """Of a denoiser call, by its rows, as far as memory allows."""
    sampler, found = family.sampler(settings), {}
    shape = family.latent_shape(settings)
    for batch in batches:
        latents = torch.randn(batch, *shape).to(family.device, family.dtype)
        rows = {name: tensor[:batch] for name, tensor in conditioning.tensors.items()}
        times = []
        try:
            for _ in range(4):
                _sync(device)
                start = perf_counter()
                family.predict(latents, 0, sampler, rows, settings)
                _sync(device)
                times.append(perf_counter() - start)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            break
        found[batch] = min(times[1:]) / batch
    return found


def prepared(
    name: str, device: str, prompts: int, steps: int | None
) -> tuple[Family, GenerationSettings, Conditioning]:
    """The model with random weights, its settings, and conditioning of so many prompts."""
    entry = model(name)
    case, kind = CASES[entry.family], get_family(entry.family)
    dtype = ("bf16" if entry.defaults.get("dtype") == "bf16" else "fp16") if device.startswith("cuda") else "fp32"
    settings = resolve_settings(entry, {"steps": steps or case.steps, "dtype": dtype}, device)
    family = kind.load(entry, device, settings.dtype)
    role = "decoder" if "decoder" in kind.roles else kind.roles[0]
    vars(family)[case.pipeline] = random_pipeline(entry, role, device, DTYPES[settings.dtype])
    return family, settings, random_conditioning(case, entry, settings, prompts)


def check(name: str, device: str, prompts: int, steps: int | None, batches: tuple[int, ...]) -> Result:
    """Build the model, time it, and run a plan that saves half against the baseline."""
    family, settings, conditioning = prepared(name, device, prompts, steps)
    total = family.sampler(settings).K
    denoiser = next(part for part in family.components(settings) if part.name == "denoiser")
    with torch.device("meta"):
        parameters = sum(p.numel() for p in denoiser.build().parameters())
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    result = Result(name, settings.dtype, prompts, total, parameters, count(denoiser))
    result.seconds_per_row = seconds_per_row(family, conditioning, settings, device, batches)
    result.batch_size = min(result.seconds_per_row, key=lambda batch: result.seconds_per_row[batch])

    def seconds(plan: SharingPlan) -> float:
        _sync(device)
        start = perf_counter()
        keys = [str(i) for i in range(prompts)]
        execute(plan, family, conditioning, keys, settings, noise=KeyedNoise(0), batch_size=result.batch_size)
        _sync(device)
        return perf_counter() - start

    shared = half_saved(conditioning, family, total)
    whole, part = seconds(baseline_plan(prompts, total)), seconds(shared)
    result.step_savings = shared.savings
    result.flop_savings = cost(family.components(settings), prompts, total, shared.node_steps).flop_savings or 0.0
    result.wall_savings = 1 - part / whole
    result.ratio = result.wall_savings / result.step_savings
    if device.startswith("cuda"):
        result.peak_bytes = torch.cuda.max_memory_allocated()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--miniature", action="store_true", help="the miniature's sizes, for machines without a GPU")
    parser.add_argument("--model", action="append", help="only this one; may be repeated")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--steps", type=int, help="by default as many as suit each model")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="rows a call that are timed")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    results = []
    for name in chosen.model or (MINIATURE if chosen.miniature else FULL_SIZE):
        try:
            result = check(name, chosen.device, chosen.prompts, chosen.steps, tuple(chosen.batches))
        except UserError as error:
            print(f"{name}: {error}", flush=True)
            continue
        results.append(asdict(result))
        fastest = result.seconds_per_row[result.batch_size]
        print(
            f"{name} ({result.dtype}): {result.parameters / 1e9:.3g} B parameters, {result.flops_per_call / 1e12:.3g} "
            f"TFLOP a call; {fastest:.3g} s a row and step at batch {result.batch_size}; "
            f"{result.peak_bytes / 2**30:.1f} GiB at most; saved {result.step_savings:.1%} of steps, "
            f"{result.flop_savings:.1%} of all FLOPs, {result.wall_savings:.1%} of denoising seconds: "
            f"{result.ratio:.2f} of the steps saved",
            flush=True,
        )
        if chosen.device.startswith("cuda"):
            torch.cuda.empty_cache()
    about = machine(chosen.device)
    text = json.dumps({"machine": about, "results": results}, indent=1)
    label = str(about.get("accelerator", "cpu"))
    size = "miniature" if chosen.miniature else "full-size"
    chosen.out.mkdir(parents=True, exist_ok=True)
    atomic_write(chosen.out / f"{size}-{label.replace(' ', '-').lower()}.json", text + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.no_grad():
        main()
