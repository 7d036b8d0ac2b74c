"""What one set of images is generated with, resolved and validated before anything is loaded."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from common.errors import UserError, nearest
from generators.prompts import checked_text

KeyedPolicy = Literal["per-root", "shared"]
NoisePolicy = Literal[KeyedPolicy, "official"]
Dtype = Literal["fp32", "fp16", "bf16"]

Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _checked_negative(text: str) -> str:
    return text and checked_text(text, "the negative prompt")


class GenerationSettings(BaseModel):
    """Everything that changes the pictures besides the prompts, the weights and the plan.

    `guidance` is w of Imagen's equation 2 (1 or less: no unconditional rows); `height` and `width`
    are in pixels; `steps` is what the scheduler is asked for, which need not be the number of
    denoiser evaluations it answers with. `prior_*` are of families with a prior, `super_res_steps` of
    Karlo, `max_sequence_length` (tokens) of FLUX, `noise_level` (a timestep) of Stable unCLIP.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[int, Field(ge=1)]
    guidance: Finite
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    negative_prompt: Annotated[str, AfterValidator(_checked_negative)] = ""
    scheduler: Annotated[str, StringConstraints(pattern=r"^\w+$")] = "default"
    seed: Seed = 42
    noise: NoisePolicy = "per-root"
    dtype: Dtype = "fp32"
    # UnCLIPScheduler spaces its timesteps over (steps - 1) gaps.
    prior_steps: Annotated[int, Field(ge=2)] = 25
    prior_guidance: Finite = 4.0
    prior_seed: Seed | None = None
    super_res_steps: Annotated[int, Field(ge=2)] = 7
    max_sequence_length: Annotated[int, Field(ge=1)] = 512
    noise_level: Annotated[int, Field(ge=0)] = 0

    @property
    def embedding_seed(self) -> int:
        """The seed of the prior's noise: `prior_seed`, or `seed` where none is given."""
        return self.seed if self.prior_seed is None else self.prior_seed

    @classmethod
    def resolve(
        cls, defaults: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, device: str = "cpu"
    ) -> Self:
        """A model's defaults with what the user asked for on top; None among the overrides means not asked.

        A dtype of ``"auto"`` becomes fp16 on CUDA and fp32 elsewhere.

        Raises:
            UserError: an unknown setting, or a value out of range; the message names both.
        """
        asked = {**defaults, **{name: value for name, value in (overrides or {}).items() if value is not None}}
        for name in asked:
            if name not in cls.model_fields:
                raise UserError(f"unknown setting {name!r}", nearest(name, cls.model_fields))
        if asked.get("dtype") == "auto":
            asked["dtype"] = "fp16" if device.startswith("cuda") else "fp32"
        try:
            return cls(**asked)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            if first["type"] == "missing":
                raise UserError(f"the setting {name!r} has no value", f"give one: {name}=...") from None
            raise UserError(f"{name} = {first['input']!r} cannot be used", first["msg"]) from None
