"""Any classic text-to-image pipeline of diffusers, computed by that pipeline's own call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from common.errors import UserError
from common.files import canonical_json, parse_json
from common.logs import errors_alone
from generators.batching import Batches
from generators.checkpoints import load_pipeline, named_pipeline, pipeline_class
from generators.component import Component
from generators.conditioning import Conditioning, LazyRows
from generators.families import seams, traced
from generators.families.base import DTYPES, ROLE, Family, decoder_watched, pictures_of, torch_device
from generators.families.described import PROMPT, TRUE_GUIDANCE, Described, described, described_at, unheard
from generators.families.encoding import warnings_kept
from generators.families.heard import Listener
from generators.families.pipeline_classes import NAME, PROVED, is_served, unserved
from generators.families.pipeline_settings import PipelineSettings
from generators.families.prompt_returns import (
    LONG,
    POOLED,
    TOKENS,
    batches_of,
    features,
    packed,
    pooled_leaf,
    states_leaf,
    unpacked,
)
from generators.families.shells import UNUSED
from generators.guidance import WHOLE
from generators.model_entry import ModelEntry, models
from generators.sampler import Draw, Sampler

FEATURES = (POOLED, "mean_token", "flattened")


class DiffusersPipeline(Family[PipelineSettings]):
    """Any text-to-image pipeline of diffusers that no other family serves, run by its own call.

    The call is stopped at four seams (`seams`): its `encode_prompt` makes the conditioning and is given a cluster's
    instead, its latents are the node's, its loop takes one step, and what it gives the scheduler is the prediction. So
    packing, ids, guidance and decoding are the pipeline's, and the same noise gives the same bits. A cluster's states
    are its prompts' means, position by position; where there is a mask, a position's mean is over the prompts for
    which it holds, and it holds for the cluster if it does for any. No safety checker looks at the pictures.
    """

    name = NAME
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {"all": UNUSED}
    settings_type = PipelineSettings
    layout = "any text-to-image pipeline of diffusers"
    roles = (ROLE,)
    pipelines = tuple(PROVED)
    features_options = FEATURES
    conditioned_on = "text"
    _latents_dtype: torch.dtype | None = None

    @classmethod
    def serves(cls, pipeline: str) -> bool:
        """Return whether this family runs the pipeline class: no other does, and its call can be stopped."""
        return is_served(pipeline)

    @classmethod
    def described(cls, name: str, sources: dict[str, str]) -> ModelEntry:
        """Return it with the settings of the model in the catalogue that it is built like.

        Where there is none, with the steps, guidance and size that the pipeline's call has where nothing is asked.
        """
        entry = ModelEntry(name=name, family=cls.name, sources=sources, defaults={})
        model = described(entry)
        if known := model.catalogued(cls.name):
            return known.like(name, sources)
        public = models()["flux-dev"]
        steps = model.parameters["num_inference_steps"].default
        defaults = {
            "steps": steps,
            "guidance": model.default_guidance,
            "dtype": "auto" if model.denoiser == "unet" else "bf16",  # UNets were made for fp16
        }
        scorers = {"scorers": public.scorers, "optional_scorers": public.optional_scorers}
        return entry.model_copy(update={"defaults": {**defaults, **model.size()}, **scorers})

    @classmethod
    def load(cls, model: ModelEntry, device: str, dtype: str) -> Self:
        kind = named_pipeline(model.source(ROLE))
        if reason := unserved(kind):
            raise UserError(f"a {kind} cannot be run: {reason}")
        return cls(model, torch_device(device), DTYPES[dtype])

    @property
    def encoders(self) -> Any:
        """The stock pipeline, of whose modules only those that encode prompts have weights."""
        if self._encoders is None:
            self._encoders = self._pipeline(_encodes)
        return self._encoders

    @cached_property
    def denoiser(self) -> Any:
        """The stock pipeline, of whose modules all have weights but those that encode prompts."""
        return self._pipeline(lambda name: not _encodes(name))

    @property
    def network(self) -> nn.Module:
        module: nn.Module = getattr(self.denoiser, self._model.denoiser)
        return module

    @cached_property
    def _source(self) -> str:
        return self.entry.source(ROLE)

    @cached_property
    def _borrowed(self) -> dict[str, str]:
        return self.entry.borrowed

    @property
    def _model(self) -> Described:
        return described_at(self._source, self._borrowed)

    def _pipeline(self, with_weights: Callable[[str], bool]) -> Any:
        pipeline_class(self._source)  # from here on the hub's own configurations hold
        model = self._model
        parts: dict[str, Any] = {**self._borrowed, **model.shells.without}
        for name in model.shells.names:
            if not with_weights(name):
                parts[name] = model.shells.shell(name, self.device, self.dtype)
        with unheard():
            offload, variant = self.offload, self.entry.variant
            stock = load_pipeline(model.name, self._source, self.dtype, self.device, parts, offload, variant)
        return seams.placed(stock, self.device)

    def encode_batches(
        self, prompts: Sequence[str], keys: Sequence[str], settings: PipelineSettings, batches: Batches
    ) -> Iterator[Conditioning]:
        """Encode by the stock `encode_prompt` as the pipeline's call calls it.

        Tensors are named by `Leaf`s. Where no pooled vector or no mask is among them, `pooled` and `token_mask` are
        beside them as far as the text encoders say them (see `heard`): prompts are clustered by these. Prompts that are
        too long are cut, as in stock; `batches.notes` says which.
        """
        stock, listener = self.encoders, Listener(self.encoders, batches.memo)
        said = batches.memo.setdefault("said", [])
        leaves, kind = self._model.leaves(settings), self._model.name
        if kind not in PROVED:
            batches.notes.append(f"no test shows that a {kind} gives stock's pictures bit for bit")
        if (workflow := self._model.workflow) is not None and workflow.rewritten:
            batches.notes.append(f"prompts are encoded as they are: a {kind}'s prompt upsampler is left out")

        def work(rows: slice) -> Conditioning:
            batch = list(prompts[rows])
            arguments = self._model.arguments(settings, batch)
            with errors_alone("transformers"), warnings_kept("diffusers") as messages, listener.batch():
                returns = seams.encoded(stock, arguments)
            # what comes behind the colon is what was cut, which may be as long as all prompts
            cut = [message.partition(":")[0] for message in messages if "truncated" in message]
            said.extend(message for message in dict.fromkeys(cut) if message not in said)
            listener.note([batch, arguments.get("negative_prompt", [""] * len(batch))], rows.start + 1)
            tensors = packed(leaves, returns, len(batch))
            shapes = {name: tensor.shape[1:] for name, tensor in tensors.items()}
            states = states_leaf(shapes)
            unsaid = {POOLED: pooled_leaf(shapes) is None, TOKENS: not states.masked}
            heard = listener.rows(batch, tensors[states.name].shape[1])
            tensors |= {name: rows for name, rows in heard.items() if unsaid[name]}
            return Conditioning(tensors)

        yield from batches.map(len(prompts), work)
        batches.notes += listener.notes(len(prompts))
        if batches.memo["unread"]:
            batches.notes += [f"prompts were cut, {kind} says: {message}" for message in said]

    @classmethod
    def conditioning_of(cls, model: ModelEntry, settings: PipelineSettings) -> dict[str, Tensor]:
        known = described(model)
        rows = packed(known.leaves(settings), known.returns(settings, 1, LONG), 1)
        wide, dtype = torch.float32, DTYPES[settings.dtype]  # modules without weights answer in float32
        return {
            name: torch.empty(row.shape[1:], dtype=dtype if row.dtype == wide else row.dtype, device="meta")
            for name, row in rows.items()
        }

    def features_of(self, rows: LazyRows, option: str) -> NDArray[np.float64]:
        """Return the `pooled` vector or, where there is none, the `mean_token`; or all states `flattened`."""
        return features(rows, rows.shapes, pooled=option == POOLED, flattened=option == "flattened")

    def sampler(self, settings: PipelineSettings) -> Sampler:
        return self._model.sampler(settings, self.device)

    def latent_shape(self, settings: PipelineSettings) -> tuple[int, ...]:
        return self._model.latent_shape(settings)

    def latents_dtype(self, settings: PipelineSettings) -> torch.dtype:
        if self.dtype != torch.float32 and self._latents_dtype is None:
            arguments, returns = self._model.arguments(settings, [PROMPT]), self._model.returns(settings, 1)
            latents, _ = seams.prepared(self.denoiser, arguments, _moved(returns, self.device, self.dtype))
            self._latents_dtype = latents.dtype
        return self._latents_dtype or self.dtype

    @classmethod
    def unguided(cls, model: ModelEntry, settings: PipelineSettings) -> PipelineSettings:
        """Return the settings without the guidance that costs rows: beside an embedded one, the true guidance.

        At which guidance a call has no unconditional rows is seen from its calls: mostly 1, of some pipelines 0.
        """
        further = parse_json(settings.arguments or "{}")
        plain = {"negative_prompt": "", "guidance_interval": WHOLE}
        if further.pop(TRUE_GUIDANCE, 1) > 1:
            return settings.model_copy(update={**plain, "arguments": canonical_json(further) if further else ""})
        at_one, at_none = (
            settings.model_copy(update={**plain, "guidance": min(guidance, settings.guidance)})
            for guidance in (1.0, 0.0)
        )
        rows = {off: _rows(cls.components_of(model, off)) for off in (at_one, at_none)}
        return at_none if rows[at_none] < rows[at_one] else at_one

    @torch.no_grad()
    def predict(
        self, latents: Tensor, k: int, sampler: Sampler, rows: dict[str, Tensor], settings: PipelineSettings
    ) -> Tensor:
        output: Tensor | None = None
        for places in batches_of(rows, len(latents), self._model.most_prompts):
            own = {name: tensor[places] for name, tensor in rows.items()}
            arguments = self._model.arguments(settings, [PROMPT] * len(places))
            returns = unpacked(own, self.device)
            part = seams.predicted(self.denoiser, arguments, returns, latents[places.to(latents.device)], k, sampler)
            if len(places) == len(latents):
                return part
            output = part.new_empty(len(latents), *part.shape[1:]) if output is None else output
            output[places.to(output.device)] = part
        if output is None:
            raise ValueError("no rows to denoise")
        return output

    @torch.no_grad()
    def decode(self, latents: Tensor, settings: PipelineSettings, draw: Draw) -> NDArray[np.uint8]:
        arguments = self._model.arguments(settings, [PROMPT] * len(latents))
        returns = _moved(self._model.returns(settings, len(latents)), self.device, self.dtype)
        finished = latents.to(self.device)
        with decoder_watched(self.denoiser):
            values: NDArray[np.float32] = seams.decoded(
                self.denoiser, arguments, returns, finished, self.sampler(settings)
            )
        return pictures_of(values)

    @classmethod
    def components_of(cls, model: ModelEntry, settings: PipelineSettings) -> list[Component]:
        return traced.components(described(model), settings)


def _rows(components: list[Component]) -> float:
    return sum(part.calls for part in components if part.unit == "node_step")


def _encodes(name: str) -> bool:
    return name.startswith(("text_encoder", "text_conditioner"))


def _moved(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    def moved(item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        return item.to(device, dtype if item.is_floating_point() else item.dtype)

    return tree_map(moved, value)
