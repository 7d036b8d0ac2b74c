"""`bench generate` and `bench score` beside the released code's everyday run: its files, its prompts, its savings."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.utils import save_image

from generators.prompts import prompt_set
from generators.sharing.plan import SharingPlan

DEMO = ("tiger", "lion", "panther", "jaguar", "cheetah", "leopard")


@pytest.fixture
def arguments(tiny):
    return ["generate", "--model", tiny.model, "--steps", 3, "--prior-steps", 2, "--dataset", "demo"]


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """What the released code leaves of its `demo`: rows in half precision, the counts of its steps."""
    folder = tmp_path / "results/demo"
    folder.mkdir(parents=True)
    images = torch.rand(6, 3, 40, 40, generator=torch.Generator().manual_seed(0)).half()
    torch.save(images, folder / "denoised_images.pt")
    save_image(images.float(), folder / "denoised_images.png")
    (folder / "savings.txt").write_text("Total steps: 173, Standard total steps: 240")
    return folder


def test_the_demo_of_the_released_code_comes_with_the_package():
    assert prompt_set("demo").prompts == DEMO


def test_its_files_hold_the_pictures_and_what_was_saved(bench, arguments, tiny, tmp_path):
    asked = ["--tau", 0.8, "--name", "mine", "--official-files", "--full-grid"]
    result = bench(*arguments, *asked)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "generated/mine"
    assert "(images/, manifest.parquet, grid.png, grid-full.png, denoised_images.pt, savings.txt, d" in result.stdout
    rows = torch.load(folder / "denoised_images.pt", weights_only=True)
    assert rows.dtype == torch.float32
    assert rows.shape == (6, 3, 32, 32)
    for number, row in enumerate(rows):
        pixels = np.asarray(Image.open(folder / f"images/{number:05d}.png"))
        save_image(row, tmp_path / "again.png")
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "again.png")), pixels)
        np.testing.assert_allclose(row.permute(1, 2, 0), pixels / 255, atol=1e-7)
    plan = SharingPlan.load(folder / "plan.npz")
    assert plan.node_steps < 18, "some steps are shared"
    assert (folder / "savings.txt").read_text() == f"Total steps: {plan.node_steps}, Standard total steps: 18"
    assert not list(folder.glob(".*")), "nothing is left of what was written meanwhile"

    result = bench("score", folder, "--metric", f"vqa={tiny.vqa}", "--json")
    saved = {"node_steps": plan.node_steps, "baseline_node_steps": 18, "savings": pytest.approx(plan.savings)}
    assert json.loads(result.stdout)["savings"] == saved


def test_files_of_its_own_are_left_out_unless_asked_for(bench, arguments, tmp_path):
    assert bench(*arguments, "--limit", 2, "--name", "plain").exit_code == 0
    names = {path.name for path in (tmp_path / "generated/plain").iterdir()}
    assert not names & {"denoised_images.pt", "savings.txt", "grid-full.png"}


@pytest.mark.parametrize("more", [["--format", "jpeg"], ["--format", "webp"], ["--out", "memory://shop"]])
def test_pixels_that_a_file_does_not_hold_are_refused_before_anything_is_made(bench, arguments, tmp_path, more):
    result = bench(*arguments, "--official-files", "--name", "no", *more)
    assert result.exit_code == 2
    assert f"--official-files holds every pixel, in a file on a disk: not with {' '.join(more[:2])}" in result.stderr
    assert not (tmp_path / "generated").exists()


def test_one_prompt_has_no_tree_and_none_is_promised(bench, arguments, tmp_path):
    result = bench(*arguments, "--limit", 1, "--name", "one")
    assert "generated/one/ (images/, manifest.parquet, grid.png)\n" in result.stdout
    assert not list((tmp_path / "generated/one").glob("dendrogram*"))


def test_a_grid_of_full_size_shows_as_many_as_one_file_may_hold(bench, arguments, monkeypatch, tmp_path):
    monkeypatch.setattr("reports.contact_sheet.LARGEST", 8)  # so that grid.png would be smaller
    monkeypatch.setattr("reports.contact_sheet.MOST_PIXELS", 4 * 32 * 32)
    result = bench(*arguments, "--name", "mine", "--full-grid", "--no-grid")
    assert "note: grid-full.png shows 4 of 6 images, at even distances" in result.stderr
    folder = tmp_path / "generated/mine"
    sheet = Image.open(folder / "grid-full.png")
    assert sheet.size == (4 * 32, 32)
    assert sheet.crop((96, 0, 128, 32)).tobytes() == Image.open(folder / "images/00005.png").tobytes()
    assert not (folder / "grid.png").exists()


def test_what_the_released_code_left_is_scored_by_the_name_of_its_prompts(bench, released, tiny):
    result = bench("score", released, "--dataset", "demo", "--metric", f"vqa={tiny.vqa}")
    assert result.exit_code == 0, result.output
    assert f"savings  {released}: 173 of 240 denoiser steps, 27.9% saved (savings.txt)" in result.stdout
    assert tuple(pd.read_csv("scores/demo/scores.csv").prompt) == DEMO
    summary = json.loads(Path("scores/demo/scores.json").read_text())
    assert summary["prompts"]["dataset"] == "demo"
    assert summary["against_savings"] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("we saved 40 steps", "does not say what the released code's says"),
        ("Total steps: 173, Standard total steps: 240" + " " * 2000, "are the most"),
        ("Total steps: 173, Standard total steps: 241", "is not of 6 pictures"),
        ("Total steps: 250, Standard total steps: 240", "is not of 6 pictures"),
        ("Total steps: 0, Standard total steps: 0", "is not of 6 pictures"),
    ],
)
def test_another_file_of_that_name_is_left_out_and_told(bench, released, tiny, text, says):
    (released / "savings.txt").write_text(text)
    result = bench("score", released, "--dataset", "demo", "--metric", f"vqa={tiny.vqa}")
    assert result.exit_code == 0, result.output
    assert says in " ".join(result.stderr.split())
    assert "savings  " not in result.stdout


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--dataset", "demo", "--metric", "vqa"], "write --metric vqa=FOLDER, --metric vqa=embedded:vqa or "),
        (["--dataset", "demos", "--metric", "vqa=x"], "unknown prompt set 'demos' hint: did you mean 'demo'?"),
        (["--dataset", "mini_styles", "--metric", "vqa=embedded:vqa"], "the prompt set 'mini_styles' has 60 prompts"),
        (["--dataset", "demo", "--prompts", "x.txt", "--metric", "vqa=x"], "--prompts and --dataset both say"),
        (["--metric", "vqa=x"], "say what they show: --prompts FILE or --dataset NAME"),
    ],
)
def test_mistakes(bench, released, more, says):
    result = bench("score", released, *more)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_a_run_knows_its_prompts(bench, tiny_sweep, tmp_path):
    assert bench(*tiny_sweep, "--tau", 0, "--name", "run").exit_code == 0
    result = bench("score", "runs/run", "--dataset", "demo")
    assert result.exit_code == 2
    assert "leave --dataset out" in result.stderr
