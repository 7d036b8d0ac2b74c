"""`bench audit` and the zone of indifference, end to end: planted faults are each called by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from run_folders import as_made, prompts_of, untied
from tiny_scorers import save_tiny_vqa
from typer.testing import CliRunner

import reusebench as rb
from common.files import sha256_file
from metrics.edits import DAMAGE, INVISIBLE, Edit
from metrics.vqa import VQAScore
from sweeps.pictures import load_manifest

N, SIDE = 30, 48
Score = Callable[[list[Path], list[str]], np.ndarray]


def drawing(number: int) -> Image.Image:
    """Return a smooth picture of a prompt's own."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def likeness(images: list[Path], prompts: list[str]) -> np.ndarray:
    """Score a picture by how near it comes to the drawing of its prompt: a scorer that knows what is right."""
    numbers = {prompt: number for number, prompt in enumerate(prompts_of(N))}
    scores = []
    for path, prompt in zip(images, prompts, strict=True):
        with Image.open(path) as picture:
            shown = picture.convert("RGB").resize((SIDE, SIDE))
        apart = np.asarray(shown, float) - np.asarray(drawing(numbers[prompt]), float)
        # an eye that is a little off for every picture, so that the drawing itself is not the best there can be
        offset = 6 * np.random.default_rng(numbers[prompt]).normal(size=(*apart.shape[:1], 1, 3))
        scores.append(np.exp(-np.sqrt(((apart + offset) ** 2).mean()) / 40))
    return np.array(scores)


def guess(images: list[Path], prompts: list[str]) -> np.ndarray:
    """Score at random, but the same picture and prompt always the same."""
    seeds = [int(sha256_file(path)[:8], 16) for path in images]
    return np.array(
        [
            np.random.default_rng([seed, len(prompt), *prompt.encode()]).random()
            for seed, prompt in zip(seeds, prompts, strict=True)
        ]
    )


@pytest.fixture(scope="module")
def drawn(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of thirty prompts whose baseline pictures are drawings, not scored yet."""
    from bench.main import app

    out = tmp_path_factory.mktemp("drawn")
    given = [argument for prompt in prompts_of(N) for argument in ("--prompt", prompt)]
    settings = ["--steps", 2, "--prior-steps", 2, "--tau", "0,0.6", "--metric", "none", "--no-mlflow"]
    place = ["--no-seed-control", "--out", out, "--name", "run"]
    arguments = ["sweep", "--model", tiny.model, *given, *settings, *place]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    run = out / "run"
    for record in records(run):
        replace_pictures(run / record["standard"], [drawing(number) for number in range(N)])
    for record in records(run):
        relate(run, record)
    return run


@pytest.fixture
def run(drawn: Path, tmp_path: Path) -> Path:
    return shutil.copytree(drawn, tmp_path / "run")


def records(run: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(run.glob("cells/*/record.json"))]


def shared(run: Path) -> dict:
    """Return the record at tau 0.6."""
    return next(record for record in records(run) if float(record["asked"]["tau"]) > 0)


def replace_pictures(folder: Path, pictures: list[Image.Image], **about: object) -> str:
    """Put other pictures into a folder, and into its manifest, whose hash is returned."""
    names = sorted(path.name for path in (folder / "images").iterdir())
    for name, picture in zip(names, pictures, strict=True):
        picture.save(folder / "images" / name)
    untied(folder.parents[1])
    return as_made(folder, images={name: sha256_file(folder / "images" / name) for name in names}, **about)


def relate(run: Path, record: dict, edit: Edit | None = None) -> None:
    """Make a cell's pictures edited copies of the drawings, made beside those that are the baseline's now."""
    copies = [drawing(number) for number in range(N)]
    edited = [edit(picture, seed=number) for number, picture in enumerate(copies)] if edit else copies
    baseline = load_manifest(run / record["standard"]).hash
    replace_pictures(run / "cells" / record["id"], edited, standard=baseline)


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figure: none shows what is tested here, and they take the longest."""
    monkeypatch.setattr("reports.render.figures", dict)


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch, tiny) -> Callable[[Score], str]:
    """Have VQAScore answer by a function, and return how it is asked for."""

    def plant(score: Score) -> str:
        monkeypatch.setattr(VQAScore, "measure", lambda self, images, prompts: {"vqa": score(images, prompts)})
        return f"vqa={tiny.vqa}"

    return plant


def beyond(run: Path) -> dict:
    return pd.read_csv(run / "report/tables/beyond_floor.csv").iloc[0].to_dict()


def test_an_invisible_edit_of_every_picture_is_within_the_floor(bench, run, scorer) -> None:
    relate(run, shared(run), INVISIBLE["shift"])  # of all such edits the one that this scorer minds most
    result = bench("score", run, "--metric", scorer(likeness))
    assert result.exit_code == 0, result.output
    told = beyond(run)
    assert told["effect"] == "within the floor" and told["floor"] > 0
    assert told["within"] >= 0.8 * N
    assert "within the floor" in (run / "report" / "report.md").read_text()
    strict = shared(run)["figures"]["vqa.win_rate"]["value"]
    assert abs(told["win_rate_beyond"] - 0.5) <= abs(strict - 0.5)


def test_a_swirl_of_every_picture_is_told_as_damage(bench, run, scorer) -> None:
    relate(run, shared(run), DAMAGE["swirl"].at(2.5))
    result = bench("score", run, "--metric", scorer(likeness))
    assert result.exit_code == 0, result.output
    assert beyond(run)["effect"] == "worse" and beyond(run)["lower"] >= 0.9 * N


def test_a_scorer_that_knows_is_trusted_and_one_that_guesses_is_not(bench, run, scorer) -> None:
    asked = scorer(likeness)
    assert bench("score", run, "--metric", asked).exit_code == 0
    knows = bench("audit", run, "--metric", asked)
    assert knows.exit_code == 0, knows.output
    assert "can be trusted to tell" in knows.output and "cannot be trusted" not in knows.output
    for kind in ("blur", "swirl", "another prompt's picture", "patch of another picture"):
        assert kind in knows.output
    guesses = bench("audit", run, "--metric", scorer(guess))
    assert guesses.exit_code == 0, guesses.output
    assert "cannot be trusted: it does not tell another prompt's picture from the prompt's own" in guesses.output
    (audit,) = json.loads((run / "audit.json").read_text())["audits"]
    assert audit["captions"]["low"] < 0.5 < audit["captions"]["high"]
    page, markdown = ((run / "report" / name).read_text() for name in ("index.html", "report.md"))
    assert "Cannot be trusted" in page and "cannot be trusted" in markdown


def test_a_full_audit_gives_the_records_its_floor_and_a_sweep_that_goes_on_keeps_it(bench, run, scorer) -> None:
    asked = scorer(likeness)
    bench("score", run, "--metric", asked)
    short = shared(run)["scorers"]["vqa"]["indifference"]
    result = bench("audit", run, "--metric", asked, "--limit", 12, "--json")
    assert result.exit_code == 0, result.output
    (audit,) = json.loads(result.stdout)["audits"]
    assert audit["pictures"] == 12 and audit["verdict"] and audit["floor"] != short
    assert {record["scorers"]["vqa"]["indifference"] for record in records(run)} == {audit["floor"]}
    bench("score", run, "--metric", asked)  # the audit is of these pictures and this scorer: not made again
    assert shared(run)["scorers"]["vqa"]["indifference"] == audit["floor"]


def test_without_an_audit_or_with_zero_every_difference_counts_and_a_given_zone_wins(bench, run, scorer) -> None:
    relate(run, shared(run), INVISIBLE["jpeg"])
    asked = scorer(likeness)
    assert bench("score", run, "--metric", asked, "--no-audit").exit_code == 0
    assert "indifference" not in shared(run)["scorers"]["vqa"] and not (run / "audit.json").exists()
    assert not (run / "report/tables/beyond_floor.csv").exists()
    assert bench("score", run, "--metric", asked, "--indifference", 0.5).exit_code == 0
    assert shared(run)["scorers"]["vqa"]["indifference"] == 0.5
    assert beyond(run)["within"] == N
    assert bench("report", run, "--indifference", 0.001).exit_code == 0
    assert beyond(run)["floor"] == 0.001 and beyond(run)["within"] < N
    assert shared(run)["scorers"]["vqa"]["indifference"] == 0.5, "a report changes no record"


def test_two_scorers_are_held_against_each_other(bench, run, scorer, tmp_path) -> None:
    asked, second = scorer(likeness), save_tiny_vqa(tmp_path / "second")
    result = bench("audit", run, "--metric", asked, "--metric", f"vqa@second={second}", "--limit", 8)
    assert result.exit_code == 0, result.output
    by_scorer = {audit["scorer"]: audit for audit in json.loads((run / "audit.json").read_text())["audits"]}
    for scorer_name, other in (("vqa", "vqa@second"), ("vqa@second", "vqa")):
        (pair,) = by_scorer[scorer_name]["beside"]
        assert pair["scorer"] == other  # both answer the same, so that they agree
        assert pair["ranks"]["value"] == pytest.approx(1) and pair["winners"]["value"] == 1


def test_anyone_s_pictures_are_audited_and_a_damaged_one_is_named(bench, scorer, tmp_path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for number in range(N):
        drawing(number).save(folder / f"{number}.png")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(prompts_of(N)))
    asked = scorer(likeness)
    result = bench("audit", folder, "--prompts", prompts, "--metric", asked)
    assert result.exit_code == 0, result.output
    assert "can be trusted to tell" in result.output
    assert "can be trusted to tell" in (tmp_path / "audits/theirs/audit.md").read_text()
    (folder / "3.png").write_bytes(b"no picture")
    broken = bench("audit", folder, "--prompts", prompts, "--metric", asked)
    assert broken.exit_code == 2 and "3.png" in broken.stderr


def test_the_baseline_is_made_again_with_fewer_steps_where_the_model_is_here(bench, run, scorer) -> None:
    asked = scorer(likeness)  # steps 2: a half is 1, a quarter none
    result = bench("audit", run, "--metric", asked, "--limit", 6, "--fewer-steps", "--json")
    assert result.exit_code == 0, result.output
    (audit,) = json.loads(result.stdout)["audits"]
    hasty = [effect for effect in audit["damage"] if effect["kind"] == "fewer steps"]
    assert [(effect["name"], effect["dose"]) for effect in hasty] == [("fewer steps, 1", 1.0)]
    assert hasty[0]["gap"] > 0, "the model's own pictures are not the drawings"
    without = bench("audit", run, "--metric", asked, "--limit", 6, "--json")
    (audit,) = json.loads(without.stdout)["audits"]
    assert not [effect for effect in audit["damage"] if effect["kind"] == "fewer steps"]


def test_python_returns_what_the_command_prints(bench, run, scorer) -> None:
    asked = scorer(likeness)
    (audit,) = rb.audit(run, metric=asked, limit=6)
    (printed,) = json.loads(bench("audit", run, "--metric", asked, "--limit", 6, "--json").stdout)["audits"]
    assert printed["verdict"] == audit.verdict
    assert printed["floor"] == audit.floor and printed["unlike_mean"] == audit.unlike_mean


def test_what_audit_has_no_use_for_is_refused(bench, run, tmp_path) -> None:
    (tmp_path / "p.txt").write_text("a\nb")
    hasty = bench("audit", tmp_path, "--prompts", tmp_path / "p.txt", "--metric", "vqa", "--fewer-steps")
    assert hasty.exit_code == 2 and "cannot be made again with fewer steps" in hasty.stderr
    assert "knows its prompts" in bench("audit", run, "--prompts", tmp_path / "p.txt").stderr
    assert "is no run folder" in bench("audit", tmp_path).stderr
    assert "--out is for a folder" in bench("audit", run, "--out", tmp_path / "o").stderr


def test_a_dry_run_says_how_many_copies_the_audit_scores(bench, tiny_sweep, tiny) -> None:
    arguments = [*tiny_sweep, "--tau", "0,0.6", "--metric", f"vqa={tiny.vqa}", "--dry-run"]
    arguments.remove("none")
    arguments.remove("--metric")
    assert "the audit needs 24 scores" in bench(*arguments).output  # 4 pictures: 5 edits, and another prompt
    assert "the audit" not in bench(*arguments, "--no-audit").output
