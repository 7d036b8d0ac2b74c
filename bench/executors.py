"""Options that say which executor denoises plans, and the executor that they mean."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

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
Devices: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="cuda:0,cuda:1",
        help="Devices of this machine, one of Ray's workers each; cpu,cpu is two workers on the processor. Implies "
        "--executor ray.",
        rich_help_panel=RUN,
    ),
]


def of_devices(flags: Mapping[str, Any], devices: str | None) -> dict[str, Any]:
    """Return the spec's flags with the kind of device that all of --devices are.

    Raises:
        UserError: --device was given too, or --devices are not of one kind.
    """
    if devices is None:
        return dict(flags)
    if "device" in flags:
        raise UserError("--device and --devices both say where to compute", "give one of them")
    kinds = {device.partition(":")[0].strip() for device in devices.split(",")}
    if len(kinds) > 1:
        raise UserError(f"--devices {devices}: images of different kinds of devices differ", "name devices of one kind")
    return {**flags, "device": kinds.pop()}


def chosen(
    name: str, address: str | None, workers: int | None, store: str | None, devices: str | None = None
) -> "Executor | None":
    """Return the executor of these options; None for this process.

    Raises:
        UserError: there is none such, or it cannot run here.
    """
    if devices is not None:
        for option, value in {"address": address, "workers": workers}.items():
            if value is not None:
                raise UserError(
                    f"--devices are this machine's, one worker each, and --{option} was given", "leave it out"
                )
        name = "ray"
    if name == "local":
        for option, value in {"address": address, "workers": workers, "store": store}.items():
            if value is not None:
                raise UserError(f"--{option} means nothing to this process", "add --executor ray, or leave it out")
        return None
    from sweeps.executors.base import get_executor

    kind = get_executor(name)
    if reason := kind.unavailable():
        raise UserError(f"--executor {name} cannot run here", reason)
    if devices is None:
        return kind(address, workers, store)
    return kind(address, workers, store, tuple(device.strip() for device in devices.split(",")))
