"""`bench score`: scores images that exist, of a run or of any folder; makes none."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.documents import cell, print_json
from bench.voice import note
from common.errors import UserError

if TYPE_CHECKING:
    from reports.sheet import Sheet
    from reusebench.external_images import Manifest

FAILED = 1
SCORES, ROWS = Path("scores"), Path("rows")


@o.spec_options(
    only=("metric", "audit", "indifference", "device"),
    changed={
        "metric": {"default": "in a run, those of its model"},
        "audit": {"default": "in a run, as its sweep"},
    },
)
def score(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A run folder, a submission, or any folder of images.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The prompts of a folder of images: a .txt, .csv, .tsv, .jsonl, .json, .parquet or .npy file. A "
            "column `file` may name the images; else names that hold prompts pair them, or the natural order of names.",
        ),
    ] = None,
    column: o.Column = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The known prompt set that a folder of images was made of, in its order.",
            autocompletion=completer("datasets"),
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Images of the same prompts to compare with, such as the baseline's."),
    ] = None,
    out: Annotated[
        Path | None,
        o.folder("Where the scores of a folder of images, or a submission's row, go.", "scores/ or rows/ and its name"),
    ] = None,
    rescore: Annotated[bool, typer.Option("--rescore", help="In a run: score again what has scores.")] = False,
    as_json: o.Json = False,
    **settings: Any,
) -> None:
    """Score the images of a run, or of any folder, by one scorer or several; no image is made.

    In a run, new scorers stand beside those that it has, and its tables and figures are written again. For any other
    folder, --prompts or --dataset says what its images show and --metric what scores them. Folders that `bench
    generate` or the paper's released code has written are read as they are: the former say themselves what their
    images show, and what the savings.txt of the latter says is told. A folder with a submission.yaml is scored by its
    task card, whose baseline is made where it is not there yet: its row is written for the leaderboard.
    """
    from tasks.submission import is_submission

    if is_submission(folder):
        others = {
            "prompts": prompts,
            "column": column,
            "dataset": dataset,
            "against": against,
            "rescore": rescore or None,
        }
        others |= {name: value for name, value in settings.items() if name != "device"}
        _score_submission(
            folder, [name for name, value in others.items() if value not in o.UNSET], out, settings["device"], as_json
        )
        return
    from sweeps.axes import items
    from sweeps.delivery.table import TABLE
    from sweeps.machine import checked_device
    from sweeps.record import SPEC

    asked, where = list(dict.fromkeys(items(settings["metric"] or []))), checked_device(settings["device"])
    # of what `bench generate` made, a table names the pictures: it is scored as any folder of pictures is
    made = (folder / TABLE).is_file() and not (folder / "cells").is_dir()
    is_run = (folder / SPEC).is_file() and not made
    if prompts is not None and dataset is not None:
        raise UserError("--prompts and --dataset both say what the images show", "give one of them")
    told = "--prompts" if prompts is not None else "--dataset" if dataset is not None else None
    if told and is_run:
        raise UserError(f"{folder} is a run folder, which knows its prompts", f"leave {told} out")
    if (told or made) and rescore:
        raise UserError("--rescore is for a run folder", "leave it out: other pictures are always measured")
    if not is_run and (settings["audit"] is not None or settings["indifference"] is not None):
        raise UserError("--audit and --indifference are for a run folder", "audit other pictures with `bench audit`")
    if column is not None and prompts is None:
        raise UserError("--column is of a file of prompts, and none is given", "add --prompts FILE")
    if told or made:
        from reusebench.external_images import Manifest

        manifest = Manifest.known(dataset) if dataset else Manifest.read(prompts or folder / TABLE, column)
        _score_pictures(folder, manifest, against, out, asked, where, as_json)
    elif against or out:
        raise UserError(
            f"--{'against' if against else 'out'} is for a folder of pictures", "add --prompts FILE or --dataset NAME"
        )
    elif not is_run:
        raise UserError(
            f"{folder} is no run folder", "if it holds pictures, say what they show: --prompts FILE or --dataset NAME"
        )
    else:
        _score_run(folder, asked, where, rescore, as_json, settings["audit"], settings["indifference"])


def _score_submission(folder: Path, others: Sequence[str], out: Path | None, device: str | None, as_json: bool) -> None:
    """Judge a submission by its card, and write its row."""
    from bench.results import stdout
    from bench.screen import screen
    from tasks.judge import judge, row_folder
    from tasks.row import ROW
    from tasks.submission import check

    if others:
        raise UserError(f"{folder} is a submission, which its card scores", f"leave --{others[0]} out")
    submission = check(folder).whole()
    place = out or row_folder(ROWS, submission.card, submission.about.name)
    with screen() as seen:
        row = judge(submission, place, device=device, emit=seen)
    if as_json:
        print_json({"out": place, "row": row.model_dump(mode="json")})
        return
    console, first = stdout(), next(iter(row.scorers))
    for point in row.points:
        rate = point.results[f"{first}.win_rate"]
        ends = "" if rate.low is None or rate.high is None else f" [{rate.low:.1%}, {rate.high:.1%}]"
        console.print(
            f"{point.name}: {point.savings:.1%} saved, {first} win rate {rate.value:.1%}{ends}: {point.verdict}",
            soft_wrap=True,
            markup=False,
        )
        for sentence in point.notes:
            note(f"{point.name}: {sentence}")
    if row.trusted is False:
        note(f"the audit of {first} on the baseline's pictures finds that it cannot be trusted")
    console.print(f"\nrow  {place / ROW}", soft_wrap=True)


def _score_run(
    run: Path,
    asked: Sequence[str],
    device: str,
    again: bool,
    as_json: bool,
    audit: bool | None,
    indifference: float | None,
) -> None:
    """Score a run and write its views anew; records that cannot be scored are named and make the exit code 1."""
    import reusebench
    from bench.results import print_places, print_tables
    from bench.screen import screen
    from sweeps.passes import rescore

    with screen() as seen:
        failures = rescore(run, asked, device, seen, again=again, audit=audit, indifference=indifference)
        with seen.stage("report"):
            report = reusebench.report(run)
    for line in report.notes:
        note(line)
    if as_json:
        cells = [cell(record) for record in reusebench.Run(run).records]
        failed = [{"id": record.id, "error": str(error)} for record, error in failures]
        print_json({"run": run, "cells": cells, "not_scored": failed})
    else:
        print_tables(report)
        print_places(run, report)
    if failures:
        raise typer.Exit(FAILED)


def _score_pictures(
    folder: Path,
    manifest: "Manifest",
    against: Path | None,
    out: Path | None,
    asked: Sequence[str],
    device: str,
    as_json: bool,
) -> None:
    from bench.results import stdout
    from bench.screen import screen
    from reports.formats import to_rich
    from reusebench.external_images import Comparison, Pictures, places, refuse_others
    from sweeps.delivery.official_files import SAVINGS
    from sweeps.events import Note
    from sweeps.scorers import Scorers

    scorers = Scorers(None, asked, device)
    if not scorers.metrics:
        hint = "add for example --metric vqa=t2v:clip-flant5-xxl; `bench metrics list` has them all"
        raise UserError(f"{folder} is no run, so no metric is known for its pictures", hint)
    place = out or SCORES / folder.resolve().name
    refuse_others(place, places(manifest, folder, against))
    pairing = manifest.pictures(folder, place)
    theirs = manifest.pictures(against, place / "against") if against else None
    with screen() as seen:
        for of_prompts in manifest.prompts.notes:
            seen(Note(of_prompts))
        for where, pairs in ((folder, pairing), (against, theirs)):
            for said in pairs.said(where, manifest.prompts.prompts) if where and pairs else ():
                seen(Note(said))
        scorers.check(manifest.prompts.prompts)
        ours = Pictures.score(folder, pairing, manifest.prompts, scorers, seen)
        baseline = Pictures.score(against, theirs, manifest.prompts, scorers, seen) if against and theirs else None
        comparison = Comparison(manifest, ours, baseline, scorers)
        comparison.write(place, summary := comparison.summary())
    for line in summary["notes"]:
        note(line)
    if as_json:
        print_json(summary)
        return
    console = stdout()
    console.print(to_rich(_sheet(summary), console.width))
    for where, said in ((folder, summary["savings"]), (against, summary["against_savings"])):
        if said:
            steps = f"{said['node_steps']:,} of {said['baseline_node_steps']:,} denoiser steps"
            console.print(f"\nsavings  {where}: {steps}, {said['savings']:.1%} saved ({SAVINGS})", soft_wrap=True)
    console.print(f"\nresults  {place}/ (scores.csv, scores.parquet, scores.json)", soft_wrap=True)


def _sheet(summary: dict[str, Any]) -> "Sheet":
    """The figures of a folder of pictures, a row each."""
    import pandas as pd

    from reports.labels import scorer_label, title
    from reports.sheet import Column, Entry, Sheet
    from sweeps.record import Result

    rows = []
    for name, values in summary["figures"].items():
        figure, label = Result.model_validate(values), scorer_label(name, [summary["scorers"]])
        number, n = Entry(label.number(figure.value), label.interval(figure)), "" if figure.n is None else str(figure.n)
        rows.append([Entry(label.heading), number, Entry(n), Entry(figure.method or "")])
    columns = [
        Column("figure", numeric=False, key=True),
        Column("value, 95% interval"),
        Column("n"),
        Column("interval by", numeric=False),
    ]
    against = f" against those of {summary['against']}" if summary["against"] else ""
    scorers = ", ".join(f"{title(name)} {about['checkpoint']}" for name, about in summary["scorers"].items())
    caption = f"{summary['pictures']} pictures of {summary['folder']}{against}"
    return Sheet(columns, rows, pd.DataFrame(summary["figures"]).T, caption, [f"scorers: {scorers}"])
