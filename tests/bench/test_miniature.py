"""The main job on the embedded model: what a newcomer's `make demo` relies on, on fewer prompts."""

import json
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve prompts at three taus, with all that the default sweep leaves."""
    from typer.testing import CliRunner

    from bench.main import app

    out = tmp_path_factory.mktemp("miniature")
    arguments = ["sweep", "--tau", "0,0.75,1.5", "--limit", "12", "--out", str(out), "--name", "mini"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "win" in result.output
    return out / "mini"


def records(run: Path) -> list[dict]:
    found = [json.loads(path.read_text()) for path in run.glob("cells/*/record.json")]
    sharing = [record for record in found if record["role"] == "sharing"]
    return sorted(sharing, key=lambda record: float(record["asked"]["tau"]))


def test_savings_rise_with_tau_and_are_nothing_at_0(swept: Path) -> None:
    savings = [record["plan"]["savings"] for record in records(swept)]
    assert savings[0] == 0
    assert savings == sorted(set(savings))
    assert records(swept)[0]["execution"]["rows"] == 0


def test_at_tau_0_every_pair_is_a_tie(swept: Path) -> None:
    figures = records(swept)[0]["figures"]
    assert figures["vqa.ties"]["value"] == 12
    assert [figures["vqa.win_rate"][end] for end in ("value", "low", "high")] == [0.5, 0.5, 0.5]
    assert figures["vqa.vqa_difference"]["value"] == 0


def test_every_rate_has_an_interval_around_it(swept: Path) -> None:
    for record in records(swept)[1:]:
        for name in ("vqa.win_rate", "vqa.vqa_difference", "clip_diversity.clip_similarity_difference"):
            figure = record["figures"][name]
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert figure["low"] < figure["high"]


def test_flop_savings_are_smaller_than_step_savings_as_sharing_does_not_reduce_all(swept: Path) -> None:
    for record in records(swept)[1:]:
        assert 0 < record["flops"]["savings"] < record["plan"]["savings"]


def test_standard_pictures_are_scored_as_pictures_of_their_prompts(swept: Path) -> None:
    figures = records(swept)[0]["figures"]
    assert figures["vqa.vqa_mean_standard"]["value"] > 0.5


def test_what_a_run_leaves(swept: Path) -> None:
    report = swept / "report"
    for name in ("quality_savings", "diversity_savings", "image_grid", "dendrogram"):
        for kind in ("png", "svg"):
            assert list((report / "figures").glob(f"{name}*.{kind}")), name
    for kind in ("csv", "md", "tex"):
        assert list((report / "tables").glob(f"*.{kind}"))
    assert sorted(pd.read_parquet(swept / "records.parquet").role) == ["another-seed", "sharing", "sharing", "sharing"]
    assert (swept.parent / "mlflow.db").exists()


def test_another_seed_is_no_copy_and_saves_nothing(swept: Path) -> None:
    (path,) = (path for path in swept.glob("cells/*/record.json") if "another-seed" in path.read_text())
    record = json.loads(path.read_text())
    assert record["plan"]["savings"] == 0
    assert record["figures"]["vqa.ties"]["value"] < 12
    assert record["figures"]["vqa.win_rate"]["low"] <= 0.5 <= record["figures"]["vqa.win_rate"]["high"]
