"""`bench compose` end to end: sharing beside fewer steps, another dtype and a denoiser cache, on an embedded model."""

import json

import pandas as pd
import pytest

from reports.base import figures

PROMPTS = ("a red circle", "a red square", "a blue circle", "a blue square")
ASKED = (
    *("compose", "--model", "mini-sd", *(part for text in PROMPTS for part in ("--prompt", text))),
    *("--steps", 4, "--savings", "0.4", "--no-audit", "--no-mlflow", "--name", "both"),
)
WITH = ("--with", "steps=2,denoiser-cache=pyramid-attention:earliest=1000")


def test_it_ends_with_its_table_its_figure_and_a_page_and_continues(bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("reports.render.figures", lambda: {"composition": figures()["composition"]})
    result = bench(*ASKED, *WITH)
    assert result.exit_code == 0, result.output
    for words in ("what stacks with sharing", "interaction: both, less sharing", "What may be stacked with sharing?"):
        assert words in result.stdout
    assert "inferiority" not in result.stdout, "it prints its own table"
    run = tmp_path / "runs/both"
    table = pd.read_csv(run / "report/tables/composition.csv")
    assert list(table.variation) == ["steps=2", "denoiser-cache=pyramid-attention:earliest=1000"]
    assert table.interaction.to_numpy() == pytest.approx(table.both - table.sharing_alone - table.variation_alone)
    assert (table.interaction_low <= table.interaction).all()
    assert (table.flops_saved_both > table.flops_saved_shared).all()
    assert (table.steps_saved_variation > 0.3).tolist() == [True, False], "a cache leaves out modules, not steps"
    assert (run / "report/figures/composition.png").stat().st_size > 10_000
    assert "what stacks with sharing" in (run / "report/index.html").read_text()
    monkeypatch.setattr("reports.render.figures", dict)  # it was looked at
    made = {path: path.stat().st_mtime_ns for path in run.glob("cells/*/record.json")}
    assert len(made) == 6, "standard and shared; of the base, and of two variations"
    again = bench(*ASKED, *WITH, "--json")
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in run.glob("cells/*/record.json")} == made
    rows = json.loads(again.stdout)["tables"]["composition"]
    assert [row["verdict"] for row in rows] == list(table.verdict)
    assert [row["interaction"] for row in rows] == pytest.approx(table.interaction.tolist())
    configs = [cell["asked"] for cell in json.loads(again.stdout)["cells"]]
    assert sorted(config.get("variation", "base") for config in configs) == sorted(
        ["base", "base", *2 * ["steps=2"], *2 * ["denoiser-cache=pyramid-attention:earliest=1000"]]
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "nothing to stack with sharing was given"),
        (("--with", "steps"), "the variation 'steps' changes no setting"),
        (("--with", "step=10"), "a sweep has no setting 'step'"),
        (("--with", "strategy=average"), "strategy cannot be a variation"),
        (("--with", "seed=3"), "seed cannot be a variation"),
        (("--with", "threads=1"), "threads cannot be a variation"),
        (("--with", "steps=ten"), "'ten' is not a whole number"),
        (("--with", "steps=4"), "the variation steps=4 changes nothing"),
        (("--with", "denoiser-cache=first-block"), "'first-block' is unavailable for UNet2DConditionModel"),
    ],
)
def test_what_cannot_be_stacked_is_refused_before_anything_runs(bench, tmp_path, given, said) -> None:
    result = bench(*ASKED, *given)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not list((tmp_path / "runs").glob("*/cells/*")) if (tmp_path / "runs").exists() else True


def test_the_plan_of_it_names_every_cell(bench) -> None:
    result = bench(*ASKED, *WITH, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    cells = json.loads(result.stdout)["cells"]
    assert len(cells) == 6
    assert {cell["steps"] for cell in cells if cell["config"].get("variation") == "steps=2"} == {3}, "PNDM's own"
