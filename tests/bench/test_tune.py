"""`bench tune` and `--sample` end to end: a sample's pictures are a full run's, and its cost is what was told."""

import json
import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweeps.record import load_records

THINGS = ("fox", "wolf", "cat", "crown", "apple", "gift", "cactus", "pig", "frog", "car")
PLACES = ("white", "red", "blue", "green")
TAUS, SIZE = "0.3,1", 12


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """Forty prompts in no order, two of them equal."""
    texts = [f"a flat drawing of a {thing} on a {place} background" for place, thing in product(PLACES, THINGS)]
    path = tmp_path_factory.mktemp("prompts") / "my shop.txt"
    path.write_text("\n".join([*texts[:-1], texts[3]]) + "\n")
    return path


@pytest.fixture
def common(prompts, tiny):
    return ["--model", "mini-sd", "--prompts", prompts, "--steps", 4, "--tau", TAUS, "--metric", "vqa", "--no-mlflow"]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=np.int16)


def test_a_sample_is_what_a_full_run_makes_and_costs_what_was_told(bench, common, prompts):
    out = ["--out", "runs", "--name"]
    told = bench("tune", *common, "--sample", SIZE, *out, "tuned", "--dry-run", "--json", "--gpu", "h100")
    assert told.exit_code == 0, told.output
    cost = json.loads(told.stdout)["cost"]
    assert not Path("runs/tuned").exists()
    result = bench("tune", *common, "--sample", SIZE, *out, "tuned", "--delta", 0.49, "--gpu", "h100", "--price", 3)
    assert result.exit_code == 0, result.output
    (spent,) = re.findall(r"denoised as one: ([\d,]+) node-steps", result.stderr)
    assert int(spent.replace(",", "")) == cost["node_steps"]
    assert cost["pictures_of"] == {"my shop": SIZE}
    assert cost["share"] == pytest.approx(cost["node_steps"] / cost["whole_node_steps"])
    assert result.stderr.index("denoiser evaluations") < result.stderr.index("done: "), "it is told before"
    full = bench("sweep", *common, "--no-seed-control", "--no-audit", *out, "full")
    assert full.exit_code == 0, full.output
    (whole,) = re.findall(r"denoised as one: ([\d,]+) node-steps", full.stderr)
    assert int(whole.replace(",", "")) == cost["whole_node_steps"]
    by_tau = {record.config.tau: record for record in load_records("runs/full")}
    tuned = load_records("runs/tuned")
    assert len(tuned) == len(by_tau) == 2
    texts = prompts.read_text().splitlines()
    for record in tuned:
        other = by_tau[record.config.tau]
        assert record.id != other.id
        # which pictures repeat another is known of all of them alone
        whole = other.plan.model_copy(update={"distinct_savings": None})
        assert (record.plan, record.flops) == (whole, other.flops), "the cost is the whole set's"
        assert record.sample
        assert record.prompts(Path("runs/tuned")) == [texts[row] for row in record.sample.rows]
        for of_baseline in (False, True):
            ours = record.whole_pictures(Path("runs/tuned"), of_baseline=of_baseline)
            assert [int(path.stem) for path in ours] == list(record.sample.rows)
            theirs = other.whole_pictures(Path("runs/full"), of_baseline=of_baseline, rows=list(record.sample.rows))
            for one, same in zip(ours, theirs, strict=True):
                # batches differ, and with them last bits
                assert np.abs(pixels(one) - pixels(same)).max() <= 1, one
    assert "for all 40 prompts of my shop, from 12 of them, taken at random" in result.stdout
    (line,) = re.findall(r"^run      (bench generate .*)$", result.stdout, re.MULTILINE)
    made = bench(*shlex.split(line)[1:], "--name", "all")
    assert made.exit_code == 0, made.output
    chosen = float(re.findall(r"^tau ([\d.]+) is no worse within 49 points", result.stdout, re.MULTILINE)[0])
    saved = next(one.plan.savings for one in tuned if float(one.config.tau) == chosen)
    assert f"{saved:.1%} saved" in made.stdout
    again = bench("tune", *common, "--sample", SIZE, *out, "tuned", "--json")
    assert again.exit_code == 0, again.output
    assert "denoised as one" not in again.stderr, "everything was there"
    answer = json.loads(again.stdout)
    assert answer["delta"] == 0.05
    rows = answer["rows"]
    assert [row["prompts"] for row in rows] == [40, 40]
    assert all(row["win_rate_low"] <= row["win_rate"] <= row["win_rate_high"] for row in rows)
    report = Path("runs/tuned/report/tables/whole_set.md").read_text()
    assert "taken at random" in report


def test_what_a_sample_cannot_be_of_is_refused(bench):
    official = bench("sweep", "--prompt", "a fox", "--sample", 5, "--noise", "official")
    assert official.exit_code == 2
    assert "in one stream of noise" in official.stderr
    generate = bench("generate", "--prompt", "a fox", "--sample", 5)
    assert generate.exit_code == 2
    assert "--sample" in generate.output
    assert bench("tune", "--prompt", "a fox", "--delta", 0.7).exit_code == 2
    unknown = bench("tune", "--prompt", "a fox", "--gpu", "h10")
    assert unknown.exit_code == 2
    assert "h100" in unknown.stderr


def test_without_scores_or_a_tau_that_holds_it_says_so(bench, tiny):
    prompts = [word for text in ("a red fox", "a red wolf", "a blue car", "a blue van") for word in ("--prompt", text)]
    few = ["--model", tiny.model, *prompts, "--steps", 3, "--prior-steps", 2, "--tau", 2, "--no-mlflow", "--no-audit"]
    silent = bench("tune", *few, "--sample", 3, "--metric", "none", "--name", "silent")
    assert silent.exit_code == 0, silent.output
    assert "nothing was scored" in silent.stdout
    scored = bench("tune", *few, "--sample", 3, "--metric", f"vqa={tiny.vqa}", "--name", "few")
    assert scored.exit_code == 0, scored.output
    assert "no tau of these is shown to be no worse within 5 points for all 4 prompts" in scored.stdout
    assert "bench generate" not in scored.stdout
