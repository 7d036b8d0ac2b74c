"""Options that say which executor denoises the plans of a sweep, and the executor that they mean."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from bench.completion import completer
from common.errors import UserError

if TYPE_CHECKING:
    from sweeps.executors.base import Executor

RUN, RAY = "How to run", "With --executor ray: "
Name: TypeAlias = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Where images are denoised: this process (local), or Ray's workers.",
        rich_help_panel=RUN,
        autocompletion=completer("executors"),
    ),
]
Address: TypeAlias = Annotated[
    str | None, typer.Option(metavar="auto|HOST:6379", help=f"{RAY}the cluster to connect to.", rich_help_panel=RUN)
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help=f"{RAY}how many workers.", show_default="as many as fit", rich_help_panel=RUN
    ),
]
Store: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|URL",
        help=f"{RAY}a place that all workers can read.",
        show_default="the run folder",
        rich_help_panel=RUN,
    ),
]


def chosen(name: str, address: str | None, workers: int | None, store: str | None) -> "Executor | None":
    """Return the executor of these options; None for this process.

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
