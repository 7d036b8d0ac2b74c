"""The modules that a pipeline's call computes with, traced on shapes."""

from collections.abc import Sequence
from functools import partial

import torch

from common.errors import UserError
from generators.component import Component, Phase, Unit
from generators.families import seams
from generators.families.described import Described
from generators.families.pipeline_settings import PipelineSettings
from generators.families.prompt_returns import LONG
from generators.families.shells import Call, one_row


def components(described: Described, settings: PipelineSettings) -> list[Component]:
    """Return the modules that a call computes with, as they are called for one prompt.

    Raises:
        UserError: a module looks at values, so that it cannot run on shapes alone.
    """
    return described.once("components", settings, lambda: _traced(described, settings))


def _traced(described: Described, settings: PipelineSettings) -> list[Component]:
    sampler = described.sampler(settings, torch.device("cpu"))
    latents = torch.zeros(2, *described.latent_shape(settings))
    pipeline, calls = described.pipeline, described.shells.calls

    def trace(prompts: int) -> list[Call]:
        calls.clear()
        returns = seams.encoded(pipeline, described.arguments(settings, [LONG] * prompts))
        for part in (partial(seams.predicted, k=0), seams.decoded):
            arguments = described.arguments(settings, [LONG] * prompts)
            part(pipeline, arguments, returns, latents=latents[:prompts], sampler=sampler)
        return list(calls)

    try:
        one = trace(1)
        two = trace(2) if described.most_prompts is None else one
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        what = f"{described.shells.running} looks at values ({reason})"
        raise UserError(f"the cost of a {described.name} cannot be counted: {what}") from error
    finally:
        calls.clear()
    kinds = dict.fromkeys(call[:2] for call in one)
    return [_component(described, _paired(one, two, kind)) for kind in kinds]


def _paired(one: Sequence[Call], two: Sequence[Call], kind: tuple[str, str]) -> list[tuple[Call, Call]]:
    """Return a module's calls for one prompt, each beside that for two, or itself where prompts go one by one."""
    own, both = ([call for call in calls if call[:2] == kind] for calls in (one, two))
    return list(zip(own, both if len(both) == len(own) else own, strict=True))


def _component(described: Described, calls: Sequence[tuple[Call, Call]]) -> Component:
    """Describe a module by its first call, the prompt's own, and by how many there are: negative prompts' too."""
    one, two = calls[0]
    (args, kwargs), together = one_row((one.args, one.kwargs), (two.args, two.kwargs))
    phase: Phase = "encode"
    unit: Unit = "prompt"
    name = one.name.replace("_", " ")
    if one.name == described.denoiser:
        phase, unit, name = "denoise", "node_step", "denoiser"
    elif one.method == "decode":
        phase, unit, name = "decode", "image", "decoder"
    build = partial(described.shells.called, one.name, one.method)
    return Component(name, phase, unit, together * len(calls), build, lambda _: (args, kwargs), together)
