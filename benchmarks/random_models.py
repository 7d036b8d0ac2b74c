"""Models of any size with random weights, which cost what trained ones cost, and conditioning that nobody encoded."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from generators.acceleration import Acceleration
from generators.catalogue import model
from generators.checkpoints import load_config
from generators.combiners.base import MASK
from generators.conditioning import Conditioning
from generators.families import seams
from generators.families.base import DTYPES, Family, get_family, resolve_settings
from generators.families.described import described
from generators.families.diffusers_pipeline import DiffusersPipeline
from generators.families.prompt_returns import LIST, LONG, ROWS, Leaf, packed
from generators.model_entry import ModelEntry
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.savings import tau_for_savings
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy

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
}


@contextmanager
def made_there(device: str, dtype: torch.dtype) -> Iterator[None]:
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
            with made_there(device, dtype):
                parts[name] = part.from_config(entry.config(role, name)).eval()
        elif part is not None and hasattr(part, "set_timesteps"):
            parts[name] = part.from_config(entry.config(role, name, "scheduler_config.json"))
    if "text_proj" in parts:
        from generators.families.unclip import text_projection_class

        with made_there(device, dtype):
            parts["text_proj"] = text_projection_class().from_config(entry.config(role, "text_proj")).eval()
    parts |= {name: False for name in parts if name.startswith("requires_")}
    return kind(**parts)


def random_conditioning(case: Case, entry: ModelEntry, settings: GenerationSettings, prompts: int) -> Conditioning:
    """Conditioning of groups of near neighbours, as prompts of a set are."""
    dice = torch.Generator().manual_seed(0)
    role = get_family(entry.family).roles[-1]

    def size(axis: int | tuple[str, str]) -> int:
        if isinstance(axis, int):
            return axis
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


def any_conditioning(family: DiffusersPipeline, settings: GenerationSettings, prompts: int) -> Conditioning:
    """Conditioning as the pipeline shapes it: states in groups of near neighbours, masks and ids as they are."""
    dice, model = torch.Generator().manual_seed(0), described(family.entry)
    returns = seams.encoded(model.pipeline, model.arguments(settings, [LONG] * prompts))
    group = torch.arange(prompts) % GROUPS

    def states(name: str, rows: Tensor) -> Tensor:
        told = name.endswith(MASK) or Leaf.of(name).form not in (ROWS, LIST)  # FLUX's ids are zeros of its own
        if told or rows.any():  # what is not zero is no answer of a module without weights
            return rows
        centres = torch.randn(GROUPS, *rows.shape[1:], generator=dice)
        return (centres[group] + 0.5 * torch.randn(rows.shape, generator=dice)).to(rows.dtype)

    made = tree_map(lambda part: part.to(family.dtype) if torch.is_floating_point(part) else part, returns)
    rows = packed(model.leaves(settings), made, prompts)
    return Conditioning({name: states(name, tensor) for name, tensor in rows.items()})


def any_pipeline(family: DiffusersPipeline, device: str) -> Any:
    """The stock pipeline with random weights; what encodes prompts has none."""
    model, parts = described(family.entry), dict[str, Any]()
    for name in model.shells.names:
        if name.startswith("text_encoder"):
            parts[name] = model.shells.shell(name, family.device, family.dtype)
        else:
            with made_there(device, family.dtype):
                parts[name] = model.shells.build(name)
    return model.assembled(parts, family.device, family.dtype)


def denoising(family: Family) -> Any:
    """The stock pipeline that denoises and decodes."""
    return getattr(family, CASES[family.name].pipeline if family.name in CASES else "denoiser")


def half_saved(conditioning: Conditioning, family: Family, steps: int) -> SharingPlan:
    """The plan that saves about half of the steps."""
    first = next(iter(conditioning.tensors.values())).flatten(1).double().numpy()
    tree, schedule = get_strategy("ward-cosine").tree(first, seed=0), get_schedule("eq7")
    return build_plan(tree, schedule, tau_for_savings(tree, schedule, steps, 0.5).tau, steps)


def prepared(
    name: str,
    device: str,
    prompts: int,
    steps: int | None,
    options: Acceleration | None = None,
    dtype: str | None = None,
) -> tuple[Family, GenerationSettings, Conditioning]:
    """The model with random weights, its settings, and conditioning of so many prompts; options are a sweep's."""
    entry = model(name)
    kind = get_family(entry.family)
    asked = steps or (CASES[entry.family].steps if entry.family in CASES else min(20, entry.defaults["steps"]))
    on_a_gpu = "bf16" if entry.defaults.get("dtype") == "bf16" else "fp16"
    dtype = dtype or (on_a_gpu if device.startswith("cuda") else "fp32")
    settings = resolve_settings(entry, {"steps": asked, "dtype": dtype}, device)
    family = kind.load(entry, device, settings.dtype)
    family.acceleration = options or Acceleration.chosen(device)
    if isinstance(family, DiffusersPipeline):
        vars(family)["denoiser"] = any_pipeline(family, device)
        return family, settings, any_conditioning(family, settings, prompts)
    case = CASES[entry.family]
    role = "decoder" if "decoder" in kind.roles else kind.roles[0]
    vars(family)[case.pipeline] = random_pipeline(entry, role, device, DTYPES[settings.dtype])
    return family, settings, random_conditioning(case, entry, settings, prompts)
