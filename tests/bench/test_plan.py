"""`bench plan`: the contract of its JSON, its answers against the plan itself, its mistakes."""

import json
import subprocess
import sys
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
from safetensors.numpy import save_file

from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.union import union
from generators.strategies.base import get_strategy
from generators.text_encoders.base import TextEncoder
from sweeps.grid import sources
from sweeps.spec import make_spec


@pytest.fixture
def embeddings(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.save(tmp_path / "e.npy", rows)
    save_file({"image_embeds": rows}, tmp_path / "e.safetensors")
    return rows


@pytest.mark.parametrize("file", ["e.npy", "e.safetensors"])
@pytest.mark.parametrize("schedule", ["official", "eq7"])
def test_json_is_an_array_with_the_plans_numbers(bench, embeddings, file, schedule):
    result = bench(
        *("plan", "--embeddings", file, "--strategy", "ward-cosine", "--schedule", schedule),
        *("--steps", 40, "--tau", "0,0.5,1", "--json"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [each["tau"] for each in found] == [0, 0.5, 1]
    tree = get_strategy("ward-cosine").tree(embeddings.astype(np.float64))
    for each in found:
        plan = build_plan(tree, get_schedule(schedule), each["tau"], 40)
        assert each["node_steps"] == plan.node_steps
        assert each["standard_node_steps"] == 40 * 40
        assert each["savings"] == plan.savings
    assert found[0]["savings"] == 0
    plans = [build_plan(tree, get_schedule(schedule), tau, 40) for tau in (0, 0.5, 1)]
    once = {"together": union(plans).plan.node_steps, "one_by_one": plans[0].node_steps}
    once["one_by_one"] += sum(plan.restricted(~plan.solo).node_steps for plan in plans[1:])
    assert all(each["all_taus"] == once for each in found)


def test_a_schedule_that_follows_noise_needs_a_model(bench, embeddings):
    result = bench(
        *("plan", "--embeddings", "e.npy", "--model", "mini-kandinsky", "--schedule", "snr:shift=1"),
        *("--steps", 10, "--tau", 0.5, "--json"),
    )
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    (source, *_) = sources(make_spec([{"model": "mini-kandinsky", "steps": 10, "limit": 1}]), "cpu")
    schedule = get_schedule("snr", shift=1).bound(source.log_snr)
    tree = get_strategy("ward-cosine").tree(embeddings.astype(np.float64))
    assert found["node_steps"] == build_plan(tree, schedule, 0.5, 10).node_steps < 40 * 10


def test_embeddings_need_no_torch(embeddings):
    code = (
        "import sys\nfrom bench.main import app\n"
        "sys.argv = ['bench', 'plan', '--embeddings', 'e.npy', '--steps', '40', '--tau', '0.5', '--json']\n"
        "try: app()\nfinally: assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    assert len(json.loads(process.stdout)) == 1


def test_target_savings_are_reached_or_the_most_is_said(bench, embeddings):
    plan = ("plan", "--embeddings", "e.npy", "--steps", 40)
    (reached,) = json.loads(bench(*plan, "--json", "--target-savings", 0.5).stdout)
    assert reached["reached"] is True
    assert reached["savings"] >= 0.5
    assert reached["node_steps"] == (1 - reached["savings"]) * reached["standard_node_steps"]
    (again,) = json.loads(bench(*plan, "--json", "--tau", reached["tau"]).stdout)
    assert again["savings"] == reached["savings"]
    (missed,) = json.loads(bench(*plan, "--json", "--target-savings", 0.999).stdout)
    assert missed["reached"] is False
    assert missed["savings"] == missed["most"] < 0.999
    assert "out of reach: the most is" in bench(*plan, "--target-savings", 0.999).stdout


def test_a_model_encodes_the_prompts_and_adds_flops(bench, tiny):
    result = bench(
        *("plan", "--model", tiny.model, "--dataset", "mini_scenes", "--limit", 6, "--prior-steps", 2),
        *("--steps", 4, "--tau", "0,1", "--json"),
    )
    assert result.exit_code == 0, result.output
    none, some = json.loads(result.stdout)
    assert none["flop_savings"] == 0
    assert 0 < some["flop_savings"] < some["savings"]
    assert some["prompts"] == 6


def test_ready_embeddings_and_a_model_give_flops_too(bench, embeddings, tiny):
    (found,) = json.loads(bench("plan", "--embeddings", "e.npy", "--model", tiny.model, "--tau", 1, "--json").stdout)
    assert found["steps"] == 40, "the model's default"
    assert found["flops"] < found["standard_flops"]


def test_a_model_too_large_to_load_is_planned_with_the_memory_it_would_take(bench, embeddings, monkeypatch):
    monkeypatch.setattr("generators.device_memory.total_bytes", lambda device: 16 * 2**30)
    arguments = ("plan", "--embeddings", "e.npy", "--model", "flux-schnell", "--tau", 1)
    (found,) = json.loads(bench(*arguments, "--json").stdout)
    transformer_and_vae = 2 * (11_891_178_560 + 83_819_683)
    t5_and_clip = 2 * (4_762_310_656 + 123_060_480)
    assert max(transformer_and_vae, t5_and_clip) + 2 * 40 * 4096 * 64 < found["least_memory_bytes"]
    picture = 2 * 512 * 1024 * 1024  # the VAE's widest layer, at full size, in half precision
    assert found["peak_memory_bytes"] - found["least_memory_bytes"] == pytest.approx(31 * 1.5 * picture, rel=0.01)
    least, most = (found[name] / 2**30 for name in ("least_memory_bytes", "peak_memory_bytes"))
    told = bench(*arguments).stdout
    assert f"memory: {least:.3g} GiB with a row in a batch, {most:.3g} GiB with 32" in told
    assert "by phase: encode 9.1" in told
    assert "this machine cannot run it: its main memory has 16 GiB" in told
    assert found["device_memory_bytes"] == 16 * 2**30
    assert max(high for _, high in found["memory_by_phase"].values()) == found["peak_memory_bytes"]


def test_a_plan_says_what_offload_leaves_on_the_card(bench, embeddings):
    arguments = ("plan", "--embeddings", "e.npy", "--model", "flux-schnell", "--tau", 1, "--offload", "model", "--json")
    (found,) = json.loads(bench(*arguments).stdout)
    t5, transformer = 2 * 4_762_310_656, 2 * 11_891_178_560
    encode, denoise, decode = (found["memory_by_phase"][phase] for phase in ("encode", "denoise", "decode"))
    assert t5 < encode[0] < 1.02 * t5, "one encoder at a time"
    assert transformer < denoise[0] < 1.05 * transformer, "without the decoder"
    assert decode[1] < 8 * 2**30, "the decoder alone, of a few pictures"
    # while positions turn a block's queries: it, its norm, q, k and v, the wide layer; float32 of one, four times
    row = (4096 + 256) * 3072 * (2 * 5 + 2 * 4 + 4 * 4)
    assert denoise[1] - transformer == pytest.approx(32 * row, rel=0.02)
    assert found["peak_memory_bytes"] == denoise[1]


def test_a_curve_says_what_parts_of_the_set_save_and_what_further_prompts_cost(bench, embeddings):
    arguments = ("plan", "--embeddings", "e.npy", "--steps", 40, "--tau", "0,1")
    none, some = json.loads(bench(*arguments, "--curve", "--json").stdout)
    assert list(some["curve"]["savings"]) == ["10", "20", "40"]
    assert some["curve"]["savings"]["40"] == [pytest.approx(some["savings"])] * 3
    assert some["curve"]["savings"]["10"][0] < some["savings"]
    further = some["curve"]["further"]
    grown = (some["node_steps"] + 40 * further["steps_each"][0]) / (80 * 40)
    assert further["savings"][0] == pytest.approx(1 - grown)
    assert none["curve"]["further"]["steps_each"] == [40, 40, 40]
    told = bench(*arguments, "--curve").stdout
    assert "a further prompt, of 40 steps" in told
    assert "errs in the whole's node-steps by +0.0%" in told
    assert "curve" not in json.loads(bench(*arguments, "--json").stdout)[0]
    few = bench(*("plan", "--dataset", "mini_styles", "--limit", 4, "--encoder", "minilm", "--steps", 4, "--curve"))
    assert "4 prompts are too few" in few.stderr


def test_hours_and_money_are_those_of_the_flops_or_of_the_seconds_that_are_given(bench, embeddings, tiny):
    arguments = ("plan", "--embeddings", "e.npy", "--model", tiny.model, "--tau", 1, "--gpu", "h100", "--price", 3)
    (found,) = json.loads(bench(*arguments, "--json").stdout)
    assert found["gpu_hours"] == pytest.approx(found["flops"] / (0.4 * 989.4e12) / 3600, rel=1e-3)
    assert found["cost"] == pytest.approx(3 * found["gpu_hours"])
    assert found["standard_cost"] > found["cost"]
    assert found["gpu_hours_rest_on"] == "FLOPs at 40% of the peak"
    (given,) = json.loads(bench(*arguments, "--seconds-per-step", 9, "--json").stdout)
    assert given["gpu_hours"] == pytest.approx(9 * found["node_steps"] / 3600, rel=1e-3)
    assert "money at 3 an hour; scoring is in neither" in bench(*arguments).stdout
    without = bench("plan", "--embeddings", "e.npy", "--steps", 4, "--gpu", "h100")
    assert "none is named" in without.stderr


class Letters(TextEncoder):
    """How often each letter is in a text."""

    name = "letters"

    def encode(self, texts):
        return np.array([[text.count(letter) for letter in ascii_lowercase] for text in texts], dtype=np.float32)


@pytest.fixture
def letters(monkeypatch):
    monkeypatch.setattr("generators.text_encoders.base.find", lambda *_: Letters)


def test_a_plan_from_text_is_the_plan_of_its_embeddings_and_says_what_it_is(bench, letters):
    prompts = ["a red fox", "a red wolf", "a blue car", "a blue van", "a red fox"]
    given = [argument for prompt in prompts for argument in ("--prompt", prompt)]
    result = bench("plan", "--encoder", "letters", *given, "--steps", 40, "--tau", "0,0.5", "--json")
    assert result.exit_code == 0, result.output
    np.save("letters.npy", Letters().encode(prompts))
    ready = json.loads(bench("plan", "--embeddings", "letters.npy", "--steps", 40, "--tau", "0,0.5", "--json").stdout)
    basis = "predicted from text embeddings (letters), not the model's own"
    assert json.loads(result.stdout) == [{**row, "basis": basis} for row in ready]
    assert 0 < ready[1]["savings"] < 1
    for more in (["--tau", "0.5"], ["--target-savings", 0.3]):
        assert basis in bench("plan", "--encoder", "letters", *given, "--steps", 40, *more).stdout


def test_a_plan_from_text_for_a_model_has_its_steps_and_flops(bench, letters, tiny):
    arguments = ("plan", "--encoder", "letters", "--dataset", "mini_scenes", "--limit", 6, "--model", tiny.model)
    (found,) = json.loads(bench(*arguments, "--tau", 1, "--json").stdout)
    assert (found["steps"], found["prompts"]) == (40, 6)
    assert found["flops"] < found["standard_flops"]
    assert "not the model's own" in found["basis"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--embeddings", "nan.npy", "--steps", 4], "row 3 of 40 holds NaN"),
        (["--embeddings", "zero.npy", "--steps", 4], "row 3 of 40 is zero"),
        (["--embeddings", "nowhere.npy", "--steps", 4], "nowhere.npy"),
        (["--embeddings", "e.npy", "--steps", 4, "--dataset", "mini_scenes"], "40 embeddings for 120 prompts"),
        (["--embeddings", "e.npy"], "the number of steps is not known"),
        (["--embeddings", "e.npy", "--steps", 4, "--tau", "2..0"], "runs backwards"),
        (["--embeddings", "e.npy", "--steps", 4, "--tau", 1, "--target-savings", 0.5], "opposite questions"),
        (["--embeddings", "e.npy", "--steps", 4, "--target-savings", 7], "between 0 and 1"),
        (["--embeddings", "e.npy", "--steps", "4,8"], "one steps"),
        (["--embeddings", "e.npy", "--steps", 0], "steps"),
        (["--embeddings", "e.npy", "--steps", 999999999999], "steps"),
        (["--embeddings", "e.npy", "--steps", 4, "--seed", -1], "seed"),
        (["--embeddings", "e.npy", "--steps", 4, "--schedule", "snr"], "no sampler is known here"),
        (["--embeddings", "e.npy", "--steps", 4, "--schedule", "snr:shift=late"], "'late' is not a finite number"),
        (["--embeddings", "e.npy", "--steps", 4, "--limit", 3], "--limit means nothing"),
        (["--embeddings", "e.npy", "--steps", 4, "--features", "x"], "--features means nothing"),
        (["--embeddings", "e.npy", "--steps", 4, "--device", "warp"], "--device means nothing"),
        (["--embeddings", "e.npy", "--steps", 4, "--scheduler", "x"], "--scheduler means nothing"),
        (["--embeddings", "e.npy", "--steps", 4, "--guidance", 3], "--guidance means nothing"),
        (["--embeddings", "e.npy", "--steps", 4, "--set", "noise_level"], "--set noise_level gives no value"),
        (["--embeddings", "e.npy", "--steps", 4, "--set", "noise_lvl=1"], "no setting 'noise_lvl'"),
        (["--embeddings", "e.npy", "--steps", 4, "--set", "steps=5"], "steps is given twice"),
        (["--embeddings", "e.npy", "--steps", 4, "--set", "super_res_steps=1"], "super_res_steps"),
        (["--encoder", "minilm", "--embeddings", "e.npy", "--steps", 4], "give one of them"),
        (["--encoder", "minilm"], "the number of steps is not known"),
        (["--encoder", "minilmm", "--steps", 4], "did you mean 'minilm'?"),
        (["--encoder", "minilm", "--steps", 4, "--features", "x"], "--features means nothing for text embeddings"),
        (["--encoder", "minilm", "--steps", 4, "--dataset", "mini_scenes,mini_styles"], "one dataset"),
    ],
)
def test_mistakes_are_told_on_standard_error_alone(bench, embeddings, arguments, says):
    damaged = embeddings.copy()
    damaged[2] = np.nan
    np.save("nan.npy", damaged)
    damaged[2] = 0
    np.save("zero.npy", damaged)
    result = bench("plan", *arguments, "--json")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert says in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_workers_are_told_the_critical_path_and_what_bounds_them(bench, embeddings):
    plan = ("plan", "--embeddings", "e.npy", "--strategy", "ward-cosine", "--steps", 40, "--tau", "0,1.5")
    alone, shared = json.loads(bench(*plan, "--workers", 16, "--json").stdout)
    assert alone["spread"]["critical_path"] == shared["spread"]["critical_path"] == 40
    assert alone["spread"]["speed_up_bound"] == alone["node_steps"] / alone["spread"]["least_time"]
    assert alone["spread"]["trunk"] == 0 < shared["spread"]["trunk"] < shared["node_steps"]
    assert 1 < shared["spread"]["speed_up"] <= shared["spread"]["speed_up_bound"] < alone["spread"]["speed_up_bound"]
    said = bench(*plan, "--workers", 16)
    assert "on 16 workers" in said.output
    assert "spread" not in json.loads(bench(*plan, "--json").stdout)[0]


def test_waves_their_memory_and_their_disk_are_said(bench, tiny):
    asked = [
        "plan",
        "--model",
        tiny.model,
        *(one for text in ("a fox", "a wolf", "a car", "a van") for one in ("--prompt", text)),
    ]
    asked += ["--steps", 3, "--prior-steps", 2, "--tau", "0,1"]
    (whole, _), (alone, shared) = (json.loads(bench(*asked, *more, "--json").stdout) for more in ((), ("--wave", 2)))
    assert (whole["waves"], whole["wave_rows"]) == (1, 4)
    assert (alone["waves"], alone["wave_rows"]) == (2, 2)
    assert 0 < alone["wave_memory_bytes"]["cpu"] < whole["wave_memory_bytes"]["cpu"]
    assert (
        alone["disk_bytes"]["states"] == 0 < alone["disk_bytes"]["conditioning"] == shared["disk_bytes"]["conditioning"]
    )
    assert "2 waves of at most 2 rows" in bench(*asked, "--wave", 2).output
