"""What `bench plan` answers: from a tree, node-steps, savings and FLOPs at some taus, or the tau that is asked for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from generators.component import Component
    from generators.sharing.tree import Tree
    from sweeps.spec import SweepSpec


@dataclass(frozen=True)
class Planned:
    """A tree, its K, and, if a model is known, what its family calls and the bytes that weights and latents take.

    Attributes:
        basis: what the tree was made from, where that is not the model's own embeddings.
    """

    tree: "Tree"
    steps: int
    title: str
    components: "Sequence[Component]" = ()
    memory: int | None = None
    basis: str | None = None

    def answers(self, spec: "SweepSpec") -> list[dict[str, Any]]:
        """One object a tau."""
        return [self._at(spec, float(tau)) for tau in spec.tau]

    def target(self, spec: "SweepSpec", target: float) -> dict[str, Any]:
        """The tau that reaches the target, or what the most is."""
        from generators.sharing.savings import tau_for_savings
        from generators.sharing.schedule import get_schedule

        found = tau_for_savings(self.tree, get_schedule(spec.schedule[0]), self.steps, target)
        return {"target": target, **self._at(spec, found.tau), **asdict(found)}

    def _at(self, spec: "SweepSpec", tau: float) -> dict[str, Any]:
        from generators.sharing.savings import node_steps
        from generators.sharing.schedule import get_schedule
        from sweeps.cost import cost

        n = self.tree.n_leaves
        nodes = node_steps(self.tree, get_schedule(spec.schedule[0]), tau, self.steps)
        return {
            "tau": tau,
            "prompts": n,
            "steps": self.steps,
            **cost(self.components, n, self.steps, nodes).plain(),
            **({} if self.memory is None else {"peak_memory_bytes": self.memory}),
            **({} if self.basis is None else {"basis": self.basis}),
        }


def print_answers(rows: Sequence[dict[str, Any]], title: str) -> None:
    """The answers of one `Planned`: a table, or the sentence that names a tau."""
    from rich.table import Table

    from bench.results import si, stdout

    title = ", ".join([title, *([rows[0]["basis"]] if "basis" in rows[0] else [])])
    if "target" in rows[0]:
        found = rows[0]
        saved = f"{found['savings']:.1%} of denoiser steps"
        answer = f"tau {found['tau']:g} saves {saved}"
        if not found["reached"]:
            answer = f"{found['target']:.1%} is out of reach: the most is {saved}, at tau {found['tau']:g}"
        typer.echo(f"{title}: {answer}")
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
    if "peak_memory_bytes" in rows[0]:
        typer.echo(f"weights and latents take at most {rows[0]['peak_memory_bytes'] / 2**30:.3g} GiB of memory")
