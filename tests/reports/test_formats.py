import io
import re

import pandas as pd
import pytest
from rich.console import Console

from reports.base import RunView
from reports.formats import to_csv, to_markdown, to_rich
from reports.latex import to_latex
from reports.sheet import Sheet
from reports.tables.summary import Summary


def summary(records):
    """The summary of records whose scores are on no disk."""
    return Summary().sheet(RunView.of(".", records))


@pytest.fixture
def records(new_record):
    return [new_record(tau) for tau in ("0", "0.5", "1")]


def rendered(table, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(to_rich(table, width))
    return console.export_text()


def test_csv_keeps_every_digit(records) -> None:
    back = pd.read_csv(io.StringIO(to_csv(summary(records))))
    assert back["vqa.vqa_difference"].tolist() == [record.results["vqa.vqa_difference"].value for record in records]
    assert back["seconds.denoise"].tolist() == [record.timings["denoise"] for record in records]


def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    texts = ["=1+1", "+x", "-x", "@x", "\t=1", "-0.5", "1e-3", "-", "a=b", "NA"]
    data = pd.DataFrame({"name": texts, "value": [-1.5] * len(texts)})
    back = pd.read_csv(io.StringIO(to_csv(Sheet([], [], data))), keep_default_na=False)
    assert back["name"].tolist() == ["'=1+1", "'+x", "'-x", "'@x", "'\t=1", "-0.5", "1e-3", "-", "a=b", "NA"]
    assert back["value"].tolist() == data["value"].tolist()


def test_markdown_is_one_pipe_table(records) -> None:
    lines = to_markdown(summary(records)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(records)
    assert len({line.count("|") for line in table}) == 1
    assert set(table[1]) == set("|-: ")
    assert "50.0 [50.0, 50.0]" in table[2]


def test_names_cannot_break_a_markdown_table(new_record) -> None:
    table = summary([new_record("0", model="a|b"), new_record("0", model="c")])
    assert "| a\\|b |" in to_markdown(table)


def test_latex_has_booktabs_rules_and_escapes_everything(new_record) -> None:
    tex = to_latex(summary([new_record("0", model="m_1 & 50%"), new_record("0", model="x\\y~z^$#{}")]), "cells")
    assert all(rule in tex for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"m\_1 \& 50\%" in tex
    assert r"mini\_templates" in tex  # in the caption
    assert not re.search(r"(?<!\\)[%#]", tex)
    assert not re.search(r"(?<!\\)_", tex.replace("tab:cells", ""))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_terminal_table_never_cuts_a_number(records, width: int) -> None:
    table = summary(records)
    text = rendered(table, width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    for row in table.rows:
        for entry in row:
            assert entry.value in text
            assert entry.interval in text


def test_long_names_do_not_cut_numbers_either(new_record) -> None:
    table = summary([new_record("0.5", model="/a/folder/" + "x" * 60), new_record("0.5", model="n")])
    text = rendered(table, 80)
    assert "…" not in text
    assert all(entry.value in text for row in table.rows for entry in row[1:])


def test_a_wide_terminal_has_one_line_a_cell(records) -> None:
    lines = rendered(summary(records), 200).splitlines()
    assert sum("[" in line and "]" in line for line in lines) == len(records)


def test_markup_in_a_name_is_text(new_record) -> None:
    table = summary([new_record("0", model="[red]m[/red]"), new_record("0", model="n")])
    assert "[red]m[/red]" in rendered(table, 200)


def test_a_run_without_a_finished_cell_can_be_shown(failed_record) -> None:
    assert "00003.png" in rendered(summary([failed_record]), 80)
    assert "no finished cell" in to_markdown(summary([failed_record]))
    assert r"\toprule" in to_latex(summary([failed_record]), "cells")
