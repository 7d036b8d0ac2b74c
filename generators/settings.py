"""Everything that one set of images is generated with, resolved and validated before anything is loaded.

A family may need more than others do: it declares its own fields in a subclass, its `Family.settings_type`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from common.errors import UserError, nearest
from generators.guidance import WHOLE, guidance_interval
from generators.prompts import checked_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KeyedPolicy = Literal["per-root", "shared"]
Dtype = Literal["fp32", "fp16", "bf16"]

Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class NoisePolicy(NamedTuple):
    """Where noise comes from.

    Attributes:
        source: of initial latents: one a root, one for all, or the one stream of the paper's released code.
        renoise: the strength at which copies of one prompt get fresh noise where they part, from 0, none, to 1: of
            the noise that they had in common nothing stays.
        own_x0: the share, from 0, none, to 1, of the cluster's predicted x0 that a node replaces by its own in its
            first step after a split, under the noise that the cluster had (`Sampler.with_own_x0`).
    """

    source: Literal[KeyedPolicy, "official"]
    renoise: float = 0.0
    own_x0: float = 0.0

    @property
    def text(self) -> str:
        """It as users write it, the same for the same policy."""
        shares = {name: getattr(self, name) for name in SHARES}
        return ":".join([self.source, *(f"{name}={value:g}" for name, value in shares.items() if value)])


SHARES = tuple(NoisePolicy._field_defaults)


def noise_policy(text: str) -> NoisePolicy:
    """Return the noise policy that a user wrote: ``per-root``, ``shared`` or ``official``, or with shares behind it.

    Raises:
        UserError: it is none.

    Examples:
        >>> noise_policy("per-root:renoise=0.70").text
        'per-root:renoise=0.7'
        >>> noise_policy("shared:renoise=0").text
        'shared'
        >>> noise_policy("per-root:own_x0=1:renoise=0.7").text
        'per-root:renoise=0.7:own_x0=1'
    """
    source, *rest = text.split(":")
    known = (*get_args(KeyedPolicy), "official")
    if source not in known:
        raise UserError(f"noise = {text!r} is no noise policy", nearest(source, known))
    shares: dict[str, float] = {}
    for part in rest:
        parameter, _, value = part.partition("=")
        if parameter not in SHARES or parameter in shares:
            fault = f"names {parameter} twice" if parameter in shares else f"has no parameter {parameter!r}"
            raise UserError(
                f"noise = {text!r}: it {fault}", nearest(parameter, SHARES) + "; write per-root:renoise=0.7"
            )
        try:
            shares[parameter] = float(value)
        except ValueError:
            shares[parameter] = -1
        if not 0 <= shares[parameter] <= 1:
            raise UserError(f"noise = {text!r}: {parameter} is a number from 0 to 1", f"write per-root:{parameter}=0.7")
        if shares[parameter] and source == "official":
            what = f"the released code's one stream of noise has no place for {parameter}"
            raise UserError(what, "use per-root or shared")
    return NoisePolicy(source, **shares)  # type: ignore[arg-type]


def _checked_negative(text: str) -> str:
    return text and checked_text(text, "the negative prompt")


class GenerationSettings(BaseModel):
    """Everything that changes the pictures besides the prompts, the weights and the plan.

    Attributes:
        not_in_conditioning: the settings that images depend on but their prompts' conditioning does not; a family adds
            its own.
        in_denoiser_calls: the settings that decide the shapes and the numbers' width in one call of the denoiser;
            likewise.
        encoding_draws: whether copies of one prompt are encoded differently, each from noise of its own.
        steps: what the scheduler is asked for, which need not be the number of denoiser evaluations it answers with.
        guidance: w of Imagen's equation 2; 1 or less: no unconditional rows.
        guidance_interval: the steps in which guidance is on, see `GuidanceInterval`; outside them the denoiser predicts
            for the prompt alone, in one row instead of two.
        height, width: in pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    not_in_conditioning: ClassVar[frozenset[str]] = frozenset(
        {"steps", "guidance", "guidance_interval", "height", "width", "noise", "seed"}
    )
    in_denoiser_calls: ClassVar[frozenset[str]] = frozenset({"height", "width", "dtype", "guidance"})
    encoding_draws: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=1)]
    guidance: Finite
    guidance_interval: Annotated[str, AfterValidator(lambda text: guidance_interval(text).text)] = WHOLE
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    negative_prompt: Annotated[str, AfterValidator(_checked_negative)] = ""
    scheduler: Annotated[str, StringConstraints(pattern=r"^\w+$")] = "default"
    seed: Seed = 42
    noise: Annotated[str, AfterValidator(lambda text: noise_policy(text).text)] = "per-root"
    dtype: Dtype = "fp32"

    @model_serializer(mode="wrap")
    def _as_always(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later and says nothing: identities of earlier runs hold."""
        written: dict[str, Any] = serialise(self)
        return {name: value for name, value in written.items() if (name, value) != ("guidance_interval", WHOLE)}

    def guided(self, steps: int) -> "NDArray[np.bool_]":
        """Return at which of K = `steps` evaluations guidance is on, bool [K]; where there is any."""
        import numpy as np

        on = np.zeros(steps, dtype=np.bool_)
        on[guidance_interval(self.guidance_interval).steps(steps)] = True
        return on

    @property
    def embedding_seed(self) -> int:
        """The seed of the noise that prompts are encoded with, where encoding draws any."""
        return self.seed

    @property
    def own_embedding_seed(self) -> bool:
        """Whether prompts are encoded with a seed that is not the pictures'."""
        return False

    @property
    def renoise(self) -> float:
        """The strength of fresh noise where copies of one prompt part (`NoisePolicy.renoise`)."""
        return noise_policy(self.noise).renoise

    @property
    def own_x0(self) -> float:
        """The share of a cluster's x0 that a node replaces by its own after a split (`NoisePolicy.own_x0`)."""
        return noise_policy(self.noise).own_x0

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

    Each copy of a prompt has an embedding of its own.

    Attributes:
        prior_steps: of the prior's own diffusion; UnCLIPScheduler spaces its timesteps over (steps - 1) gaps.
        prior_guidance: as `guidance`.
        prior_seed: of the prior's noise; None: `seed`.
    """

    not_in_conditioning: ClassVar[frozenset[str]] = GenerationSettings.not_in_conditioning | {"prior_seed"}
    encoding_draws: ClassVar[bool] = True

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
