"""The title of a run stands above every table and figure of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from common.errors import UserError
from reports.base import RunView
from reports.render import write_report
from reports.style import DPI, TITLE, canvas, entitle

TITLED = "Miniature models & prompt_sets"


def test_every_table_and_figure_says_the_run_s_title(new_run: Callable[..., Path]) -> None:
    run_folder = new_run(n=4, taus=["0", "1"])
    with (run_folder / "sweep.yaml").open("a") as spec:
        spec.write(f"title: {TITLED}\n")
    report = write_report(run_folder)
    tables, figures = [path for path in report.tables if path.suffix == ".md"], report.figures
    assert len(tables) > 3
    assert all(path.read_text().startswith(TITLED) for path in tables)
    svgs = [path for path in figures if path.suffix == ".svg"]
    assert len(svgs) > 3
    assert all(TITLED.replace("&", "&amp;") in path.read_text() for path in svgs)
    assert all(sheet.caption.startswith(TITLED) for sheet in report.sheets)


def test_without_a_title_nothing_changes(run_folder: Path) -> None:
    figure = canvas(2, 1)
    entitle(figure, RunView.of(run_folder).title)
    assert figure.texts == []
    assert figure.get_size_inches().tolist() == [2, 1]


def test_a_title_takes_room_of_its_own(tmp_path: Path) -> None:
    """A figure that fills its page keeps its pixels."""
    figure = canvas(2, 1)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set_axis_off()
    axes.imshow([[0]], cmap="gray", aspect="auto")
    entitle(figure, "above")
    figure.savefig(tmp_path / "f.png", dpi=DPI)
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.size == (2 * DPI, round((1 + TITLE) * DPI))
        below = picture.convert("L").crop((0, round(TITLE * DPI) + 1, 2 * DPI, picture.height))
        assert below.getextrema() == (0, 0)


def test_a_damaged_spec_hides_no_title(run_folder: Path) -> None:
    (run_folder / "sweep.yaml").write_text("title: [")
    with pytest.raises(UserError, match=r"sweep\.yaml"):
        RunView.of(run_folder)
