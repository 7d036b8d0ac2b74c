"""`bench tune`: how much a whole prompt set can share, by a random sample of its pictures, and the line to run."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.costs import Priced
from bench.documents import print_json
from bench.sweep import begin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.whole_set import WholeSet
    from reusebench import Run
    from sweeps.executors.base import Executor
    from sweeps.plan import Plan
    from sweeps.spec import SweepSpec

LEAST, PART = 100, 10  # prompts of a sample unless it is given: so many, or one of so many
TAUS = "0.25..1:0.25"
HOURS = (("gpu_hours", " hours"), ("cost", ""))  # their names in JSON, and their units


@o.spec_options(
    begin,
    changed={
        "sample": {"default": f"one in {PART} prompts, {LEAST} at least"},
        "tau": {"default": TAUS},
        "seed_control": {"default": "off"},
    },
)
def tune(
    delta: Annotated[
        float,
        typer.Option(
            min=0, max=0.49, metavar="X", help="No worse: how far below one half a win rate may lie; 0.05 is 5 points."
        ),
    ] = 0.05,
    **options: Any,
) -> None:
    """Find the most sharing that leaves a whole prompt set no worse, from a random sample of its pictures.

    All prompts are planned, and the pictures of a sample made at each tau: those that a full run would make, at a part
    of its cost, which is told before. It ends with the line that makes them all. The same command continues it.
    """
    begin(_defaults, (), _sampled, partial(_carry_out, delta=delta), **options)


def _defaults(layers: "Sequence[Mapping[str, Any]]") -> "list[Mapping[str, Any]]":
    return [{"tau": TAUS, "seed_control": False}, *layers]


def _sampled(asked: "SweepSpec") -> "SweepSpec":
    """Return the spec with the size of a sample."""
    from sweeps.grid import prompts_of

    if asked.sample:
        return asked
    largest = max(map(len, prompts_of(asked)))
    return asked.model_copy(update={"sample": max(LEAST, -(-largest // PART))})


def _carry_out(
    asked: "SweepSpec",
    folder: Path,
    uri: str | None,
    *,
    dry_run: bool,
    rescore: bool,
    system_metrics: bool,
    experiment: str | None,
    tables: "Sequence[str]",
    executor: "Executor | None",
    pricing: Priced,
    as_json: bool,
    delta: float,
) -> bool:
    """Run it as `bench.sweep.carry_out` does a sweep, and print what it says of the whole set."""
    import reusebench
    from bench.results import print_places, seconds_line
    from bench.screen import screen
    from bench.sweep import run_shown, tracker_of
    from sweeps.events import Note, SweepStarted
    from sweeps.plan import Plan

    plans: list[Plan] = []
    with screen() as seen:

        def began(event: SweepStarted) -> None:
            plans.append(Plan(event.spec, event.run, tuple(event.jobs)))
            seen(Note(_told(_cost(plans[0], pricing))))

        if dry_run:
            planned = reusebench.plan(
                asked, folder=folder, emit=seen, executor=executor, absent=lambda line: seen(Note(line))
            )
            planned.inner.costs(planned.session)  # raises what cannot be planned
            plans.append(planned.inner)
        else:
            tracker = tracker_of(uri, seen, system_metrics, experiment)
            run = run_shown(asked, folder, seen, rescore, tracker, executor, delta=delta, began=began)
    cost = _cost(plans[0], pricing)
    if dry_run:
        if as_json:
            print_json({"cost": cost})
        else:
            typer.echo(_told(cost))
        return False
    answered = _answers(run, plans[0], pricing)
    if as_json:
        print_json({"cost": cost, "run": folder, **answered})
        return bool(run.failed)
    _print(run, cost, answered, pricing)
    assert run.report
    print_places(folder, run.report, uri if tracker and tracker.worked else None)
    typer.echo(f"time     {seconds_line(seen.seconds())}")
    return bool(run.failed)


def _cost(plan: "Plan", pricing: Priced) -> dict[str, Any]:
    """Return what the run takes, its share of what all pictures would, and on an accelerator hours and money."""
    import numpy as np

    from sweeps.cost import components
    from sweeps.machine import checked_device

    spent, whole = plan.spent(), plan.spent(whole=True)
    pictures = {job.source.prompts.name: job.source for job in plan.jobs}
    cost: dict[str, Any] = {
        "pictures_of": {name: of.pictures for name, of in pictures.items()},
        "prompts": {name: len(of.prompts) for name, of in pictures.items()},
        "node_steps": sum(spent.values()),
        "whole_node_steps": sum(whole.values()),
        "share": sum(spent.values()) / max(sum(whole.values()), 1),
    }
    taken = []
    for model in spent:
        own = [job for job in plan.picture_sets if job.source.entry.name == model and job.plan]
        encoded = {job.source.conditioning_key: len(job.source.prompts) for job in own}
        needed = [job.needed(isolate=plan.spec.alone).output for job in own]
        images = sum(int(np.count_nonzero(output >= 0)) for output in needed)
        measured = pricing.measured(own[0].source, checked_device(plan.spec.device), plan.run.parent)
        prompts = sum(encoded.values())
        made = plan.evaluated(model)
        taken.append(pricing.of(model, components(own[0].source), prompts, made, images, measured))
    if all(taken):
        cost["where"] = pricing.where
        for name, _ in HOURS:
            if name in taken[0]:
                cost[name] = sum(one[name] for one in taken)
        cost["gpu_hours_rest_on"] = ", ".join(dict.fromkeys(one["gpu_hours_rest_on"] for one in taken))
    return cost


def _told(cost: "Mapping[str, Any]") -> str:
    """Say what the run takes in one line."""
    made = (f"{n:,} of the {cost['prompts'][name]:,} prompts of {name}" for name, n in cost["pictures_of"].items())
    text = (
        f"pictures of {' and '.join(made)}: {cost['node_steps']:,} denoiser evaluations, {cost['share']:.1%} of the "
        f"{cost['whole_node_steps']:,} that all pictures would take"
    )
    if "gpu_hours" not in cost:
        return text
    money = f" and {cost['cost']:.3g}" if "cost" in cost else ""
    return f"{text}; {cost['gpu_hours']:.3g} hours{money} on {cost['where']}, by {cost['gpu_hours_rest_on']}"


def _answers(run: "Run", plan: "Plan", pricing: Priced) -> dict[str, Any]:
    """Return the estimates of the whole set, and what follows for each way to share."""
    from reports.tables.whole_set import row
    from reports.whole_set import whole_sets
    from sweeps.cost import components
    from sweeps.machine import checked_device

    assert run.report
    assert run.report.view
    found = run.report.view.once(whole_sets)
    source = {job.source.entry.name: job.source for job in plan.jobs}
    rows = []
    for one in found:
        record = one.records[0]
        about = row(one)
        if record.flops:
            about |= {"flops": record.flops.total, "standard_flops": record.flops.baseline_total}
        if record.plan:
            own = source[record.config.model]
            n, parts = record.plan.n_prompts, components(own)
            measured = pricing.measured(own, checked_device(plan.spec.device), plan.run.parent)
            about |= pricing.of(own.entry.name, parts, n, record.plan.evaluations, measured=measured)
            alone = pricing.of(own.entry.name, parts, n, record.plan.baseline_evaluations, measured=measured)
            about |= {f"standard_{name}": alone[name] for name in ("gpu_hours", "cost") if name in alone}
        rows.append(about)
    by_way: dict[Any, list[int]] = {}
    for number, one in enumerate(found):
        by_way.setdefault(one.config.model_copy(update={"tau": 0, "seed": 0}), []).append(number)
    ways = [_of_way(plan.spec, [found[i] for i in numbers], [rows[i] for i in numbers]) for numbers in by_way.values()]
    return {"delta": run.report.view.delta, "rows": rows, "ways": ways}


def _of_way(spec: "SweepSpec", found: "Sequence[WholeSet]", rows: "Sequence[dict[str, Any]]") -> dict[str, Any]:
    """Return the tau at which a way to share saves most and is no worse by every metric; or the one nearest to it."""
    from reports.whole_set import HOLD

    by_tau: dict[Any, list[int]] = {}
    for number, one in enumerate(found):
        by_tau.setdefault(one.config.tau, []).append(number)
    held = [
        numbers
        for numbers in by_tau.values()
        if all(found[i].verdict in HOLD and not found[i].unshared for i in numbers)
    ]
    if held:
        best = max(held, key=lambda numbers: found[numbers[0]].savings)
        # of those that save more, the first that a larger sample may yet show to be no worse
        further = [i for numbers in by_tau.values() for i in numbers if found[i].savings > found[best[0]].savings]
        open_ones = sorted((i for i in further if found[i].needed), key=lambda i: found[i].savings)
        return {
            "chosen": rows[best[0]],
            "line": generate_line(spec, found[best[0]]),
            "next": rows[open_ones[0]] if open_ones else None,
        }
    # what shares nothing is no worse, and no answer
    tested = [numbers for numbers in by_tau.values() if not found[numbers[0]].unshared] or list(by_tau.values())
    nearest = min(tested, key=lambda numbers: max(found[i].p or 0.0 for i in numbers))
    worst = max(nearest, key=lambda i: found[i].p or 0.0)
    return {"chosen": None, "nearest": rows[worst]}


def generate_line(spec: "SweepSpec", chosen: "WholeSet") -> str:
    """Return the command that makes every picture of a set at one tau, as one pastes it into a shell."""
    from bench.generate import generate
    from generators.catalogue import model
    from sweeps.spec import FLAGS, SweepSpec

    config, fields = chosen.config, SweepSpec.model_fields
    given = {
        name: value
        for name in FLAGS
        if name in fields and name not in generate.taken.without  # type: ignore[attr-defined]
        if (value := getattr(spec, name)) != fields[name].default
    }
    named: dict[str, Any] = {"dataset": None, "prompts": None, "prompt": None}
    if config.dataset in spec.dataset:
        named["dataset"] = config.dataset
    elif spec.prompts is not None and spec.prompts.stem == config.dataset:
        named["prompts"] = spec.prompts
    else:
        named["prompt"] = spec.prompt
    given |= {name: getattr(config, name) for name in given if name in type(config).model_fields}
    models = [asked for asked in spec.model if model(asked, spec.variant).name == config.model]
    given |= {**named, "tau": f"{config.tau:f}", **({"model": models[0]} if "model" in given else {})}
    words = ["bench", "generate"]
    for name, value in given.items():
        option = next(iter(FLAGS[name].names), f"--{name.replace('_', '-')}")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(option if value else f"--no-{name.replace('_', '-')}")
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [option, f"{one:g}" if isinstance(one, float) else str(one)]
    for name, value in spec.settings.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def _print(run: "Run", cost: "Mapping[str, Any]", answered: "Mapping[str, Any]", pricing: Priced) -> None:
    from bench.results import columns, stdout
    from reports.labels import p_value, title
    from reports.tables.whole_set import notes, sizes
    from reports.whole_set import whole_sets

    assert run.report
    assert run.report.view
    view, console, rows = run.report.view, stdout(), answered["rows"]
    if not rows:
        console.print("nothing was scored, so nothing can be said: add for example --metric vqa", soft_wrap=True)
        return
    found = view.once(whole_sets)
    axes = [axis for axis in view.naming_axes() if axis != "seed"]
    several = len({row["metric"] for row in rows}) > 1
    priced = [name for name, _ in HOURS if name in rows[0]]
    money = [{"gpu_hours": "hours", "cost": "money"}[name] for name in priced]
    table = columns(
        (*(["metric"] if several else []), *axes),
        ("tau", "node-steps", "of", "saved", "FLOPs saved", *money, "win rate, %", "strict, %", "mean difference", "p"),
    )
    table.add_column("verdict")
    for row in rows:
        of = round(row["node_steps"] / (1 - row["savings"])) if row["savings"] < 1 else 0
        spent = (row[name] for name in priced)
        table.add_row(
            *([title(row["metric"])] if several else []),
            *(str(row[axis]) for axis in axes),
            *(f"{row['tau']:g}", f"{row['node_steps']:,}", f"{of:,}", f"{row['savings']:.1%}"),
            "-" if row["flop_savings"] is None else f"{row['flop_savings']:.1%}",
            *(f"{value:.3g}" for value in spent),
            *(_interval(row, name, 100, 1) for name in ("win_rate", "strict_win_rate")),
            _interval(row, "difference", 1, 3),
            p_value(row["no_worse_p"]),
            row["verdict"],
        )
    metrics = ", ".join(dict.fromkeys(title(row["metric"]) for row in rows))
    console.print(f"estimates by {metrics} for {sizes(found)}", soft_wrap=True)
    console.print(table)
    for note in notes(view, found)[:-1]:
        console.print(note)
    if priced:
        paid = f"money at {pricing.price:g} an hour; " if pricing.price is not None else ""
        basis = f"hours on {pricing.where}, by {rows[0]['gpu_hours_rest_on']}"
        console.print(f"{basis}; {paid}scoring is not in them", soft_wrap=True)
    console.print(_told(cost))
    for way in answered["ways"]:
        console.print("")
        for line in _sentences(way, axes, answered["delta"], pricing.where):
            console.print(line, soft_wrap=True)


def _interval(row: "Mapping[str, Any]", name: str, scale: float, digits: int) -> str:
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    text = f"{scale * value:.{digits}f}"
    return text if low is None or low == high else f"{text} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def _sentences(way: "Mapping[str, Any]", axes: "Sequence[str]", delta: float, where: str) -> "list[str]":
    """Say at which tau a way to share can be run, its cost and its command; or that none is, and what would do."""
    from common.units import si

    row = way["chosen"] or way["nearest"]
    name = ", ".join(str(row[axis]) for axis in axes)
    within, of = f"within {100 * delta:g} points", f"all {row['prompts']:,} prompts of {row['dataset']}"
    rate = f"at an estimated win rate of {_interval(row, 'win_rate', 100, 1)}%"
    nearer = way.get("next")
    if way["chosen"]:
        saved = f"{row['savings']:.1%} of denoiser evaluations"
        takes = [f"{row['node_steps']:,} node-steps"]
        takes += [f"{row['nfe']:,} NFE of {row['baseline_nfe']:,}"] if row["nfe"] is not None else []
        takes += [f"{si(row['flops'])} FLOPs of {si(row['standard_flops'])}"] if "flops" in row else []
        hours = [f"{row[name]:.3g}{unit} of {row[f'standard_{name}']:.3g}" for name, unit in HOURS if name in row]
        takes += [f"{' and '.join(hours)} on {where}"] if hours else []
        return [
            f"{name + ': ' if name else ''}tau {row['tau']:g} is no worse {within} for {of}, {rate}: it saves {saved}",
            f"it takes {', '.join(takes)}",
            *([f"next, tau {nearer['tau']:g} saves {nearer['savings']:.1%}: {_more(nearer)}"] if nearer else []),
            f"run      {way['line']}",
        ]
    told = f"{name + ': ' if name else ''}no tau of these is shown to be no worse {within} for {of}"
    return [f"{told}; tau {row['tau']:g} comes nearest, {rate}", _more(row)]


def _more(row: "Mapping[str, Any]") -> str:
    """Say how many more prompts would show that a tau is no worse, were its rate as estimated."""
    needed, made = row["prompts_needed"], row["made_prompts"]
    if needed is None:
        return "no sample would show it, were that its rate: try smaller taus, or a larger --delta"
    if needed <= made:
        return "a sample of this size shows it in 4 of 5 draws, were that its rate: try another --seed"
    return f"{needed - made:,} more prompts would show it in 4 of 5 draws, were that its rate: --sample {needed}"
