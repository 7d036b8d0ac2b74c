"""The answers of `bench plan`: node-steps, savings and FLOPs at some taus, or the tau of a target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from bench.costs import HERE, Priced

if TYPE_CHECKING:
    from decimal import Decimal

    import numpy as np
    from numpy.typing import NDArray

    from generators.component import Component, Phase
    from generators.growth import Growth
    from generators.sharing.evaluations import Evaluations
    from generators.sharing.plan import Grouping, SharingPlan
    from generators.sharing.schedule import Schedule
    from sweeps.grid import Source
    from sweeps.measured import Measured

GIB = 2**30
MOST_UNITED = 1_000_000  # prompts times taus whose union is worth the seconds that it takes to know


@dataclass(frozen=True)
class Held:
    """What is held of a row while it is denoised, and what decides how many are denoised at once.

    Attributes:
        bytes: between steps, by device (`metrics.memory.held_bytes`).
        free: bytes that are free, by device.
        least: rows of a batch.
        state: bytes of a node that waits on disk.
        encoded: bytes of a prompt's conditioning on disk.
        wide: bytes of a row's conditioning in main memory.
        wave: the rows that are asked for.
    """

    bytes: Mapping[str, int]
    free: Mapping[str, float]
    least: int
    state: int
    encoded: int
    wide: int
    wave: int | None = None

    def of(self, plan: "SharingPlan") -> dict[str, Any]:
        """Return into how many waves a plan is cut, and the memory and the disk that they take."""
        from generators.sharing.parts import most_kept, parts
        from metrics.memory import wave_bytes, wave_rows

        rows = self.wave or wave_rows(plan.leaves, self.bytes, self.free, self.least)
        cut, most = parts(plan, rows), min(rows, plan.widest)
        return {
            "waves": len(cut.nodes),
            "wave_rows": rows,
            "wave_memory_bytes": wave_bytes(
                self.bytes, most, self.least, conditioning=self.wide, prompts=plan.n_prompts
            ),
            "disk_bytes": {"conditioning": plan.n_prompts * self.encoded, "states": most_kept(plan, cut) * self.state},
        }


@dataclass(frozen=True)
class Planned:
    """The grouping of some prompts and how it is cut, and, if a model is known, its components and memory.

    Attributes:
        schedule: bound to the sampler, if a model is known.
        steps: K.
        memory: bytes of weights, latents and what is computed, by phase: a row at a time, and at the usual batch size.
        basis: what the prompts were grouped by, where that is not the model's own embeddings.
        workers: how many the plans are to be spread over, if that is asked.
        device: the device that this machine would run it on, and the bytes that it has.
        model: the model's name, if one is known.
        source: the model and its settings, if one is known.
        held: what waves are cut by, if a model and its conditioning are known.
        priced: where the pictures would be made, and `measured` what a run took there.
        grow: gives the growth of node-steps with the set, at some taus, if that is asked.
        repeated: bool [N], the prompts whose pictures will be those of earlier equal ones where they share steps; None
            where that is not known.
        repeats: in words, what becomes of those.
        guided: bool [K], the steps at which guidance is on; None: all.
        reuse: whether siblings' unconditional rows are evaluated once.
    """

    grouping: "Grouping"
    schedule: "Schedule"
    steps: int
    title: str
    components: "Sequence[Component]" = ()
    memory: "tuple[dict[Phase, int], dict[Phase, int]] | None" = None
    basis: str | None = None
    workers: int | None = None
    device: tuple[str, int] | None = None
    model: str | None = None
    source: "Source | None" = None
    held: Held | None = None
    priced: Priced = HERE
    measured: "Measured | None" = None
    grow: "Callable[[Sequence[float]], list[Growth]] | None" = None
    repeated: "NDArray[np.bool_] | None" = None
    repeats: str = ""
    guided: "NDArray[np.bool_] | None" = None
    reuse: bool = False

    def answers(self, taus: "Sequence[Decimal]") -> list[dict[str, Any]]:
        """Return one object a tau; of several, each also says what all take when they are denoised together."""
        from generators.sharing.plan import baseline_plan
        from generators.sharing.union import united_steps

        rows = [self._at(float(tau)) for tau in taus]
        if len(rows) > 1 and len(rows) * self.grouping.n_leaves <= MOST_UNITED:
            baseline = baseline_plan(self.grouping.n_leaves, self.steps)
            one_by_one, together = united_steps([baseline, *(self._plan(float(tau)) for tau in taus)])
            for row in rows:
                row["all_taus"] = {"one_by_one": one_by_one, "together": together}
        if self.grow is not None:
            for row, found in zip(rows, self.grow([row["tau"] for row in rows]), strict=True):
                row["curve"] = self._curve(found)
        return rows

    def _curve(self, found: "Growth") -> dict[str, Any]:
        """Return savings by number of prompts, and what further prompts cost."""
        from generators.growth import ahead
        from generators.sharing.evaluations import Evaluations

        more = ahead(found.prompts)
        each = found.further(more)
        all_of_them = (found.prompts + more) * self.steps
        grown = [1 - (found.node_steps + steps * more) / all_of_them for steps in each]
        further: dict[str, Any] = {"prompts": more, "steps_each": each, "savings": grown}
        # guidance counts as it does without sharing
        on = 1.0 if self.guided is None else float(self.guided.mean())
        steps = round(each[0] * more)
        further |= self._cost(more, Evaluations(round(on * steps), steps - round(on * steps)))
        return {
            "savings": {size: found.savings(size) for size in (*found.parts, found.prompts)},
            "further": further,
            "foretold": found.foretold(),
        }

    def target(self, target: float) -> dict[str, Any]:
        """Return the tau that reaches the target, or the most that can be saved."""
        from generators.sharing.savings import tau_for_savings

        nearest = tau_for_savings(self.grouping, self.schedule, self.steps, target)
        return {"target": target, **self._at(nearest.tau), **asdict(nearest)}

    def _at(self, tau: float) -> dict[str, Any]:
        from generators.sharing.critical import spread
        from sweeps.cost import cost

        n = self.grouping.n_leaves
        made, alone = self._evaluated(tau), self._evaluated(0)
        return {
            "tau": tau,
            "prompts": n,
            "steps": self.steps,
            **cost(self.components, n, made, alone).plain(),
            **self._distinct(tau),
            **self._memory(),
            **({} if self.held is None else self.held.of(self._plan(tau))),
            **self._money(n, made, alone),
            **({} if self.basis is None else {"basis": self.basis}),
            **({} if self.workers is None else {"spread": asdict(spread(self._plan(tau), self.workers))}),
        }

    def _distinct(self, tau: float) -> dict[str, Any]:
        """Return how many prompts repeat earlier ones, and what the others save, where some do."""
        if not tau or self.repeated is None or not self.repeated.any():
            return {}
        distinct = self._plan(tau).restricted(~self.repeated).savings
        return {"repeats": int(self.repeated.sum()), "distinct_savings": distinct, "about_repeats": self.repeats}

    def _memory(self) -> dict[str, Any]:
        """Return what the whole run takes at its worst moment, and the phases of a run at the usual batch size."""
        if self.memory is None:
            return {}
        least, usual = self.memory
        return {
            "least_memory_bytes": max(least.values()),
            "peak_memory_bytes": max(usual.values()),
            "memory_by_phase": {phase: [least[phase], usual[phase]] for phase in usual},
            **({} if self.device is None else {"device": self.device[0], "device_memory_bytes": self.device[1]}),
        }

    def _evaluated(self, tau: float) -> "Evaluations":
        from generators.sharing.savings import evaluated

        return evaluated(self.grouping, self.schedule, tau, self.steps, self.guided, reuse=self.reuse)

    def _money(self, prompts: int, made: "Evaluations", alone: "Evaluations") -> dict[str, Any]:
        """Return what the pictures cost with sharing and without, as far as that is known."""
        ours, standards = (self._cost(prompts, counted) for counted in (made, alone))
        standard = {f"standard_{name}": standards[name] for name in ("gpu_hours", "cost") if name in standards}
        return {"gpu": self.priced.where, "price": self.priced.price, **ours, **standard} if ours else {}

    def _cost(self, prompts: int, made: "Evaluations") -> dict[str, Any]:
        if self.model is None:
            return {}
        return self.priced.of(self.model, self.components, prompts, made, measured=self.measured)

    def _plan(self, tau: float) -> "SharingPlan":
        from generators.sharing.plan import build_plan

        return build_plan(self.grouping, self.schedule, tau, self.steps)


def print_answers(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Print the answers of one `Planned`: a table, or the sentence that names a tau."""
    from bench.results import columns, stdout, united_line
    from common.units import si

    title = ", ".join([title, *([rows[0]["basis"]] if "basis" in rows[0] else [])])
    if "target" in rows[0]:
        (row,) = rows
        saved = f"{row['savings']:.1%} of denoiser steps"
        answer = f"tau {row['tau']:g} saves {saved}"
        if not row["reached"]:
            answer = f"{row['target']:.1%} is out of reach: the most is {saved}, at tau {row['tau']:g}"
        typer.echo(f"{title}: {answer}")
        _print_repeats(rows)
        _print_spread(rows)
        return
    stdout().print(f"{title}, {rows[0]['steps']} steps", soft_wrap=True)
    hours = [*(["hours", "of"] if "gpu" in rows[0] else []), *(["money", "of"] if "cost" in rows[0] else [])]
    rows_too = ["NFE", "NFE saved"] if "nfe" in rows[0] else []
    table = columns(numbers=("tau", "node-steps", "of", "steps saved", *rows_too, "FLOPs", "FLOPs saved", *hours))
    for row in rows:
        spent = (row[name] for name in ("gpu_hours", "standard_gpu_hours", "cost", "standard_cost") if name in row)
        table.add_row(
            *(f"{row['tau']:g}", f"{row['node_steps']:,}", f"{row['standard_node_steps']:,}", f"{row['savings']:.1%}"),
            *([f"{row['nfe']:,}", f"{row['nfe_savings']:.1%}"] if rows_too else []),
            *(si(row.get("flops")), f"{row['flop_savings']:.1%}" if "flop_savings" in row else "-"),
            *(f"{value:.3g}" for value in spent),
        )
    stdout().print(table)
    if hours:
        money = "" if rows[0]["price"] is None else f"; money at {rows[0]['price']:g} an hour"
        about = f"hours on {rows[0]['gpu']}, by {rows[0]['gpu_hours_rest_on']}{money}"
        stdout().print(f"{about}; scoring is not in them", soft_wrap=True)
    _print_curves(rows)
    _print_repeats(rows)
    if "all_taus" in rows[0]:
        stdout().print(united_line(**rows[0]["all_taus"]), soft_wrap=True)
    _print_spread(rows)
    if "peak_memory_bytes" in rows[0]:
        from generators.batch_search import BATCH_SIZE

        least, most = (rows[0][name] / 2**30 for name in ("least_memory_bytes", "peak_memory_bytes"))
        typer.echo(f"memory: {least:.3g} GiB with a row in a batch, {most:.3g} GiB with {BATCH_SIZE}")
        phases = (f"{phase} {a / 2**30:.3g} to {b / 2**30:.3g}" for phase, (a, b) in rows[0]["memory_by_phase"].items())
        typer.echo(f"by phase: {', '.join(phases)} GiB")
        _print_room(rows[0])
    _print_waves(rows)


def _print_waves(rows: Sequence[dict[str, Any]]) -> None:
    """Print in how many waves pictures are made, and what is held in memory and on disk meanwhile."""
    if "waves" not in rows[0]:
        return
    for row in rows:
        places = {"cpu": "main memory"}
        held = (f"{taken / GIB:.3g} GiB of {places.get(at, at)}" for at, taken in row["wave_memory_bytes"].items())
        disk = (f"{name} {taken / GIB:.3g}" for name, taken in row["disk_bytes"].items())
        several = "a wave" if row["waves"] == 1 else f"{row['waves']:,} waves"
        typer.echo(
            f"tau {row['tau']:g}: {several} of at most {row['wave_rows']:,} rows, which hold {' and '.join(held)} "
            f"beside the weights; on disk {', '.join(disk)} GiB"
        )


def _print_repeats(rows: Sequence[dict[str, Any]]) -> None:
    """Print that prompts repeat others, and what is saved without them, where some do."""
    from bench.results import stdout

    if said := [row for row in rows if "repeats" in row]:
        without = ", ".join(f"{row['distinct_savings']:.1%} at tau {row['tau']:g}" for row in said)
        stdout().print(f"{said[0]['about_repeats']}\nsteps saved without repeats: {without}", soft_wrap=True)


def _print_curves(rows: Sequence[dict[str, Any]]) -> None:
    """Print how savings grow with the set and what further prompts cost, where that was asked."""
    if "curve" not in rows[0]:
        return
    from bench.results import columns, stdout

    sizes, more = list(rows[0]["curve"]["savings"]), rows[0]["curve"]["further"]["prompts"]
    steps, money = rows[0]["steps"], "cost" in rows[0]["curve"]["further"]
    of_sizes = [f"{size:,} prompts" for size in sizes]
    further = [f"a further prompt, of {steps} steps", f"{sizes[-1] + more:,} prompts", *(["money"] if money else [])]
    table = columns(numbers=("tau", *of_sizes, *further))
    for row in rows:
        curve = row["curve"]
        mean, low, high = curve["further"]["steps_each"]
        table.add_row(
            f"{row['tau']:g}",
            *(_share(*shares) for shares in curve["savings"].values()),
            f"{mean:.3g} [{low:.3g}, {high:.3g}]",
            _share(*curve["further"]["savings"]),
            *([f"{curve['further']['cost']:.3g}"] if money else []),
        )
    stdout().print(
        "steps saved by random parts of the set, with the range of 95% of them, and by a larger set of its kind:"
    )
    stdout().print(table)
    checks = [f"{row['curve']['foretold'] - 1:+.1%}" for row in rows if row["curve"]["foretold"] is not None]
    rule = "a larger set is supposed to go on as from half of this one to the whole"
    if checks:
        rule += f"; the same rule, from its quarters and halves, errs in the whole's node-steps by {', '.join(checks)}"
    paid = f"; money: what these {more:,} further prompts cost" if money else ""
    stdout().print(rule + paid, soft_wrap=True)


def _share(mean: float, one: float, other: float) -> str:
    low, high = sorted((one, other))
    return f"{mean:.1%}" if low == high else f"{mean:.1%} [{100 * low:.1f}, {100 * high:.1f}]"


def _print_room(row: dict[str, Any]) -> None:
    """Print that this machine's device has too little memory, where it has."""
    has = row.get("device_memory_bytes", row["least_memory_bytes"])
    if row["least_memory_bytes"] <= has:
        return
    place = "main memory" if row["device"] == "cpu" else row["device"]
    advice = "plan with --offload model or --offload sequential" if row["device"] != "cpu" else "a GPU with more can"
    typer.echo(f"this machine cannot run it: its {place} has {has / 2**30:.3g} GiB; {advice}")


def _print_spread(rows: Sequence[dict[str, Any]]) -> None:
    """Print how several workers would share each plan, where that was asked."""
    if "spread" not in rows[0]:
        return
    from bench.results import columns, stdout

    workers, steps = rows[0]["spread"]["workers"], rows[0]["spread"]["critical_path"]
    counts = ("tau", "least time", "speed-up at most", "trunks", "longest", "subtrees", "speed-up, trunks first")
    table = columns(numbers=counts)
    for row in rows:
        spread = row["spread"]
        table.add_row(
            *(f"{row['tau']:g}", f"{spread['least_time']:,}", f"{spread['speed_up_bound']:.3g}"),
            *(f"{spread[name]:,}" for name in ("trunk", "longest_trunk", "subtrees")),
            f"{spread['speed_up']:.3g}",
        )
    stdout().print(f"on {workers:,} workers, in node-steps one after the other; a prompt alone takes {steps}")
    stdout().print(table)
