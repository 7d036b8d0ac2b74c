"""Everything that one set of images is generated with, resolved and validated before anything is loaded.

A family may need more than others do: it declares its own fields in a subclass, its `Family.settings_type`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

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

    Attributes:
        not_in_conditioning: the settings that images depend on but their prompts' conditioning does not; a family adds
            its own.
        in_denoiser_calls: the settings that decide the shapes and the numbers' width in one call of the denoiser;
            likewise.
        steps: what the scheduler is asked for, which need not be the number of denoiser evaluations it answers with.
        guidance: w of Imagen's equation 2; 1 or less: no unconditional rows.
        height, width: in pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    not_in_conditioning: ClassVar[frozenset[str]] = frozenset({"steps", "guidance", "height", "width", "noise", "seed"})
    in_denoiser_calls: ClassVar[frozenset[str]] = frozenset({"height", "width", "dtype", "guidance"})

    steps: Annotated[int, Field(ge=1)]
    guidance: Finite
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    negative_prompt: Annotated[str, AfterValidator(_checked_negative)] = ""
    scheduler: Annotated[str, StringConstraints(pattern=r"^\w+$")] = "default"
    seed: Seed = 42
    noise: NoisePolicy = "per-root"
    dtype: Dtype = "fp32"

    @property
    def embedding_seed(self) -> int:
        """The seed of the noise that prompts are encoded with, where encoding draws any."""
        return self.seed

    @property
    def own_embedding_seed(self) -> bool:
        """Whether prompts are encoded with a seed that is not the pictures'."""
        return False

    @classmethod
    def own_names(cls) -> list[str]:
        """Return the names of the settings that this family has beside those that every family has."""
        return [name for name in cls.model_fields if name not in GenerationSettings.model_fields]

    @classmethod
    def parsed(cls, name: str, value: Any) -> Any:
        """Return one setting's value as its field has it, say 4 of ``"4"``.

        Raises:
            UserError: the value is of another kind, or out of range.
        """
        field = cls.model_fields[name]
        try:
            return TypeAdapter(Annotated[(field.annotation, *field.metadata)]).validate_python(value)  # type: ignore[arg-type]
        except ValidationError as error:
            raise UserError(f"{name} = {value!r} cannot be used", error.errors()[0]["msg"]) from None

    @classmethod
    def resolve(
        cls, defaults: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, device: str = "cpu"
    ) -> Self:
        """Return a model's defaults with what the user asked for on top.

        Args:
            defaults: the model's.
            overrides: by name; None means not asked.
            device: decides what a dtype of ``"auto"`` becomes: fp16 on CUDA, fp32 elsewhere.

        Raises:
            UserError: an unknown setting, or a value out of range; the message names both.
        """
        values = {**defaults, **{name: value for name, value in (overrides or {}).items() if value is not None}}
        for name in values:
            if name not in cls.model_fields:
                raise UserError(f"unknown setting {name!r}", nearest(name, cls.model_fields))
        if values.get("dtype") == "auto":
            values["dtype"] = "fp16" if device.startswith("cuda") else "fp32"
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            if first["type"] == "missing":
                raise UserError(f"the setting {name!r} has no value", f"give one: {name}=...") from None
            raise UserError(f"{name} = {first['input']!r} cannot be used", first["msg"]) from None


class PriorSettings(GenerationSettings):
    """The settings of a family with a prior, which makes image embeddings of text.

    Attributes:
        prior_steps: of the prior's own diffusion; UnCLIPScheduler spaces its timesteps over (steps - 1) gaps.
        prior_guidance: as `guidance`.
        prior_seed: of the prior's noise; None: `seed`.
    """

    not_in_conditioning: ClassVar[frozenset[str]] = GenerationSettings.not_in_conditioning | {"prior_seed"}

    prior_steps: Annotated[int, Field(ge=2)] = 25
    prior_guidance: Finite = 4.0
    prior_seed: Seed | None = None

    @property
    def embedding_seed(self) -> int:
        """The seed of the prior's noise: `prior_seed`, or `seed` where none is given."""
        return self.seed if self.prior_seed is None else self.prior_seed

    @property
    def own_embedding_seed(self) -> bool:
        """Whether the prior has a seed of its own, even an equal one."""
        return self.prior_seed is not None
