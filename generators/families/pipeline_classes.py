"""Which classes of diffusers pipelines the one family runs by their own calls, and which tests prove equal to stock."""

import inspect
from typing import Any

from common.logs import errors_alone
from generators.families.base import families
from generators.families.modular import ENDING, NO_WORKFLOW, ONE_PROMPT, twin_of
from generators.families.modular import unserved as unserved_modular

NAME = "diffusers"  # of the family
# For these classes tests show on small checkpoints, with these schedulers, that tau = 0 gives stock's pictures bit for
# bit (fp32, CPU, the same batch), that what is encoded is what stock encodes, and that paths through a split are each
# path alone.
PROVED: dict[str, tuple[str, ...]] = {
    # DDPM and ancestral Euler draw noise at every step; PNDM, DPM-Solver++, UniPC and Heun remember earlier steps
    "StableDiffusionPipeline": (
        "PNDMScheduler",
        "DDIMScheduler",
        "DDPMScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
        "HeunDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
    ),
    "FluxPipeline": (
        "FlowMatchEulerDiscreteScheduler",
        "UniPCMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "DEISMultistepScheduler",
    ),
    "StableDiffusionXLPipeline": ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler"),
    "StableDiffusion3Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "QwenImagePipeline": ("FlowMatchEulerDiscreteScheduler",),
    "ZImagePipeline": ("FlowMatchEulerDiscreteScheduler",),
    "Flux2Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "Flux2KleinPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "SanaPipeline": ("FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"),
    "PixArtSigmaPipeline": ("DPMSolverMultistepScheduler", "EulerDiscreteScheduler"),
    "Lumina2Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "CogView4Pipeline": ("FlowMatchEulerDiscreteScheduler",),
    "ChromaPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "HiDreamImagePipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "HunyuanImagePipeline": ("FlowMatchEulerDiscreteScheduler",),
    "AuraFlowPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "Kandinsky5T2IPipeline": ("FlowMatchEulerDiscreteScheduler",),
    "Krea2Pipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "BriaPipeline": ("FlowMatchEulerDiscreteScheduler",),
    "PRXPipeline": ("FlowMatchEulerDiscreteScheduler",),
    "AnimaModularPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "Flux3ModularPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    "Flux3DistilledModularPipeline": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
}
# What their call can take only one prompt of at a time, and why.
ONE_AT_A_TIME = {
    "PRXPipeline": "its guidance repeats the timestep for a single prompt",
    **dict.fromkeys(
        ONE_PROMPT, "its text encoder takes one prompt a call, and prompts of other lengths are not padded"
    ),
}
NO_PROMPT = "its call takes no prompt"
# Arguments of a call that say that pictures, films or sounds go in or come out.
NOT_TEXT_TO_IMAGE = {
    "num_frames": "it makes films",
    "audio_length_in_s": "it makes sound",
    "strength": "it changes a picture",
    "mask_image": "it changes a picture",
    "control_image": "it needs a picture beside the prompt",
    "control_guidance_start": "it needs a picture beside the prompt",
    "image_embeds": "a prior is needed that makes image embeddings for it",
    "image_embeddings": "a prior is needed that makes image embeddings for it",
}
# Parts of a class's name that say the same, where its call does not.
NAMED = {
    "Video": "it makes films",
    "Latte": "it makes films",
    "Audio": "it makes sound",
    "Edit": "it changes a picture",
    "Kontext": "it changes a picture",
    "Pix2Pix": "it changes a picture",
    "Refiner": "it changes a picture",
    "Layered": "it takes a picture apart",
    "LDM3D": "it makes depths as well",
    "Adapter": "it needs a picture beside the prompt",
    "Control": "it needs a picture beside the prompt",
    "Panorama": "its scheduler steps parts of the latents one by one",
}


def classes() -> dict[str, str]:
    """Return every pipeline class of diffusers that takes a prompt: by name, the family that runs it, or why none."""
    import diffusers

    own = {pipeline: family.name for family in families().values() for pipeline in family.pipelines}
    found = {}
    for name in sorted(set(dir(diffusers)) | set(own)):
        if not name.endswith("Pipeline") or name == "DiffusionPipeline":
            continue
        with errors_alone("diffusers"):  # which says what is deprecated
            reason = None if name in own else unserved(name)
        if reason not in (NO_PROMPT, NO_WORKFLOW) and not (name.endswith(ENDING) and twin_of(name)):
            found[name] = f"no family: {reason}" if reason else own.get(name, NAME)
    return found


def is_served(pipeline: str) -> bool:
    """Return whether the one family runs the pipeline class: no other does, and its call can be stopped."""
    others = (family for family in families().values() if family.name != NAME)
    return not any(pipeline in family.pipelines for family in others) and unserved(pipeline) is None


def unserved(pipeline: str) -> str | None:
    """Return why no pipeline of this class can be run by its call alone; None if it can."""
    import diffusers

    kind: Any = getattr(diffusers, pipeline, None)
    if kind is None or not callable(kind):
        return f"diffusers {diffusers.__version__} has no class of that name"
    if pipeline.endswith(ENDING):
        twin = twin_of(pipeline)
        return f"it runs the models of {twin}: save them as such a pipeline" if twin else unserved_modular(pipeline)
    call = inspect.signature(kind.__call__).parameters
    if "prompt" not in call:
        return NO_PROMPT
    for reasons, found in ((NOT_TEXT_TO_IMAGE, call), (NAMED, pipeline)):
        for word, reason in reasons.items():
            if word in found:
                return reason
    needed = [
        name for name, parameter in call.items() if parameter.default is parameter.empty and not _optional(parameter)
    ]
    if needed:
        return f"its call needs {needed[0]} beside the prompt"
    for seam in ("encode_prompt", "prepare_latents"):
        if not hasattr(kind, seam):
            return f"it has no {seam}, where its call could be stopped"
    source = inspect.getsource(inspect.unwrap(kind.__call__))
    for seam in ("self.encode_prompt(", "self.prepare_latents(", "enumerate(timesteps)", "self.scheduler.step("):
        if seam not in source:
            return f"its call has no {seam.rstrip('(')}, where it could be stopped"
    takes_picture = "image" in call and "image is not None" not in source
    if takes_picture or "image" in inspect.signature(kind.encode_prompt).parameters:
        return "it changes a picture"
    return None


def _optional(parameter: inspect.Parameter) -> bool:
    """Return whether a call can do without this parameter, or this family always gives it."""
    return parameter.name in ("self", "prompt") or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
