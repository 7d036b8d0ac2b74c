import errno
import re
import shutil
import sys
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from common.errors import UserError
from reports.base import figures
from reports.publish import publish
from reports.render import add_to_report, damaged_report, write_report
from sweeps.record import load_records, read_record

TABLES = ("claims", "cost", "savings_at_parity", "split_similarity", "summary")
FIGURES = ("dendrogram", "diversity_savings", "image_grid", "quality_savings", "split_similarity")


def test_a_report_is_tables_and_figures_in_every_format(run_folder) -> None:
    report = write_report(run_folder)
    assert report.notes == []
    assert {path.relative_to(run_folder).as_posix() for path in report.tables} == {
        f"report/tables/{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex")
    }
    assert {path.relative_to(run_folder).as_posix() for path in report.figures} == {
        f"report/figures/{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png", "svg")
    }
    for path in report.figures:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 300
        elif path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF")
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_the_same_records_give_the_same_bytes(new_run) -> None:
    folder = new_run(n=2, taus=["0", "1"])
    first = {path: path.read_bytes() for path in sorted((write_report(folder), folder)[1].rglob("report/*/*"))}
    write_report(folder)
    assert first
    assert {path: path.read_bytes() for path in first} == first


def test_series_have_their_own_trees_and_grids(new_run) -> None:
    folder = new_run(n=2, taus=["1"], series=[{"model": "a", "seed": 1}, {"model": "b", "seed": 2}])
    names = {path.stem for path in write_report(folder).figures}
    assert {"image_grid-a--seed-1", "image_grid-b--seed-2"} <= {re.sub("-[0-9a-f]{8}$", "", name) for name in names}


@pytest.mark.parametrize(("damaged", "figure"), [("images/*.png", "image_grid"), ("tree.npz", "dendrogram")])
def test_a_damaged_file_costs_its_figure_and_no_other(run_folder, damaged: str, figure: str) -> None:
    for path in run_folder.glob(f"cells/*/{damaged}"):
        path.write_bytes(b"damaged")
    report = write_report(run_folder)
    (note,) = [note for note in report.notes if note.startswith(f"no figure {figure}")]
    assert str(run_folder / "cells") in note
    assert re.search("run .*again", note)
    assert {"quality_savings", "diversity_savings"} <= {path.stem for path in report.figures}
    assert len(report.tables) == 3 * len(TABLES)


@pytest.mark.parametrize("what", ["reports.style.save", "reports.page.write.write_page", "reports.markdown.markdown"])
def test_a_full_disk_is_no_note_beside_what_could_be_written(run_folder, monkeypatch, what: str) -> None:
    """A report without its page is none, and whoever waits for it has to hear that."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(what, full)
    if what != "reports.style.save":  # drawing is most of a report's time
        monkeypatch.setattr("reports.render.figures", dict)
    with pytest.raises(UserError, match=f"the disk that holds {run_folder} is full") as error:
        publish(run_folder, load_records(run_folder))
    assert f"bench report {run_folder}" in error.value.hint


def test_a_figure_with_a_bug_costs_no_other(run_folder, monkeypatch) -> None:
    def broken(*_):
        raise ZeroDivisionError("by the plug-in's own fault")

    monkeypatch.setattr("reports.figures.dendrogram.Dendrogram.draw", broken)
    report = write_report(run_folder)
    assert report.notes == ["no figure dendrogram: ZeroDivisionError: by the plug-in's own fault"]
    assert {"quality_savings", "image_grid"} <= {path.stem for path in report.figures}


def test_a_table_with_a_bug_costs_no_other(run_folder, monkeypatch) -> None:
    def broken(*_):
        raise ZeroDivisionError("by the plug-in's own fault")

    monkeypatch.setattr("reports.tables.savings_at_parity.SavingsAtParity.sheet", broken)
    report = write_report(run_folder)
    assert report.notes == ["no table savings_at_parity: ZeroDivisionError: by the plug-in's own fault"]
    assert {path.stem for path in report.tables} == {*TABLES} - {"savings_at_parity"}
    assert len(report.sheets) == len(TABLES) - 3, "one is broken, and two are for files alone"


def test_what_tables_and_figures_share_is_made_once(grid, monkeypatch) -> None:
    from reports import parity

    run, calls, measure = grid(seeds=(1,)), [], parity.savings_at_parity
    monkeypatch.setattr(
        parity, "savings_at_parity", lambda *given, **named: calls.append(1) or measure(*given, **named)
    )
    monkeypatch.setattr("reports.render.figures", lambda: {"savings_at_parity": figures()["savings_at_parity"]})
    report = write_report(run)
    assert report.notes == []
    assert {path.stem for path in report.tables} == {*TABLES, "image_against_text"} - {"split_similarity"}
    assert {path.stem for path in report.figures} == {"savings_at_parity"}
    assert len(calls) == 8, "four models on two prompt sets"


@pytest.mark.parametrize("content", [None, "[", "7"])
def test_prompts_that_cannot_be_read_are_named(run_folder, content) -> None:
    (path,) = run_folder.glob("shared/*/prompts.json")
    path.unlink() if content is None else path.write_text(content)
    notes = write_report(run_folder).notes
    assert [str(path) in note for note in notes] == [True, True]


def test_a_run_of_failures_has_tables_that_say_so(new_run) -> None:
    folder = new_run(taus=["0.5"], fail=["0.5"])
    report = write_report(folder)
    assert report.figures == []
    assert "00003.png is damaged" in (folder / "report" / "tables" / "summary.md").read_text()


@pytest.fixture
def bare(monkeypatch):
    """No figures, which take most of the time."""
    monkeypatch.setattr("reports.render.figures", dict)


@pytest.mark.usefixtures("bare")
def test_nothing_of_an_older_report_stays_but_what_is_no_reports(run_folder) -> None:
    write_report(run_folder)
    folder = run_folder / "report"
    (folder / "tables" / "paper-table1.csv").write_text("another command's")
    (folder / "mine.txt").write_text("mine")
    (table,) = run_folder.glob("report/tables/split_similarity.csv")
    for path in run_folder.glob("cells/*/plan.npz"):
        path.write_bytes(b"damaged")
    report = write_report(run_folder)
    assert "no table split_similarity" in " ".join(report.notes)
    assert not table.exists()
    assert (folder / "tables" / "paper-table1.csv").read_text() == "another command's"
    assert (folder / "mine.txt").read_text() == "mine"
    assert [path.name for path in run_folder.iterdir() if "report" in path.name] == ["report"]
    (folder / "files.json").unlink()  # as of an earlier version
    table.write_text("old")
    write_report(run_folder)
    assert not table.exists()
    assert (folder / "tables" / "paper-table1.csv").exists()


@pytest.mark.usefixtures("bare")
def test_a_report_that_cannot_be_written_leaves_the_one_before(run_folder, monkeypatch) -> None:
    write_report(run_folder)
    before = {path: path.read_bytes() for path in run_folder.rglob("report/**/*.*")}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("reports.page.write.write_page", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(run_folder)
    assert {path: path.read_bytes() for path in run_folder.rglob("report/**/*.*")} == before
    assert not list(run_folder.glob(".report*"))


@pytest.mark.usefixtures("bare")
def test_a_reports_files_are_what_was_written(run_folder) -> None:
    assert damaged_report(run_folder) == []
    write_report(run_folder)
    assert damaged_report(run_folder) == []
    table = run_folder / "report/tables/summary.csv"
    table.write_text(table.read_text().replace("5", "6", 1))
    assert damaged_report(run_folder) == [f"{table} is damaged: it is not what was written"]
    add_to_report(run_folder, [table])
    assert damaged_report(run_folder) == []


@pytest.mark.usefixtures("bare")
def test_a_file_in_the_reports_place_is_named(run_folder) -> None:
    (run_folder / "report").write_text("mine")
    with pytest.raises((UserError, OSError), match="report"):
        write_report(run_folder)
    assert (run_folder / "report").read_text() == "mine"


@pytest.mark.usefixtures("bare")
def test_a_damaged_cell_is_named_and_the_others_are_reported(run_folder) -> None:
    first, second, _ = sorted(run_folder.glob("cells/*/record.json"))
    first.write_bytes(b"damaged")
    shutil.copy(second, first.parent / "generation.json")
    report = write_report(run_folder)
    assert str(first) in report.notes[0]
    assert len((run_folder / "report/tables/summary.csv").read_text().splitlines()) == 3
    assert str(first) in (run_folder / "report/index.html").read_text()


def test_a_plugin_that_ends_the_process_costs_its_table_alone(run_folder, monkeypatch) -> None:
    monkeypatch.setattr("reports.tables.claims.Claims.sheet", lambda *_: sys.exit(3))
    monkeypatch.setattr("reports.figures.dendrogram.Dendrogram.draw", lambda *_: sys.exit("no"))
    report = write_report(run_folder)
    assert [note.partition(":")[0] for note in report.notes] == ["no table claims", "no figure dendrogram"]
    assert "sys.exit(3)" in report.notes[0]
    assert report.page


def test_a_run_that_nothing_scored_is_reported_without_asking_for_scores(run_folder) -> None:
    for path in run_folder.rglob("scores.parquet"):
        path.unlink()
    for path in run_folder.glob("cells/*/record.json"):
        nothing = {"scorers": {}, "results": {}, "scored": {}}
        path.write_text(read_record(path).model_copy(update=nothing).model_dump_json())
    report = write_report(run_folder)
    assert report.notes == []
    assert report.page
