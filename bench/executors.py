"""Where `bench sweep` has its pictures made: the options, and the executor that they mean."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from bench.options import WITH
from common.errors import UserError

if TYPE_CHECKING:
    from sweeps.executors.base import Executor

Name: TypeAlias = Annotated[
    str,
    typer.Option("--executor", help="Of `bench executors list`: where plans are denoised.", rich_help_panel=WITH),
]
Address: TypeAlias = Annotated[
    str | None,
    typer.Option(help="With --executor ray: a running cluster, auto or HOST:6379.", rich_help_panel=WITH),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="With --executor ray: how many; as many as fit unless given.", rich_help_panel=WITH),
]
Store: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="With --executor ray: a folder or URL that all workers can read; the run folder unless given.",
        rich_help_panel=WITH,
    ),
]


def chosen(name: str, address: str | None, workers: int | None, store: str | None) -> "Executor | None":
    """The executor of these options; None for this process.

    Raises:
        UserError: there is none such, or it cannot run here.
    """
    if name == "local":
        for option, value in {"address": address, "workers": workers, "store": store}.items():
            if value is not None:
                raise UserError(f"--{option} means nothing to this process", "add --executor ray, or leave it out")
        return None
    from sweeps.executors.base import get_executor

    kind = get_executor(name)
    if reason := kind.unavailable():
        raise UserError(f"--executor {name} cannot run here", reason)
    return kind(address, workers, store)
