"""`bench generate`: images, grid, tree and savings of one set of prompts."""

import json
import shutil
from decimal import Decimal

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from generators.sharing.plan import SharingPlan
from sweeps.store import saved_spec


@pytest.fixture
def arguments(tiny):
    return ["generate", "--model", tiny.model, "--steps", 3, "--prior-steps", 2]


def test_generate_leaves_images_grid_tree_and_says_what_was_saved(bench, arguments, tmp_path):
    (tmp_path / "mine.txt").write_text("a red fox\na red wolf\na blue car\n")
    result = bench(*arguments, "--prompts", "mine.txt", "--name", "mine", "--tau", 0.8)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "generated/mine"
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert Image.open(folder / "grid.png").size == (3 * 32, 32)
    assert Image.open(folder / "dendrogram.png").size[0] > 100
    plan = SharingPlan.load(folder / "plan.npz")
    assert f"{plan.node_steps} of 9 denoiser steps, {plan.savings:.1%} saved" in result.stdout
    assert plan.savings > 0
    assert saved_spec(folder).tau == (Decimal("0.8"),)
    assert json.loads((folder / "identity.json").read_text())["settings"]["seed"] == 42


def test_the_same_command_continues_and_keeps_what_is_there(bench, arguments, monkeypatch, tmp_path):
    asked = [*arguments, "--prompt", "a red fox", "--prompt", "a red wolf", "--tau", 0.8, "--name", "mine"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sweeps.generate.finish", interrupted)
        result = bench(*asked)
    assert result.exit_code == 130
    assert "run the same command again to continue" in result.stderr
    assert bench(*asked).exit_code == 0
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "generated/mine/images").iterdir()}
    assert len(written) == 2
    assert bench(*asked).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written
    other = bench(*asked, "--guidance", 2)
    assert other.exit_code == 2
    assert "differs in guidance" in other.stderr


def test_the_baseline_shares_nothing_and_equals_tau_0(bench, arguments, tmp_path):
    asked = [*arguments, "--prompt", "a red fox", "--prompt", "a red wolf"]
    assert "0.0% saved" in bench(*asked, "--baseline", "--name", "standard").stdout
    assert bench(*asked, "--tau", 0, "--name", "zero").exit_code == 0
    standard, zero = (tmp_path / "generated" / name / "images/00001.png" for name in ("standard", "zero"))
    assert standard.read_bytes() == zero.read_bytes()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "no prompts"),
        (["--prompt", "a", "--standard", "--tau", 1], "--baseline is tau 0"),
        (["--prompt", "a", "--tau", "0,1"], "use `bench sweep`"),
        (["--prompt", "a", "--name", "full"], "and not empty"),
        (["--prompt", "a", "--name", "../../escape"], "cannot be a run's name"),
    ],
)
def test_mistakes(bench, arguments, tmp_path, more, says):
    (tmp_path / "generated/full").mkdir(parents=True)
    (tmp_path / "generated/full/mine.txt").write_text("mine")
    result = bench(*arguments, *more)
    assert result.exit_code == 2
    assert says in result.stderr


def test_official_is_the_released_codes_run_and_flags_win(bench, tiny, tmp_path):
    asked = ["generate", "--model", tiny.model, "--prompt", "a red fox", "--prompt", "a red wolf", "--prior-steps", 2]
    result = bench(*asked, "--official", "--steps", 3, "--seed", 7, "--name", "official")
    assert result.exit_code == 0, result.output
    spec = saved_spec(tmp_path / "generated/official")
    assert (spec.noise, spec.schedule, spec.guidance) == (("official",), ("official",), (10.0,))
    assert (spec.steps, spec.seed, spec.tau) == ((3,), (7,), (Decimal(1),))
    assert json.loads((tmp_path / "generated/official/identity.json").read_text())["stream"] == "cpu"


@pytest.mark.parametrize("part", ["guidance", "unet", "movq", "prior"])
def test_numbers_that_overflow_make_no_picture_and_end_in_one_line(bench, arguments, tiny, tmp_path, part):
    """By what is asked, or by one damaged weight of the denoiser, the decoder, the prior."""
    more, model = ["--guidance", "1e38"] if part == "guidance" else [], tiny.model
    if part != "guidance":
        model = shutil.copytree(tiny.model, tmp_path / "damaged")
        (path,) = model.rglob(f"{part}/*.safetensors")
        weights = load_file(path)
        ends = ("conv_out.weight", "decoder.conv_out.weight", "proj_to_clip_embeddings.weight")
        weights[next(name for name in ends if name in weights)].view(-1)[0] = float("inf")
        save_file(weights, path, metadata={"format": "pt"})
    asked = [model if argument == tiny.model else argument for argument in arguments]
    result = bench(*asked, "--prompt", "a fox", "--prompt", "a car", *more, "--name", "none")
    assert result.exit_code == 2, result.output
    where = {"guidance": "at step 1 of 3", "unet": "at step 1 of 3", "movq": "in decoding", "prior": "in encoding"}
    assert f"overflow in fp32 {where[part]}" in result.stderr
    assert "no picture of prompt 1 ('a fox'), nor of 1 other" in result.stderr
    assert "--guidance" in result.stderr
    assert "Traceback" not in result.output
    assert not list((tmp_path / "generated").rglob("*.png"))
