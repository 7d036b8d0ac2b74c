"""Loading diffusers' `UnCLIPPipeline`, which is deprecated and no longer loads its own checkpoints."""

import sys
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.loading import loading
from common.logs import errors_alone
from generators.checkpoints import Offload, checkpoint_folder, load_pipeline
from generators.families.base import ROLE
from generators.model_entry import ModelEntry

PIPELINE, TEXT_PROJECTION = "UnCLIPPipeline", "text_proj"


def unclip_gone() -> str | None:
    """Return why there is no `UnCLIPPipeline` here and what to do; None if there is one."""
    import diffusers

    if PIPELINE in dir(diffusers):
        return None
    return f"diffusers {diffusers.__version__} has no {PIPELINE} any more: install diffusers 0.42"


def load_unclip(
    entry: ModelEntry, dtype: torch.dtype, device: torch.device, without: tuple[str, ...], offload: Offload
) -> Any:
    """Load the stock pipeline, its text projection and the components named in `without` left out.

    Raises:
        UserError: as `load_pipeline`.
    """
    parts = {**entry.borrowed, **dict.fromkeys((*without, TEXT_PROJECTION))}
    with errors_alone("diffusers.pipelines.pipeline_utils"):  # says every time that the pipeline is deprecated
        return load_pipeline(PIPELINE, entry.source(ROLE), dtype, device, parts, offload, entry.variant)


@loading()
def load_text_projection(entry: ModelEntry, dtype: torch.dtype) -> nn.Module:
    """Load the pipeline's text projection, on the CPU.

    Since diffusers moved the pipeline, its loader finds this class under none of the names that a model_index.json
    gives it: not as ``unclip``, as on the hub, and not as ``diffusers``, as it writes itself.

    Raises:
        UserError: it is absent or damaged.
    """
    from safetensors import SafetensorError

    borrowed = entry.borrowed.get(TEXT_PROJECTION)
    source = borrowed or entry.source(ROLE)
    folder, variant = (borrowed, None) if borrowed else checkpoint_folder(source, [TEXT_PROJECTION], entry.variant)
    try:
        module: nn.Module = text_projection_class().from_pretrained(
            str(folder),
            subfolder=None if borrowed else TEXT_PROJECTION,
            variant=variant,
            torch_dtype=dtype,
            use_safetensors=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"cannot load {TEXT_PROJECTION} of {source}: {reason}", "copy the checkpoint again") from error
    return module


def text_projection_class() -> Any:
    """Return `UnCLIPTextProjModel`, which diffusers exports nowhere: it lies where the pipeline does."""
    import diffusers

    return sys.modules[getattr(diffusers, PIPELINE).__module__].UnCLIPTextProjModel
