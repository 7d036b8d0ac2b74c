"""The base of families whose models are one folder each, saved by one diffusers pipeline."""

from abc import ABC
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from common.errors import UserError
from generators.checkpoints import check_pipeline, pipeline_class
from generators.families.base import DTYPES, Family, S, torch_device
from generators.model_entry import ModelEntry

ROLE = "pipeline"


class OnePipeline(Family[S], ABC):
    """A family of models that a diffusers pipeline saved.

    Its first class of pipeline is the one that loads.
    """

    roles = (ROLE,)

    @classmethod
    def recognise(cls, folder: Path) -> ModelEntry | None:
        if not (folder / "model_index.json").is_file() or pipeline_class(str(folder)) not in cls.pipelines:
            return None
        return cls.described(str(folder), {ROLE: str(folder)})

    @classmethod
    def load(cls, model: ModelEntry, device: str, dtype: str) -> Self:
        if gone := cls.unavailable():
            raise UserError(gone)
        check_pipeline(cls.pipelines[0], model.source(ROLE))
        return cls(model, torch_device(device), DTYPES[dtype])


class VAEDecoder(nn.Module):
    """The half of a VAE that makes pictures, as a component counts it."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        image: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return image
