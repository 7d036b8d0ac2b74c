"""The online strategy through the command line, on mini-sd."""

import json

import numpy as np
import pytest

from generators.sharing.plan import SharingPlan
from generators.sharing.tree import Tree
from sweeps.record import load_records

PROMPTS = ["a red ball on grass", "a red ball on sand", "a blue car", "a blue car at night", "a red ball on grass"]
GIVEN = [argument for prompt in PROMPTS for argument in ("--prompt", prompt)]
ASKED = ["--model", "mini-sd", "--scheduler", "DDIMScheduler", "--steps", 5, *GIVEN]
STRATEGY = "cache:similarity=[0.2, 0.6]:share=[0.2, 0.6]"


def test_it_is_swept_at_equal_savings_beside_a_tree(bench, tmp_path) -> None:
    result = bench(
        *("sweep", *ASKED, "--strategy", STRATEGY, "--strategy", "ward-cosine", "--savings", "0,0.3"),
        *("--metric", "none", "--no-mlflow", "--no-seed-control", "--name", "first"),
    )
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs/first"
    records = {(record.config.strategy, record.config.tau > 0): record for record in load_records(run)}
    assert all(record.status == "done" for record in records.values()) and len(records) == 4
    standard, shared = records[STRATEGY, False], records[STRATEGY, True]
    assert standard.execution.reused == len(PROMPTS) and standard.plan.savings == 0
    folder = shared.folder(run)
    plan = SharingPlan.load(folder / "plan.npz")
    assert plan.node_steps == shared.plan.node_steps
    assert shared.execution.rows == plan.restricted(~plan.solo).node_steps
    assert abs(shared.plan.savings - 0.3) < 0.1
    assert shared.execution.reused == plan.solo.sum() > 0, "the first comers' pictures are standard's"
    assert (plan.hi - plan.lo == 1).all(), "each step is conditioned on one prompt"
    pictures = [path.read_bytes() for path in shared.pictures(run)]
    theirs = [path.read_bytes() for path in shared.baseline_pictures(run)]
    assert [mine == other for mine, other in zip(pictures, theirs, strict=True)] == plan.solo.tolist()
    assert Tree.load(folder / "tree.npz").n_leaves == len(PROMPTS)


def test_it_is_planned_and_its_tau_is_found(bench) -> None:
    asked = ("plan", *ASKED, "--strategy", STRATEGY, "--json")
    (row,) = json.loads(bench(*asked, "--target-savings", 0.3).stdout)
    assert row["reached"] and row["savings"] >= 0.3
    rows = json.loads(bench(*asked, "--tau", f"0,{row['tau']},1000").stdout)
    assert [each["savings"] for each in rows] == [0, row["savings"], row["most"]]
    assert row["most"] == pytest.approx(0.6 * 4 / 5)


def test_ready_embeddings_are_streamed_too(bench, tmp_path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    result = bench("plan", "--embeddings", "rows.npy", "--steps", 10, "--strategy", "cache", "--tau", "0,1,3", "--json")
    assert result.exit_code == 0, result.output
    savings = [row["savings"] for row in json.loads(result.stdout)]
    assert savings[0] == 0 < savings[1] < savings[2]


def test_generate_draws_who_started_from_whom(bench, tmp_path) -> None:
    result = bench("generate", *ASKED, "--strategy", STRATEGY, "--tau", 3, "--name", "mine")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "generated/mine/dendrogram.png").stat().st_size > 1000
    plan = SharingPlan.load(tmp_path / "generated/mine/plan.npz")
    assert f"{plan.savings:.1%} saved" in result.stdout and plan.savings > 0
