"""Tables for papers: what they say survives LaTeX, and they fit a page of a plain article."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from reports.latex import escaped, to_latex
from reports.render import write_report
from reports.sheet import Column, Entry, Sheet

BEFORE = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
PDFLATEX = shutil.which("pdflatex")


def sheet(rows: int = 3, results: int = 3, *, name: str = "ward-cosine", caption: str = "what it is", notes=("a < b",)):
    keys = [Column("strategy", numeric=False, key=True), Column("tau", key=True)]
    columns = [*keys, *(Column(f"VQAScore win rate {i}, %") for i in range(results)), Column("verdict", numeric=False)]
    values = [
        [Entry(name), Entry(f"{row / 4:g}"), *(Entry("-50.0", "[-50.0, +60.0]") for _ in range(results)), Entry("[no]")]
        for row in range(rows)
    ]
    return Sheet(columns, values, pd.DataFrame({"a": range(rows)}), caption, notes)


def log_of(source: str, folder: Path) -> str:
    """Return what pdfLaTeX says of tables in an article."""
    if PDFLATEX is None:
        pytest.skip("no pdflatex is installed: the tables cannot be compiled")
    (folder / "tables.tex").write_text(f"{BEFORE}{source}\n\\end{{document}}\n", encoding="utf-8")
    command = [PDFLATEX, "-interaction=nonstopmode", "tables.tex"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    return (folder / "tables.log").read_text(errors="replace")


def complaints(log: str) -> list[str]:
    return re.findall(r"^(?:!|Overfull|LaTeX Warning: Float too large|Missing character).*", log, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("p < 0.025 > 0", r"p \textless{} 0.025 \textgreater{} 0"),
        ('a|b "c"', r"a\textbar{}b \char34{}c\char34{}"),
        ("-0.5 [-1, -.2], 3-4, gpt-4", "$-$0.5 [$-$1, $-$.2], 3-4, gpt-4"),
        ("--isolate, see `claims`", r"-{}-isolate, see \texttt{claims}"),
        ("x\\y~z^$#{}_%&", r"x\textbackslash{}y\textasciitilde{}z\textasciicircum{}\$\#\{\}\_\%\&"),
        ("≥ 0.5, τ ± 1", r"$\geq$ 0.5, $\tau$ $\pm$ 1"),
    ],
)
def test_text_is_printed_as_it_is(text, latex):
    assert escaped(text) == latex


def test_the_caption_says_what_a_table_is_and_the_notes_stand_below_it():
    tex = to_latex(sheet(caption="", notes=["first call: a thing", "b"]), "pace_of")
    assert r"\caption{Pace of}" in tex, "not `. first call`"
    assert tex.index(r"\end{tabular}") < tex.index("first call: a thing. b.}")
    assert r"\label{tab:pace_of}" in tex
    assert r"\caption{What it is}" in to_latex(sheet(notes=()), "x")


def test_a_wide_table_comes_in_parts_with_the_same_rows():
    tex = to_latex(sheet(results=9), "wide")
    assert tex.count(r"\begin{tabular}") > 1
    assert tex.count(r"\begin{table}") == 1
    assert tex.count("VQAScore") == 9
    assert all(part.count("ward-cosine") == 3 for part in re.split(r"\\end{tabular}", tex)[:-1])


def test_letters_that_pdflatex_lacks_are_said():
    assert to_latex(sheet(name="水彩"), "x").startswith("% letters that pdfLaTeX does not have")
    assert not to_latex(sheet(name="Zoë Łódź"), "x").startswith("%")


@pytest.mark.parametrize(
    "table",
    [
        sheet(results=12),
        sheet(rows=200),
        sheet(rows=60, results=8, notes=["a note of many words " * 30]),
        sheet(name="/models/" + "x" * 60 + "/a_b:c=[1,2]", results=5),
        sheet(name='<a> "b" |c| \\d~e^f $g#h{i}_%&', caption="[50%] <b> 1-2--3 `code_x`", notes=["τ ≥ 0.5 — “q” Zoë"]),
        Sheet(
            [Column("prompt", numeric=False, key=True), Column("which, instead of what", numeric=False)],
            [[Entry("a long prompt " * 12), Entry("anotherverylongwordthatnothingbreaks" * 4)]],
            pd.DataFrame(),
        ),
        Sheet([Column("alone", numeric=False, key=True)], [[Entry("no finished cell")]], pd.DataFrame()),
    ],
    ids=["wide", "long", "wide and long", "names", "signs", "sentences", "one column"],
)
def test_any_table_compiles_and_fits_its_page(table, tmp_path):
    assert complaints(log_of(to_latex(table, "any"), tmp_path)) == []


def test_every_table_of_a_run_compiles_and_fits(compared, tmp_path):
    run = compared({"ward-cosine": 0.0, "average:some_parameter=[1,2]": 0.02, "random-balanced": 0.1})
    write_report(run)
    tables = sorted(run.glob("report/tables/*.tex"))
    assert len(tables) > 4
    assert complaints(log_of("\n".join(path.read_text() for path in tables), tmp_path)) == []
