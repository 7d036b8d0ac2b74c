"""The settings of any diffusers pipeline, and the arguments of its call that they are."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from common.files import canonical_json, parse_json
from generators.settings import GenerationSettings

LENGTH = "max_sequence_length"


def _canonical(value: Any) -> str:
    """Return a mapping, or its JSON, in one form.

    Raises:
        ValueError: it is neither.
    """
    content = parse_json(value or "{}") if isinstance(value, str) else value
    if not isinstance(content, dict):
        raise ValueError('write a JSON object: {"NAME": VALUE}')
    return canonical_json(content) if content else ""


class PipelineSettings(GenerationSettings):
    """The settings of any diffusers pipeline.

    Attributes:
        max_sequence_length: tokens that the text encoder reads of a prompt; None: as many as the pipeline's call says.
        arguments: further arguments of the pipeline's call, as a JSON object, e.g. ``{"true_cfg_scale": 4}``.
    """

    # guidance decides whether negative prompts are encoded
    not_in_conditioning: ClassVar[frozenset[str]] = GenerationSettings.not_in_conditioning - {"guidance"}
    in_denoiser_calls: ClassVar[frozenset[str]] = GenerationSettings.in_denoiser_calls | {"arguments", LENGTH}

    max_sequence_length: Annotated[int | None, Field(ge=1)] = None
    arguments: Annotated[str, BeforeValidator(_canonical), Field(validate_default=True)] = ""

    @model_validator(mode="before")
    @classmethod
    def _length_once(cls, values: Any) -> Any:
        """Keep a length that is written among the arguments where lengths are kept."""
        try:
            further = parse_json(_canonical(values.get("arguments", "")) or "{}")
        except ValueError:
            return values  # which the field's own check refuses
        if LENGTH not in further:
            return values
        length = further.pop(LENGTH)
        return {LENGTH: length, **values, "arguments": further}

    @property
    def further(self) -> dict[str, Any]:
        """The arguments of the call that other pipelines may not have, by name."""
        content: dict[str, Any] = parse_json(self.arguments or "{}")
        return content if self.max_sequence_length is None else {LENGTH: self.max_sequence_length, **content}
