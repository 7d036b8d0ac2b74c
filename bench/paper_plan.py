"""`bench paper plan`: what the paper's tables and figures cost to make again, before anything is downloaded."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from bench import options as o
from bench.completion import completer
from bench.costs import HERE, HOUR, Priced, priced_on
from bench.documents import print_json
from bench.hub import hub_answers
from common.errors import UserError
from common.units import size

if TYPE_CHECKING:
    from reports.paper import Item
    from sweeps.estimate import Estimate

PETA = 1e15
ENCODER = "minilm"


@dataclass(frozen=True)
class Line:
    """The cost of an item on one model and prompt set, on an accelerator."""

    item: str
    estimate: "Estimate"
    seconds: float
    rests_on: str

    @property
    def hours(self) -> float:
        return self.seconds / HOUR


@priced_on("h100")
def plan(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ITEM]",
            help="A name of `bench paper list`.",
            show_default="all",
            autocompletion=completer("items"),
        ),
    ] = None,
    pricing: Priced = HERE,
    as_json: o.Json = False,
) -> None:
    """Predict node-steps, FLOPs, GPU hours, disk space and money. It needs no weights and no GPU, and makes nothing."""
    from reports.paper import item, items

    online = hub_answers()
    presets: dict[str, list[Item]] = {}
    for one in items().values():
        presets.setdefault(one.preset, []).append(one)
    chosen = [presets[item(name).preset]] if name else list(presets.values())

    from bench.screen import screen

    notes: dict[str, None] = {}
    lines: list[Line] = []
    for group in chosen:  # items of one preset are made of the same cells
        names = ", ".join(one.name for one in group)
        with screen() as seen, seen.stage(f"planning {names}"):
            for estimate in _estimates(group, notes):
                if known := pricing.of_estimate(estimate):
                    lines.append(Line(names, estimate, *known))
    if as_json:
        print_json([_plain(line, pricing) for line in lines])
        return
    weights = {line.estimate.model: _weights(line.estimate, ask=online) for line in lines}
    _print(lines, pricing, [f"weights on disk: {', '.join(weights.values())}", *notes], each_part=name is not None)


def _estimates(group: "Sequence[Item]", notes: dict[str, None]) -> "Iterable[Estimate]":
    """Return the estimates of the sweep that these items have in common."""
    from generators.text_encoders.base import encoders
    from sweeps.estimate import estimates
    from sweeps.spec import make_spec, read_preset

    encoder = encoders().get(ENCODER)
    rows = [(one.tau, row) for one in group for row in one.rows]
    saved = {(row.model, row.dataset, tau): row.published["savings"] for tau, row in rows if "savings" in row.published}
    return estimates(
        make_spec([read_preset(group[0].preset)]),
        study=group[0].study,
        encoder=ENCODER if encoder and encoder.unavailable() is None else None,
        published=lambda *cell: saved.get(cell),
        size={row.dataset: row.prompts for _, row in rows}.get,
        on_missing=notes.setdefault,
    )


def _plain(line: Line, pricing: Priced) -> dict[str, object]:
    return {
        "item": line.item,
        **asdict(line.estimate),
        "flops": line.estimate.flops,
        "gpu_seconds": line.seconds,
        "gpu_seconds_rest_on": line.rests_on,
        **pricing.money(line.hours),
    }


def _weights(estimate: "Estimate", *, ask: bool) -> str:
    """Return what a model takes on disk: the hub's files, as the hub or its cache tell; else what runs of it."""
    from generators.catalogue import model

    try:
        here, total = model(estimate.model).hub_bytes(ask=ask)
    except UserError:
        here, total = 0, None
    if not total:
        return f"{estimate.model} about {size(estimate.weight_bytes)}, what runs of it, as the hub did not tell"
    return f"{estimate.model} {size(total)}" + (f", of which {size(here)} are here" if here else "")


def _print(lines: Sequence[Line], pricing: Priced, notes: list[str], *, each_part: bool) -> None:
    from bench.results import columns, stdout

    gpu, price = pricing.gpu, pricing.price or 0.0
    assert gpu
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        key = (line.item, *((line.estimate.model, line.estimate.dataset) if each_part else ()))
        groups.setdefault(key, []).append(line)
    table = columns(
        ("item", "model", "prompt set") if each_part else ("item",),
        ("prompts", "K", "pictures", "node-steps", "PFLOPs", "GPU hours", "pictures on disk", "money", "scores"),
    )
    for key, group in groups.items():
        every = [line.estimate for line in group]
        steps = ", ".join(str(K) for K in dict.fromkeys(estimate.steps for estimate in every))
        table.add_row(*key, f"{sum(estimate.prompts for estimate in every):,}", steps, *_sums(group, price))
    table.add_section()
    table.add_row("all", *[""] * (2 + 2 * each_part), *_sums(lines, price))
    console = stdout()
    console.print(table)
    remarks = [
        f"GPU hours of generating on {gpu.description}: {gpu.peak_flops / 1e12:g} TFLOP/s at most ({gpu.source}); "
        + _whose((line.rests_on, line.estimate.model) for line in lines),
        "node-steps: " + _whose((line.estimate.basis, line.item) for line in lines),
        f"money: at {price:g} an hour; pictures are counted uncompressed",
        "scores: pictures by all scorers, and what their audits need; the time that they take is not in the GPU hours",
        *notes,
    ]
    for text in remarks:
        console.print(f"- {text}", soft_wrap=True)


def _sums(lines: Sequence[Line], price: float) -> list[str]:
    every = [line.estimate for line in lines]
    hours = sum(line.hours for line in lines)
    return [
        f"{sum(estimate.images for estimate in every):,}",
        f"{sum(estimate.node_steps for estimate in every):,}",
        f"{sum(estimate.flops for estimate in every) / PETA:,.0f}",
        f"{hours:.2f}",
        size(sum(estimate.picture_bytes for estimate in every)),
        f"{hours * price:.2f}",
        f"{sum(estimate.scores for estimate in every):,}",
    ]


def _whose(pairs: Iterable[tuple[str, str]]) -> str:
    """Say of each different reason, the first of a pair, whose it is: the different seconds."""
    names: dict[str, dict[str, None]] = {}
    for reason, name in pairs:
        names.setdefault(reason, {})[name] = None
    return "; ".join(f"{', '.join(having)}: {reason}" for reason, having in names.items())
