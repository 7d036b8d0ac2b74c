"""Plug-ins whose parameters are pydantic fields: listed, validated and hashed by what pydantic knows of them."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import UserError, nearest
from common.plugins import Plugin


class Parametrised(Plugin, BaseModel):
    """A plug-in with parameters.

    Attributes:
        what: what errors call its kind.
        source: where it comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: ClassVar[str] = "plug-in"
    source: ClassVar[str] = ""

    @classmethod
    def configured(cls, **parameters: Any) -> Self:
        """Return it with these parameters.

        Raises:
            UserError: it has no such parameter, or not with such a value.
        """
        about = f"{cls.what} {cls.name!r}"
        for parameter in parameters:
            if parameter not in cls.model_fields:
                raise UserError(f"{about} has no parameter {parameter!r}", nearest(parameter, cls.model_fields))
        try:
            return cls(**parameters)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise UserError(f"{about}, parameter {where!r}: {fault['msg']}") from error
