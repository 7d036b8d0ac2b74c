"""The base of families whose models are one folder each, saved by one diffusers pipeline."""

import inspect
from abc import ABC
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from common.errors import UserError
from generators.checkpoints import check_pipeline, pipeline_class
from generators.families.base import DTYPES, Family, S, torch_device
from generators.model_entry import ModelEntry
from generators.predicted_x0 import FLOW

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


def following_a_flow(config: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Return a flow's scheduler configuration with what another class (`kind`) needs to follow the flow too."""
    if not str(config.get("_class_name")).startswith(FLOW):
        return config
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": config.get("shift", 1.0)}
    takes = inspect.signature(kind).parameters
    return {**config, **{key: value for key, value in flow.items() if key in takes}}


class VAEDecoder(nn.Module):
    """The half of a VAE that makes pictures, as a component counts it."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        image: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return image
