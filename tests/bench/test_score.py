"""`bench score` on a run: its pictures, scored by further scorers; none is made."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bench.main import app
from reports.render import Report
from sweeps.record import Record, load_records


@pytest.fixture(scope="session")
def other_vqa(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scorer of other opinions than `tiny.vqa`."""
    folder = tmp_path_factory.mktemp("scorers") / "Other.VQA"
    shutil.copytree(tiny.vqa, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value * 1.5 for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@dataclass(frozen=True)
class Swept:
    """A finished sweep and its command."""

    run: Path
    command: list[str]


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep with VQA scores; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    prompts = [part for text in ("a red fox", "a red wolf", "a blue car", "a blue van") for part in ("--prompt", text)]
    command = ["sweep", "--model", str(tiny.model), *prompts, "--steps", "3", "--prior-steps", "2", "--tau", "0,0.6"]
    command += ["--no-mlflow", "--name", "run", "--metric", f"vqa={tiny.vqa}", "--device", "cpu"]
    result = CliRunner().invoke(app, [*command, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return Swept(folder / "run", command)


@pytest.fixture
def swept(whole, tmp_path: Path) -> Swept:
    """A copy of it, in runs/run; links to standard's pictures are links there too."""
    (tmp_path / "runs").mkdir()
    subprocess.run(["cp", "-a", str(whole.run), str(tmp_path / "runs/run")], check=True)
    return Swept(Path("runs/run"), whole.command)


@pytest.fixture(autouse=True)
def views(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and figures take their time, and only tests that ask for `with_views` look at them."""
    if "with_views" not in request.fixturenames:
        monkeypatch.setattr("reports.publish.publish", lambda *_: Report())


@pytest.fixture
def with_views() -> None:
    """This test looks at tables and figures."""


def files(run: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob(pattern)}


def records(run: Path) -> dict[str, Record]:
    return {record.id: record for record in load_records(run)}


@pytest.fixture
def nothing_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be loaded, no picture made."""

    def refuse(*_, **__):
        raise AssertionError("a picture is made")

    monkeypatch.setattr("sweeps.families.Families.get", refuse)
    monkeypatch.setattr("sweeps.pictures.write_pictures", refuse)


@pytest.mark.usefixtures("nothing_made", "with_views")
def test_two_scorers_at_once_stand_beside_what_a_run_has(bench, swept, tiny, other_vqa):
    before, pictures = records(swept.run), files(swept.run, "images/*.png")
    result = bench("score", swept.run, "--metric", f"vqa={other_vqa}", "--metric", f"clip_diversity={tiny.clip}")
    assert result.exit_code == 0, result.output
    after = records(swept.run)
    assert after.keys() == before.keys()
    for name, record in after.items():
        assert list(record.scorers) == ["vqa", "vqa@other-vqa", "clip_diversity"]
        assert record.scorers["vqa@other-vqa"]["checkpoint"] == str(other_vqa)
        assert record.scorers["vqa@other-vqa"]["sha256"] != record.scorers["vqa"]["sha256"]
        assert before[name].results.items() <= record.results.items()
        for figure in ("vqa@other-vqa.win_rate", "clip_diversity.clip_similarity"):
            assert figure in record.results
        new = {"results", "scorers", "scored"}
        assert record.model_dump(exclude=new) == before[name].model_dump(exclude=new)
        scores = pd.read_parquet(record.scores(swept.run))
        assert not np.allclose(scores["vqa.vqa"], scores["vqa@other-vqa.vqa"])
    assert files(swept.run, "images/*.png") == pictures
    assert "vqa@other-vqa.win_rate" in pd.read_parquet(swept.run / "records.parquet")
    assert "VQAScore win rate (other-vqa)" in (swept.run / "report/tables/summary.md").read_text()
    (agreement,) = pd.read_csv(swept.run / "report/tables/scorer_agreement.csv").itertuples()
    assert (agreement.first, agreement.second) == ("vqa", "vqa@other-vqa")
    assert "VQA and VQA (other-vqa)" in " ".join(result.stdout.split())


def test_the_original_sweep_still_has_all_its_cells(bench, swept, other_vqa):
    assert bench("score", swept.run, "--metric", f"vqa={other_vqa}").exit_code == 0
    before = records(swept.run)
    result = bench(*swept.command)
    assert result.exit_code == 0, result.output
    assert result.stderr.count(", kept") == len(before)
    assert records(swept.run) == before


@pytest.mark.usefixtures("nothing_made")
def test_scores_are_those_that_a_sweep_with_both_scorers_gives(bench, swept, tiny, other_vqa):
    both = ["--metric", f"vqa={tiny.vqa}", "--metric", f"vqa={other_vqa}"]
    assert bench("score", swept.run, *both).exit_code == 0
    scored = records(swept.run)
    command = [argument for argument in swept.command if not argument.startswith("vqa=") and argument != "--metric"]
    assert bench(*command, *both, "--rescore").exit_code == 0
    for name, record in records(swept.run).items():
        assert record.results == scored[name].results
        assert record.scorers == scored[name].scorers


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures of runs, each with a prompt, that VQAScore measures from now on; an audit's copies are none."""
    from metrics.vqa import VQAScore

    seen: list[str] = []
    measure = VQAScore.measure

    def heard(self, images, prompts):
        asked = [f"{image}: {prompt}" for image, prompt in zip(images, prompts, strict=True)]
        seen.extend(pair for pair in asked if "reusebench-audit-" not in pair)
        return measure(self, images, prompts)

    monkeypatch.setattr(VQAScore, "measure", heard)
    return seen


def test_what_is_measured_is_not_measured_again_unless_asked(bench, swept, measured):
    before = files(swept.run, "record.json")
    assert bench("score", swept.run).exit_code == 0
    assert measured == []
    assert files(swept.run, "record.json") == before, "records that say the same are left alone"
    assert bench("score", swept.run, "--rescore").exit_code == 0
    assert len(measured) == len(set(measured)) >= 8


def test_an_interrupted_scoring_goes_on_where_it_was(bench, swept, other_vqa, measured, monkeypatch):
    from sweeps import passes

    describe, described = passes.describe, []

    def cut(compared, *rest, **more):
        if len(described) == 1:
            raise KeyboardInterrupt
        described.append(compared)
        return describe(compared, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "describe", cut)
        result = bench("score", swept.run, "--metric", f"vqa={other_vqa}")
        assert result.exit_code == 130
        assert "run the same command again to continue" in result.stderr
    done = list(measured)
    assert bench("score", swept.run, "--metric", f"vqa={other_vqa}").exit_code == 0
    assert len(measured) == len(set(measured)), "no picture was measured twice with a prompt"
    assert 0 < len(done) < len(measured)
    assert all("vqa@other-vqa" in each.scorers for each in load_records(swept.run))


def sharing(run: Path) -> Record:
    return next(record for record in load_records(run) if record.config.tau and record.role == "sharing")


def damage(path: Path, content: bytes | None = b"not a picture") -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: damage(folder / "images/00001.png"), "00001.png is damaged"),
        (lambda folder: damage(folder / "images/00001.png", None), "00001.png is missing"),
        (lambda folder: damage(folder / "generation.json", None), "has no finished pictures"),
    ],
)
def test_a_cell_that_cannot_be_scored_is_told_and_nothing_of_it_is_lost(bench, swept, other_vqa, harm, says):
    victim = sharing(swept.run)
    harm(victim.folder(swept.run))
    result = bench("score", swept.run, "--metric", f"vqa={other_vqa}")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if "not scored" in line]
    assert says in line
    assert "tau 0.6" in line
    after = records(swept.run)
    assert after[victim.id] == victim
    assert all("vqa@other-vqa.win_rate" in record.results for name, record in after.items() if name != victim.id)


def test_a_damaged_standard_picture_is_told_of_every_cell_beside_it(bench, swept, other_vqa):
    before = records(swept.run)
    damage(sharing(swept.run).baseline_pictures(swept.run)[0])
    result = bench("score", swept.run, "--metric", f"vqa={other_vqa}")
    assert result.exit_code == 1
    assert result.output.count("not scored") == len(before)
    assert records(swept.run) == before


def test_prompts_that_are_not_the_pictures_are_noticed(bench, swept):
    (swept.run / sharing(swept.run).baseline / "prompts.json").write_text('["a cat", "a dog", "a cow", "a pig"]')
    result = bench("score", swept.run)
    assert result.exit_code == 1
    assert "are not those of cell" in result.output


def test_a_held_run_is_refused(bench, swept):
    with FileLock(swept.run / "lock"):
        result = bench("score", swept.run)
    assert result.exit_code == 2
    assert "is in use by" in result.stderr


def test_json_is_all_there_is_on_standard_output(bench, swept, other_vqa):
    result = bench("score", swept.run, "--metric", f"vqa={other_vqa}", "--json")
    told = json.loads(result.stdout)
    assert told["not_scored"] == []
    assert len(told["cells"]) == len(records(swept.run))
    for cell in told["cells"]:
        assert cell["figures"]["vqa@other-vqa.win_rate"]["low"] <= cell["figures"]["vqa@other-vqa.win_rate"]["value"]
        assert cell["scorers"]["vqa@other-vqa"]["question"].count("{}") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere is no run folder"),
        (["runs/run", "--prompts", "mine.txt"], "knows its prompts"),
        (["runs/run", "--against", "other"], "--against is for a folder of pictures"),
        (["runs/run", "--out", "other"], "--out is for a folder of pictures"),
        (["runs/run", "--metric", "none"], "nothing to score"),
        (["runs/run", "--metric", "vqq"], "did you mean 'vqa'"),
        (["runs/run", "--metric", "vqa=/nope"], "/nope"),
    ],
)
def test_mistakes_are_told_and_change_nothing(bench, swept, arguments, says):
    before = {**files(swept.run, "*.json"), **files(swept.run, "*.parquet")}
    result = bench("score", *arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert {**files(swept.run, "*.json"), **files(swept.run, "*.parquet")} == before
