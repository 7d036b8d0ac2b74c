"""Hours and money of pictures before they are made: the options that ask for them, and the lines that tell them."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from common.errors import UserError

if TYPE_CHECKING:
    from generators.component import Component
    from sweeps.accelerators import Accelerator
    from sweeps.grid import Source
    from sweeps.measured import Measured

HOUR = 3600
PRICE, UTILISATION = 2.5, 0.4  # on an accelerator that is named
PLACES = (Path("runs"), Path("generated"))  # where commands leave what they measured, unless told otherwise
PANEL = "What it costs"
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Priced:
    """Where pictures would be made, and what an hour there costs.

    Attributes:
        gpu: an accelerator; None: this machine.
        price: of an hour; None: no money is told.
        utilisation, seconds_per_step: as in `Accelerator.seconds`.
    """

    gpu: "Accelerator | None" = None
    price: float | None = None
    utilisation: float = UTILISATION
    seconds_per_step: float | None = None

    @property
    def asked(self) -> bool:
        """Return True where anything of it was asked for."""
        return self != HERE

    def measured(self, source: "Source", device: str, *folders: Path) -> "Measured | None":
        """Return what this machine took for the same model before, where it is the one that is meant."""
        from sweeps.measured import measured_here

        found = measured_here(source, device, [*folders, *PLACES])
        return found if found and (self.gpu is None or self.gpu.called in found.accelerator) else None

    def seconds(
        self,
        model: str,
        node_steps: int,
        *,
        prompts: int,
        pictures: int,
        denoising: float,
        rest: float,
        measured: "Measured | None" = None,
    ) -> tuple[float, str] | None:
        """Return the seconds that pictures take and what they rest on; None where nothing is known of this machine.

        Args:
            model: its name in the catalogue.
            node_steps: denoiser evaluations, in rows.
            prompts: to encode.
            pictures: to decode.
            denoising, rest: FLOPs of these evaluations, and of all else.
            measured: what a run took here.
        """
        if self.gpu is not None:
            return self.gpu.seconds(
                model,
                node_steps,
                denoising=denoising,
                rest=rest,
                utilisation=self.utilisation,
                seconds_per_step=self.seconds_per_step,
                measured=measured,
            )
        if self.seconds_per_step is not None:
            beside = measured.rest(prompts, pictures) if measured else 0.0
            basis = "seconds a step as given" + ("" if measured else ", of denoising alone")
            return self.seconds_per_step * node_steps + beside, basis
        if measured is None:
            return None
        return measured.node_step * node_steps + measured.rest(prompts, pictures), f"seconds as {measured.run} took"

    def of(
        self,
        model: str,
        components: "Sequence[Component]",
        prompts: int,
        node_steps: int,
        measured: "Measured | None" = None,
    ) -> dict[str, Any]:
        """Return hours and money of a plan's pictures, and what they rest on; nothing where nothing is known."""
        from metrics.flops import price

        whole, rest = (price(components, prompts, count, prompts).total for count in (node_steps, 0))
        known = self.seconds(
            model,
            node_steps,
            prompts=prompts,
            pictures=prompts,
            denoising=whole - rest,
            rest=rest,
            measured=measured,
        )
        return {} if known is None else self.told(*known)

    def told(self, seconds: float, basis: str) -> dict[str, Any]:
        """Return seconds as hours and, where an hour has a price, money, for JSON."""
        hours = seconds / HOUR
        return {"gpu_hours": hours, **self.money(hours), "gpu_hours_rest_on": basis}

    def money(self, hours: float) -> dict[str, float]:
        """Return what so many hours cost, by the name that JSON has for it; nothing without a price."""
        return {} if self.price is None else {"cost": hours * self.price}

    @property
    def where(self) -> str:
        """Return the name of the place."""
        return self.gpu.description if self.gpu else "this machine"


HERE = Priced()  # nothing is asked


def priced(command: Command) -> Command:
    """Give a command the options of cost in place of its keyword parameter `pricing`, which is then a `Priced`.

    It goes beneath `spec_options`, where a command has that too.
    """
    own = inspect.signature(command)

    @wraps(command)
    def with_cost(*arguments: Any, **options: Any) -> Any:
        cost = {name: options.pop(name, None) for name in OPTIONS}
        return command(*arguments, pricing=asked(**cost), **options)

    kind = own.parameters["pricing"].kind
    added = [inspect.Parameter(name, kind, default=None, annotation=annotation) for name, annotation in OPTIONS.items()]
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += added if parameter.name == "pricing" else [parameter]
    with_cost.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_cost  # type: ignore[return-value]


def asked(
    gpu: str | None = None,
    price: float | None = None,
    utilisation: float | None = None,
    seconds_per_step: float | None = None,
) -> Priced:
    """Return what the options of cost ask for.

    Raises:
        UserError: an accelerator is not known, or an option means nothing without one.
    """
    from sweeps.accelerators import accelerator

    if gpu is None:
        if utilisation is not None:
            raise UserError("--utilisation is of an accelerator, and none is named", "add --gpu NAME")
        return Priced(None, price, UTILISATION, seconds_per_step)
    where = accelerator(gpu)
    return Priced(where, PRICE if price is None else price, utilisation or UTILISATION, seconds_per_step)


OPTIONS: dict[str, Any] = {
    "gpu": Annotated[
        str | None,
        typer.Option(
            metavar="h100|h100-pcie|h200|a100|l40s|rtx4090",
            help="Say hours and money on this accelerator.",
            show_default="this machine, as measured before",
            rich_help_panel=PANEL,
        ),
    ],
    "price": Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="X",
            help="What an hour costs.",
            show_default=f"{PRICE:g} with --gpu",
            rich_help_panel=PANEL,
        ),
    ],
    "utilisation": Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1,
            metavar="X",
            help="The share of its peak FLOP/s that --gpu reaches, where nothing was measured.",
            show_default=f"{UTILISATION:g}",
            rich_help_panel=PANEL,
        ),
    ],
    "seconds_per_step": Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="X",
            help="Seconds of one row in a call of the denoiser, if you have measured them.",
            rich_help_panel=PANEL,
        ),
    ],
}
