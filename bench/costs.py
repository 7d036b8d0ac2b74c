"""Hours and money of pictures before they are made: the options that ask for them, and the lines that tell them."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from common.errors import UserError

if TYPE_CHECKING:
    from bench.screen import Screen
    from generators.component import Component
    from generators.sharing.evaluations import Evaluations
    from sweeps.accelerators import Accelerator
    from sweeps.estimate import Estimate
    from sweeps.grid import Source
    from sweeps.jobs import Job
    from sweeps.measured import Measured
    from sweeps.model_costs import ModelCosts
    from sweeps.spec import SweepSpec

HOUR = 3600
PRICE, UTILISATION = 2.5, 0.4  # on an accelerator that is named
PLACES = (Path("runs"), Path("generated"))  # where commands leave what they measured, unless told otherwise
PANEL = "What it costs"
ROLES = {
    "sharing": "sharing",
    "baseline": "baselines",
    "another-seed": "seed control",
    "fewer-steps": "equal compute",
}
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
            node_steps: denoiser evaluations of nodes.
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
        made: "Evaluations",
        images: int | None = None,
        measured: "Measured | None" = None,
    ) -> dict[str, Any]:
        """Return hours and money of a plan's pictures, and what they rest on; nothing where nothing is known.

        Pictures are one a prompt unless `images` says how many there are.
        """
        from generators.sharing.evaluations import Evaluations
        from sweeps.cost import price

        images = prompts if images is None else images
        whole, rest = (price(components, prompts, counted, images).total for counted in (made, Evaluations()))
        known = self.seconds(
            model,
            made.node_steps,
            prompts=prompts,
            pictures=images,
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

    def of_pictures(self, costs: "ModelCosts", pictures: int) -> dict[str, Any]:
        """Return hours and money of so many pictures that share nothing, and what they rest on."""
        denoising = costs.denoiser.flops
        known = self.seconds(
            costs.model,
            costs.steps * pictures,
            prompts=pictures,
            pictures=pictures,
            denoising=denoising * pictures,
            rest=(costs.flops - denoising) * pictures,
        )
        if known is None:
            return {}
        taken = known[0] / HOUR
        return {"gpu_hours": taken, **self.money(taken), "rests_on": known[1]}

    def of_estimate(self, estimate: "Estimate", measured: "Measured | None" = None) -> tuple[float, str] | None:
        """Return the seconds of an estimate's pictures and what they rest on, as `seconds` does; no scoring in them."""
        return self.seconds(
            estimate.model,
            estimate.node_steps,
            prompts=estimate.encoded,
            pictures=estimate.images,
            denoising=estimate.denoising,
            rest=estimate.rest,
            measured=measured,
        )

    def bill(
        self, picture_sets: "Sequence[Job]", device: str, *folders: Path, spec: "SweepSpec | None" = None
    ) -> "Bill":
        """Return what planned pictures cost, baselines and controls among them, and their scores.

        Args:
            picture_sets: as for `sweeps.estimate.planned`, and `spec`.
            device: a torch device, on which this machine would make them.
            folders: of runs, whose seconds count if they are of this machine and model.

        Raises:
            UserError: FLOPs cannot be counted.
        """
        from sweeps.estimate import planned

        estimates = planned(picture_sets, spec)
        sources = {job.source.entry.name: job.source for job in picture_sets}
        measured = {name: self.measured(source, device, *folders) for name, source in sources.items()}
        known = [self.of_estimate(estimate, measured[estimate.model]) for estimate in estimates]
        seconds = [each for each in known if each is not None]
        scoring = [
            estimate.scores * found.score
            for estimate in estimates
            if estimate.scores and (found := measured[estimate.model]) and found.score
        ]
        roles: dict[str, int] = {}
        for job in picture_sets:
            if job.plan:
                steps = job.needed(isolate=spec is not None and spec.alone).node_steps
                roles[ROLES[job.role]] = roles.get(ROLES[job.role], 0) + steps
        return Bill(
            self,
            node_steps=sum(estimate.node_steps for estimate in estimates),
            nfe=sum(estimate.nfe for estimate in estimates),
            flops=sum(estimate.flops for estimate in estimates),
            pictures=sum(estimate.images for estimate in estimates),
            roles=roles,
            scores=sum(estimate.scores for estimate in estimates),
            seconds=sum(taken for taken, _ in seconds) if seconds and len(seconds) == len(known) else None,
            rests_on=", ".join(dict.fromkeys(basis for _, basis in seconds)),
            scoring=sum(scoring) if scoring and len(scoring) == sum(one.scores > 0 for one in estimates) else None,
        )

    def announce(
        self,
        picture_sets: "Sequence[Job]",
        device: str,
        seen: "Screen",
        *folders: Path,
        spec: "SweepSpec | None" = None,
    ) -> None:
        """Say on the screen what the pictures that are not there yet will cost, and have it expect them."""
        from sweeps.pictures import MANIFEST

        lacking = [job for job in picture_sets if not (job.folder / MANIFEST).exists()]
        if not any(job.plan for job in lacking):
            return
        try:
            bill = self.bill(lacking, device, *folders, spec=spec)
        except Exception as error:  # the pictures can be made all the same
            seen.say(f"note: what it costs cannot be told: {error}")
            return
        seen.expect(bill.node_steps, bill.pictures)
        seen.say(f"cost: {bill.line()}")

    def paid(self, seconds: float, device: str) -> str:
        """Say what so many seconds have cost; nothing where no hour of this machine has a price."""
        gpu, price = self.gpu, self.price
        if price is None or (gpu is not None and gpu.called not in _card(device)):
            return ""
        return f", {seconds / HOUR * price:.3g} at {price:g} an hour"

    @property
    def where(self) -> str:
        """Return the name of the place."""
        return self.gpu.description if self.gpu else "this machine"


@dataclass(frozen=True)
class Bill:
    """What pictures cost before they are made.

    Attributes:
        priced: where they would be made.
        node_steps: denoiser evaluations of nodes.
        nfe: rows of these: two a node-step with guidance, where a model has it.
        flops: of all components; a multiply-add is 2.
        pictures: that are decoded.
        roles: node-steps by what they are for, each set of pictures by itself.
        scores: of pictures, by all scorers.
        seconds: of encoding, denoising and decoding; None where they are not known.
        rests_on: what these are known by.
        scoring: seconds of scoring; None where they are not known.
    """

    priced: Priced
    node_steps: int
    nfe: int
    flops: float
    pictures: int
    roles: dict[str, int]
    scores: int
    seconds: float | None
    rests_on: str
    scoring: float | None

    def plain(self) -> dict[str, Any]:
        """Return it for JSON; what is not known is not there."""
        told = {} if self.seconds is None else self.priced.told(self.seconds + (self.scoring or 0.0), self.rests_on)
        scoring = {} if self.scoring is None else {"scoring_hours": self.scoring / HOUR}
        return {
            "node_steps": self.node_steps,
            "nfe": self.nfe,
            "node_steps_by_role": self.roles,
            "flops": self.flops,
            "images": self.pictures,
            "scores": self.scores,
            **({"gpu": self.priced.where, "price": self.priced.price} if told else {}),
            **told,
            **scoring,
        }

    def line(self) -> str:
        """Say it in a line."""
        from common.units import duration, si

        evaluated = f"{self.node_steps:,} node-steps, {self.nfe:,} NFE"
        parts = [evaluated, f"{si(self.flops)}FLOPs for {self.pictures:,} pictures"]
        if self.seconds is None:
            parts.append("no seconds of a step are known here (--gpu or --seconds-per-step says hours)")
        else:
            told = self.priced.told(self.seconds + (self.scoring or 0.0), self.rests_on)
            parts.append(f"{duration(HOUR * told['gpu_hours'])} on {self.priced.where} ({self.rests_on})")
            if "cost" in told:
                parts.append(f"{told['cost']:.3g} at {self.priced.price:g} an hour")
        if self.scores:
            what = "not in them" if self.scoring is None else f"{duration(self.scoring)} of them"
            parts.append(f"{self.scores:,} scores of pictures, {what}")
        return "; ".join(parts)

    def parts_line(self) -> str:
        """Say what the node-steps are for, where that is more than one thing."""
        return ", ".join(f"{name} {steps:,}" for name, steps in self.roles.items())


def _card(device: str) -> str:
    from sweeps.machine import machine

    return str(machine(device).get("accelerator", ""))


HERE = Priced()  # nothing is asked


def priced(command: Command, gpu: str | None = None) -> Command:
    """Give a command the options of cost in place of its keyword parameter `pricing`, which is then a `Priced`.

    It goes beneath `spec_options`, where a command has that too. `gpu` is the accelerator that is meant unless another
    is named; None: this machine.
    """
    own = inspect.signature(command)

    @wraps(command)
    def with_cost(*arguments: Any, **options: Any) -> Any:
        cost = {name: options.pop(name, None) for name in OPTIONS}
        cost["gpu"] = cost["gpu"] or gpu
        return command(*arguments, pricing=asked(**cost), **options)

    kind = own.parameters["pricing"].kind
    added = [inspect.Parameter(name, kind, default=None, annotation=annotation) for name, annotation in OPTIONS.items()]
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += added if parameter.name == "pricing" else [parameter]
    with_cost.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_cost  # type: ignore[return-value]


def priced_on(gpu: str) -> Callable[[Command], Command]:
    """Return `priced` for a command that means this accelerator unless another is named."""
    return partial(priced, gpu=gpu)


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
