"""Files of prompts through the commands: whose seed, whose negative prompt, which column, and what is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_karlo import save_tiny_karlo
from tiny_pipelines import save_tiny_pipeline

from common.pictures import read_picture
from generators.sharing.plan import SharingPlan

PROMPTS = "prompt,seed,negative_prompt\na red fox,7,\na red wolf,7,\na red fox,8,\na red fox,,\na red fox,7,a tree\n"


@pytest.fixture
def arguments(tiny):
    return ["generate", "--model", tiny.model, "--steps", 3, "--prior-steps", 2, "--batch-size", 1]


def pictures(bench, *arguments, name):
    result = bench(*arguments, "--name", name)
    assert result.exit_code == 0, result.output
    # pixels: what files say of how they were made differs
    return [read_picture(path).tobytes() for path in sorted(Path(f"generated/{name}/images").iterdir())], result


@pytest.mark.parametrize("noise", ["per-root", "shared"])
def test_at_tau_0_a_prompts_picture_is_that_of_a_run_with_its_seed_and_negative_prompt(
    bench, arguments, tmp_path, noise
):
    (tmp_path / "mine.csv").write_text(PROMPTS)
    arguments = [*arguments, "--tau", 0, "--noise", noise]
    own, result = pictures(bench, *arguments, "--prompts", "mine.csv", "--seed", 9, name="own")
    assert "mine: prompts with a seed of their own: 4 of 5; the others have that of --seed" in result.stderr
    for seed, negative, rows in ((7, None, [0, 1]), (8, None, [2]), (9, None, [3]), (7, "a tree", [4])):
        texts = [PROMPTS.splitlines()[1 + row].partition(",")[0] for row in rows]
        given = [argument for text in texts for argument in ("--prompt", text)]
        given += ["--negative-prompt", negative] if negative else []
        alone, _ = pictures(bench, *arguments, *given, "--seed", seed, name=f"{seed} {bool(negative)}")
        assert alone == [own[row] for row in rows]
    assert len(set(own)) == 5, "what the prompts are made with matters"


def test_prompts_share_with_their_like_alone(bench, arguments, tmp_path):
    (tmp_path / "mine.csv").write_text(PROMPTS)
    _, result = pictures(bench, *arguments, "--prompts", "mine.csv", "--tau", 100, name="mine")
    assert (
        result.stderr.count("prompts are its column 'prompt', seeds are its column 'seed', negative prompts are") == 1
    )
    plan = SharingPlan.load(tmp_path / "generated/mine/plan.npz")
    shared = {frozenset(plan.members(node).tolist()) for node in range(len(plan.first))}
    assert frozenset({0, 1}) in shared
    assert max(map(len, shared)) == 2, "a red fox of seed 8 and of the run's own seed stay alone"


@pytest.mark.parametrize("name", ["StableDiffusionXLPipeline", "StableDiffusion3Pipeline"])
def test_any_pipelines_negative_prompts_are_each_prompts_own(bench, tmp_path, name):
    model = save_tiny_pipeline(name, tmp_path / "model")
    (tmp_path / "mine.csv").write_text(
        "prompt,negative_prompt\na red fox,\na red fox,a tree by the sea\na car,a tree\n"
    )
    arguments = [
        "generate",
        "--model",
        model,
        "--steps",
        2,
        "--height",
        16,
        "--width",
        16,
        "--dtype",
        "fp32",
        "--tau",
        0,
    ]
    arguments += ["--batch-size", 1]
    own, _ = pictures(bench, *arguments, "--prompts", "mine.csv", name="own")
    for row, (text, negative) in enumerate(
        (("a red fox", ""), ("a red fox", "a tree by the sea"), ("a car", "a tree"))
    ):
        given = ["--negative-prompt", negative] if negative else []
        alone, _ = pictures(bench, *arguments, "--prompt", text, *given, name=f"alone {row}")
        assert alone == [own[row]]
    assert own[0] != own[1]


def test_a_pipeline_whose_negative_prompts_have_no_common_form_refuses_them(bench, tmp_path):
    model = save_tiny_pipeline("QwenImagePipeline", tmp_path / "model")
    (tmp_path / "mine.csv").write_text("prompt,negative_prompt\na red fox,a tree by the sea\na car,a tree\n")
    asked = ["generate", "--model", model, "--steps", 2, "--height", 16, "--width", 16, "--dtype", "fp32"]
    result = bench(*asked, "--prompts", "mine.csv", "--guidance", 4)
    assert result.exit_code == 2
    assert "encodes the negative prompts in mine.csv in several forms" in " ".join(result.stderr.split())


def test_what_cannot_honour_a_column_is_refused_by_name(bench, arguments, tmp_path):
    (tmp_path / "mine.csv").write_text(PROMPTS)
    (tmp_path / "seeds.csv").write_text("prompt,seed\na fox,1\na dog,2\n")
    (tmp_path / "no.csv").write_text("prompt,negative_prompt\na fox,a tree\na dog,\n")
    karlo = save_tiny_karlo(tmp_path / "karlo")
    for more, says in (
        (
            ["--prompts", "mine.csv", "--official"],
            "one stream of noise has no place for the seeds and negative prompts in",
        ),
        (["--prompts", "seeds.csv", "--seed", "1,2"], "several --seed contradict the seeds in seeds.csv"),
        (
            ["--prompts", "seeds.csv", "--strategy", "cache"],
            "the strategy 'cache' plans by itself and cannot keep prompts",
        ),
        (["--prompts", "no.csv", "--guidance", 1], "the negative prompts in no.csv change nothing at guidance 1"),
        (["--prompts", "no.csv", "--model", karlo], "in no.csv cannot be used: Karlo takes no negative prompt"),
        (
            ["--prompts", "no.csv", "--model", "mini-flux"],
            "a FluxPipeline takes a negative prompt only with a true_cfg",
        ),
        (["--prompt", "a fox", "--column", "text"], "--column is of a file of prompts, and none is given"),
        (["--prompts", "no.csv", "--column", "promt"], "no.csv has no column 'promt'"),
    ):
        asked = [one for one in arguments if "--model" not in more or one not in ("--model", arguments[2])]
        asked = asked if "--model" not in more else ["generate", "--steps", 3]
        result = bench(*asked, *more)
        assert result.exit_code == 2, more
        assert says in " ".join(result.stderr.split()), more


def test_plans_know_who_may_share_and_every_command_tells_what_it_read_once(bench, tiny, tmp_path):
    rows = [f"a red fox number {number},{number % 2},{number}" for number in range(16)]
    (tmp_path / "mine.csv").write_text("\n".join(["Caption;x,seed;x,sku".replace(";x", ""), *rows, "", ""]))
    told = "mine.csv: prompts are its column 'Caption', seeds are its column 'seed'; no picture is generated from 'sku'"
    asked = ["--prompts", "mine.csv", "--steps", 5, "--tau", 100, "--json"]
    model = ["--model", tiny.model, "--prior-steps", 2]
    for how in (model, ["--encoder", "minilm"]):
        result = bench("plan", *asked, *how, "--curve")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)[0]["node_steps"] == 2 * 4 + 16, "two trunks, and each prompt's last step"
        assert " ".join(result.stderr.split()).count(told) == 1
    alike = bench("plan", *asked, "--encoder", "minilm", "--column", "caption", "--limit", 3)
    assert "mine: only the first 3 of 16 prompts are used" in " ".join(alike.stderr.split())
    assert json.loads(alike.stdout)[0]["prompts"] == 3
    np.save("rows.npy", np.random.default_rng(0).normal(size=(16, 4)))
    ready = bench("plan", *asked, "--embeddings", "rows.npy")
    assert json.loads(ready.stdout)[0]["node_steps"] == 2 * 4 + 16
    (tmp_path / "apart.csv").write_text("prompt,seed\na fox,1\na dog,2\n")
    apart = bench("plan", "--prompts", "apart.csv", "--steps", 5, *model)
    assert "apart: every prompt has another seed: none can share with another" in " ".join(apart.stderr.split())


def test_a_sweeps_controls_have_other_seeds_too_and_ids_tell_them_apart(bench, tiny, tmp_path):
    (tmp_path / "mine.csv").write_text("prompt,seed\na red fox,1\na red wolf,1\na blue car,\n")
    (tmp_path / "plain.csv").write_text("prompt,seed\na red fox,\na red wolf,\na blue car,\n")
    asked = ["sweep", "--model", tiny.model, "--steps", 3, "--prior-steps", 2, "--metric", "none", "--no-mlflow"]
    for name in ("mine", "plain"):
        result = bench(*asked, "--prompts", f"{name}.csv", "--tau", "0,100", "--name", name)
        assert result.exit_code == 0, result.output
    digests = [
        json.loads(path.read_text())["images"] for path in sorted(Path("runs/mine/shared").glob("*/generation.json"))
    ]
    assert len(digests) == 2
    assert all(digests[0][name] != digests[1][name] for name in digests[0]), "the control's seeds are others"
    ids = {name: {path.name for path in Path(f"runs/{name}/cells").iterdir()} for name in ("mine", "plain")}
    assert not ids["mine"] & ids["plain"]
    given = [argument for text in ("a red fox", "a red wolf", "a blue car") for argument in ("--prompt", text)]
    assert bench(*asked, *given, "--tau", "0,100", "--name", "given").exit_code == 0
    assert {path.name for path in Path("runs/given/cells").iterdir()} == ids["plain"], "a column of nothing is none"


def test_scores_are_of_the_column_that_is_named(bench, tiny, tmp_path):
    (tmp_path / "mine.tsv").write_text("Alt text\tFile name\ta\tb\na red fox\tone.png\t1\t2\na, b; c\ttwo.png\t1\t2\n")

    for number, name in enumerate(("one", "two")):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (90 * number, 60, 120)).save(tmp_path / f"pictures/{name}.png")
    asked = ["score", "pictures", "--prompts", "mine.tsv", "--metric", f"vqa={tiny.vqa}"]
    assert "mine.tsv has no column 'prompt'; its columns: 'Alt text'" in " ".join(bench(*asked).stderr.split())
    result = bench(*asked, "--column", "alt_text")
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "paired with prompts by the column 'File name'" in told
    assert "one.png 'a red fox', two.png 'a, b; c'" in told
    assert "prompts are its column 'Alt text'" in told
