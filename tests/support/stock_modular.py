"""Modular pipelines of diffusers beside ours, as `stock_pipelines` has classic ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers.modular_pipelines import PipelineState
from stock_pipelines import Case, ones_drawn
from torch import Tensor

from generators.families.modular import ONE_PROMPT
from generators.settings import GenerationSettings


class ModularCase(Case):
    """One modular pipeline: its folder, our family of it, and stock, whose own blocks choose what they do."""

    @contextmanager
    def beginning(self, from_ones: Callable[[Tensor], Tensor]) -> Iterator[None]:
        kind = type(self.blocks["denoise.prepare_latents"])
        own = kind.__call__

        def prepared(block: Any, components: Any, state: Any) -> Any:
            with ones_drawn(own):
                own(block, components, state)
            state.set("latents", from_ones(state.get("latents")))
            return components, state

        kind.__call__ = prepared
        try:
            yield
        finally:
            kind.__call__ = own

    @property
    def blocks(self) -> Any:
        """What makes a picture from a text, by name."""
        return self.stock.blocks.get_workflow("text2image").sub_blocks

    def arguments(self, settings: GenerationSettings, prompts: list[str]) -> dict[str, Any]:
        """What a user of stock would write, who sets a guider beside it."""
        written = {"height": settings.height, "width": settings.width, "num_inference_steps": settings.steps}
        if settings.negative_prompt:
            written["negative_prompt"] = [settings.negative_prompt] * len(prompts)
        written |= {"prompt": prompts, **settings.further}
        if self.name in ONE_PROMPT:
            written |= {name: texts[0] for name, texts in written.items() if name.endswith("prompt")}
        return written

    def guided(self, settings: GenerationSettings) -> None:
        if hasattr(self.stock, "guider"):
            self.stock.update_components(guider=self.stock.guider.new(guidance_scale=settings.guidance))

    def pictures(
        self, settings: GenerationSettings, prompts: list[str], generators: list[torch.Generator]
    ) -> np.ndarray:
        self.guided(settings)
        further = {"generator": generators, "output_type": "np", "output": "images"}
        return self.stock(**self.arguments(settings, prompts), **further)

    def encodings(self, settings: GenerationSettings, prompts: list[str]) -> list[Any]:
        """What is in stock's state where its prompts are counted; of Anima, the tokens that are not padding too."""
        self.guided(settings)
        names = ["prompt_embeds", "negative_prompt_embeds"][: 1 if self.name.startswith("Flux3Distilled") else 2]
        if self.name == "AnimaModularPipeline":
            state = self.state(settings, prompts)
            pairs = zip(names, ("t5_attention_mask", "negative_t5_attention_mask"), strict=True)
            states_and_masks = [(state.get(states), state.get(mask)) for states, mask in pairs]
            return [
                tuple(
                    tensor
                    for states, mask in states_and_masks
                    for tensor in (states, torch.nn.functional.pad(mask, (0, states.shape[1] - mask.shape[1])))
                )
            ]
        states = [self.state(settings, [prompt]) for prompt in prompts]
        return [tuple([state.get(name)[0] for state in states] for name in names)]

    def state(self, settings: GenerationSettings, prompts: list[str]) -> Any:
        asked, state = self.arguments(settings, prompts), PipelineState()
        for given in self.stock.blocks.inputs:
            state.set(given.name, asked.get(given.name, given.default), given.kwargs_type)
        with torch.no_grad():
            for name, block in self.blocks.items():
                if name == "denoise.input":
                    break
                block(self.stock, state)
        return state
