"""The answers of `bench plan`: node-steps, savings and FLOPs at some taus, or the tau of a target."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from generators.component import Component
    from generators.sharing.plan import Grouping
    from generators.sharing.schedule import Schedule
    from sweeps.spec import SweepSpec

MOST_UNITED = 1_000_000  # prompts times taus whose union is worth the seconds that it takes to know


@dataclass(frozen=True)
class Planned:
    """The grouping of some prompts, its K, and, if a model is known, its components and the memory that it takes.

    Attributes:
        memory: bytes of weights, latents and what is computed, a row at a time and at the usual batch size.
        basis: what the prompts were grouped by, where that is not the model's own embeddings.
        log_snr: of the sampler's latents, if a model is known.
        workers: how many the plans are to be spread over, if that is asked.
    """

    grouping: "Grouping"
    steps: int
    title: str
    components: "Sequence[Component]" = ()
    memory: tuple[int, int] | None = None
    basis: str | None = None
    log_snr: tuple[float, ...] | None = None
    workers: int | None = None

    def answers(self, spec: "SweepSpec") -> list[dict[str, Any]]:
        """Return one object a tau; of several, each also says what all take when they are denoised together."""
        rows = [self._at(spec, float(tau)) for tau in spec.tau]
        if len(rows) == 1 or len(rows) * self.grouping.n_leaves > MOST_UNITED:
            return rows
        one_by_one, together = self._united(spec)
        return [{**row, "all_taus": {"one_by_one": one_by_one, "together": together}} for row in rows]

    def _united(self, spec: "SweepSpec") -> tuple[int, int]:
        from generators.sharing.plan import baseline_plan, build_plan
        from generators.sharing.union import united_steps

        plans = [build_plan(self.grouping, self._schedule(spec), float(tau), self.steps) for tau in spec.tau]
        return united_steps([baseline_plan(self.grouping.n_leaves, self.steps), *plans])

    def target(self, spec: "SweepSpec", target: float) -> dict[str, Any]:
        """Return the tau that reaches the target, or the most that can be saved."""
        from generators.sharing.savings import tau_for_savings

        nearest = tau_for_savings(self.grouping, self._schedule(spec), self.steps, target)
        return {"target": target, **self._at(spec, nearest.tau), **asdict(nearest)}

    def _at(self, spec: "SweepSpec", tau: float) -> dict[str, Any]:
        from generators.sharing.savings import node_steps
        from sweeps.cost import cost

        n = self.grouping.n_leaves
        nodes = node_steps(self.grouping, self._schedule(spec), tau, self.steps)
        return {
            "tau": tau,
            "prompts": n,
            "steps": self.steps,
            **cost(self.components, n, self.steps, nodes).plain(),
            **dict(zip(("least_memory_bytes", "peak_memory_bytes"), self.memory or (), strict=False)),
            **({} if self.basis is None else {"basis": self.basis}),
            **({} if self.workers is None else {"spread": self._spread(spec, tau, self.workers)}),
        }

    def _spread(self, spec: "SweepSpec", tau: float, workers: int) -> dict[str, Any]:
        from generators.sharing.critical import spread
        from generators.sharing.plan import build_plan

        plan = build_plan(self.grouping, self._schedule(spec), tau, self.steps)
        return asdict(spread(plan, workers))

    def _schedule(self, spec: "SweepSpec") -> "Schedule":
        from sweeps.grid import parse_schedule

        schedule = parse_schedule(spec.schedule[0])
        return schedule.bound(self.log_snr) if self.components else schedule


def print_answers(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Print the answers of one `Planned`: a table, or the sentence that names a tau."""
    from rich.table import Table

    from bench.results import si, stdout, united_line

    title = ", ".join([title, *([rows[0]["basis"]] if "basis" in rows[0] else [])])
    if "target" in rows[0]:
        (row,) = rows
        saved = f"{row['savings']:.1%} of denoiser steps"
        answer = f"tau {row['tau']:g} saves {saved}"
        if not row["reached"]:
            answer = f"{row['target']:.1%} is out of reach: the most is {saved}, at tau {row['tau']:g}"
        typer.echo(f"{title}: {answer}")
        _print_spread(rows)
        return
    stdout().print(f"{title}, {rows[0]['steps']} steps", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("tau", "node-steps", "of", "steps saved", "FLOPs", "FLOPs saved"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            *(f"{row['tau']:g}", f"{row['node_steps']:,}", f"{row['standard_node_steps']:,}", f"{row['savings']:.1%}"),
            *(si(row.get("flops")), f"{row['flop_savings']:.1%}" if "flop_savings" in row else "-"),
        )
    stdout().print(table)
    if "all_taus" in rows[0]:
        stdout().print(united_line(**rows[0]["all_taus"]), soft_wrap=True)
    _print_spread(rows)
    if "peak_memory_bytes" in rows[0]:
        from generators.batch_search import BATCH_SIZE

        least, most = (rows[0][name] / 2**30 for name in ("least_memory_bytes", "peak_memory_bytes"))
        typer.echo(f"memory: {least:.3g} GiB with a row in a batch, {most:.3g} GiB with {BATCH_SIZE}")


def _print_spread(rows: Sequence[dict[str, Any]]) -> None:
    """Print how several workers would share each plan, where that was asked."""
    if "spread" not in rows[0]:
        return
    from rich.table import Table

    from bench.results import stdout

    workers, steps = rows[0]["spread"]["workers"], rows[0]["spread"]["critical_path"]
    table = Table(box=None, pad_edge=False)
    for heading in ("tau", "least time", "speed-up at most", "trunks", "longest", "subtrees", "speed-up, trunks first"):
        table.add_column(heading, justify="right")
    for row in rows:
        spread = row["spread"]
        table.add_row(
            *(f"{row['tau']:g}", f"{spread['least_time']:,}", f"{spread['speed_up_bound']:.3g}"),
            *(
                f"{spread['trunk']:,}",
                f"{spread['longest_trunk']:,}",
                f"{spread['subtrees']:,}",
                f"{spread['speed_up']:.3g}",
            ),
        )
    stdout().print(f"on {workers:,} workers, in node-steps one after the other; a prompt alone takes {steps}")
    stdout().print(table)
