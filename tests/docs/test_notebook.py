import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def code_cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_runs_and_shows_pictures_savings_and_scores(code_cells, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {}
    for cell in code_cells:
        exec("".join(cell["source"]), names)
    run, prompts = names["run"], names["prompts"]
    pictures = run.baseline_images() + run.images(tau=1)
    assert [picture.size for picture in pictures] == [(64, 64)] * 2 * len(prompts)
    assert len(run.scores(tau=1)) == len(prompts)
    shared = names["plan"].frame().query("tau == 1 and role == 'sharing'")
    assert 0 < shared["savings"].item() < 1
    assert (tmp_path / "runs/notebook/report/index.html").is_file()


def test_the_notebook_is_kept_without_outputs(code_cells) -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code_cells)
