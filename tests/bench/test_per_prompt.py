"""Several pictures of a prompt: `--per-prompt`, what parts them, and equal prompts told as what they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_stable_diffusion import save_tiny_stable_diffusion

from common.pictures import read_picture
from generators.sharing.plan import SharingPlan
from sweeps.record import load_records
from sweeps.store import saved_spec

PROMPTS = ["a red fox", "two boats on a lake in the rain"]
STEPS, SIDE = 6, ["--height", 16, "--width", 16]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("tiny") / "sd")


@pytest.fixture
def generate(bench, pipeline, tmp_path):
    """The pictures of some prompts, in order."""

    def run(name: str, *more: object, prompts=PROMPTS, model=pipeline) -> list[bytes]:
        texts = [part for prompt in prompts for part in ("--prompt", prompt)]
        result = bench("generate", "--model", model, "--steps", STEPS, *SIDE, *texts, "--name", name, *more)
        assert result.exit_code == 0, result.output
        run.output = result.output
        # pixels: what files say of how they were made differs
        return [read_picture(path).tobytes() for path in sorted((tmp_path / "generated" / name / "images").iterdir())]

    return run


def test_pictures_of_a_prompt_share_steps_and_differ(generate, tmp_path):
    made = generate("three", "--per-prompt", 3, "--tau", 1)
    assert len(made) == len(set(made)) == 6
    assert saved_spec(tmp_path / "generated/three").noise == ("per-root:renoise=1",)
    plan = SharingPlan.load(tmp_path / "generated/three/plan.npz")
    assert plan.roots <= 2
    assert f"{plan.savings:.1%} saved\n" in generate.output
    identity = json.loads((tmp_path / "generated/three/identity.json").read_text())
    assert identity["copies"] == {"per_prompt": 3, "height": 0.5}


def test_at_tau_0_they_are_the_prompt_repeated(generate, tmp_path):
    repeated = [prompt for prompt in PROMPTS for _ in range(2)]
    one_by_one = generate("repeated", "--tau", 0, prompts=repeated)
    assert generate("two", "--per-prompt", 2, "--tau", 0) == one_by_one
    assert len(set(one_by_one)) == 4
    assert "copies" not in json.loads((tmp_path / "generated/repeated/identity.json").read_text())


def test_without_fresh_noise_they_are_one_picture_and_that_is_told(generate):
    made = generate("equal", "--per-prompt", 2, "--tau", 1, "--noise", "per-root")
    assert len(set(made)) == 2
    assert "2 pictures of each prompt get no fresh noise" in generate.output
    assert "2 of 4 pictures are an earlier one of the same prompt" in generate.output
    assert "without repeated images)" in generate.output


def test_a_stochastic_samplers_own_noise_parts_them(generate):
    made = generate(
        "stochastic", "--per-prompt", 2, "--tau", 1, "--noise", "per-root", "--scheduler", "DDPMScheduler"
    )  # fmt: skip
    assert len(set(made)) == 4
    assert "an earlier one" not in generate.output


def test_equal_prompts_are_told_before_and_counted_after(bench, pipeline, tmp_path):
    (tmp_path / "mine.txt").write_text(f"{PROMPTS[0]}\n{PROMPTS[1]}\n{PROMPTS[0]}\n{PROMPTS[0]}\n")
    asked = ["--model", pipeline, "--steps", STEPS, *SIDE, "--prompts", "mine.txt", "--tau", "0,1"]
    plan = bench("plan", *asked, "--json")
    _, row = json.loads(plan.stdout)
    assert row["repeats"] == 2
    assert row["distinct_savings"] < row["savings"]
    assert "1 prompt stands more than once" in row["about_repeats"]
    result = bench(
        "sweep", *asked, "--metric", "none", "--no-seed-control", "--name", "mine", "--no-mlflow"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "note: 1 prompt stands more than once" in result.output
    apart, shared = load_records(tmp_path / "runs/mine")
    assert "pictures.repeats" not in apart.results
    assert shared.results["pictures.repeats"].value == 2
    assert shared.results["pictures.repeats_standard"].value == 0
    assert shared.results["pictures.distinct_savings"].value == pytest.approx(row["distinct_savings"])
    assert shared.plan.distinct_savings == pytest.approx(row["distinct_savings"])
    assert "repeats: pictures that are, bit for bit, an earlier one of the same prompt" in result.stdout
    tables = tmp_path / "runs/mine/report/tables"
    for name in ("summary", "set_losses"):
        assert "repeats" in (tables / f"{name}.md").read_text()
    assert "steps saved, repeats left out" in (tables / "summary.md").read_text()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--per-prompt", 2, "--strategy", "cache"], "the strategy 'cache' makes no tree"),
        (["--per-prompt", 2, "--noise", "official"], "the released code makes one picture of a prompt"),
        (["--noise", "official:renoise=0.5"], "has no place for renoise"),
        (["--noise", "per-root:renoise=2"], "renoise is a number from 0 to 1"),
        (["--noise", "per-root:churn=1"], "it has no parameter 'churn'"),
        (["--copies-height", 0.2], "add --per-prompt"),
        (["--per-prompt", 2, "--scheduler", "EDMEulerScheduler"], "EDMEulerScheduler does not tell the clean latents"),
        (["--per-prompt", 0], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(bench, pipeline, more, says):
    result = bench("generate", "--model", pipeline, "--steps", STEPS, *SIDE, "--prompt", "a fox", *more)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_a_plan_of_several_pictures_a_prompt_of_embeddings(bench, tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    asked = ["plan", "--embeddings", "rows.npy", "--steps", 10, "--tau", "1", "--json"]
    one, several = (json.loads(bench(*asked, *more).stdout)[0] for more in ([], ["--per-prompt", 4]))
    assert several["prompts"] == 4 * one["prompts"] == 20
    assert several["savings"] > one["savings"]
    refused = bench(*asked, "--per-prompt", 4, "--curve")
    assert "--curve is of prompts, each once" in refused.stderr
