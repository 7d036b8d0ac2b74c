"""A sweep of any diffusers pipeline, from its folder to its tables."""

import json

import pandas as pd
import pytest
from tiny_pipelines import save_tiny_pipeline

PROMPTS = ("a red fox", "a red wolf", "a blue car by the sea")


@pytest.mark.parametrize(
    ("name", "further"),
    [
        ("StableDiffusionXLPipeline", {}),
        ("StableDiffusion3Pipeline", {}),
        ("Flux2Pipeline", {"max_sequence_length": 96}),
        ("QwenImagePipeline", {}),
        ("ZImagePipeline", {"max_sequence_length": 96}),
        ("AnimaModularPipeline", {}),
        ("SanaPipeline", {"use_resolution_binning": False, "complex_human_instruction": None}),
    ],
)
def test_sweep_of_a_pipelines_folder(bench, tmp_path, name: str, further: dict[str, object]):
    folder = save_tiny_pipeline(name, tmp_path / "model")
    prompts = [argument for prompt in PROMPTS for argument in ("--prompt", prompt)]
    side = 32 if name == "SanaPipeline" else 16
    size = ["--height", side, "--width", side, "--steps", 3, "--dtype", "fp32"]
    size += ["--set", f"arguments={json.dumps(further)}"] if further else []
    arguments = ["--tau", "0,0.5,1", "--metric", "none", "--no-mlflow", "--name", "first"]
    result = bench("sweep", "--model", folder, *prompts, *size, *arguments)
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs" / "first"
    table = pd.read_csv(run / "report/tables/summary.csv")
    table = table[table.role == "sharing"]
    assert list(table.tau) == [0, 0.5, 1]
    assert table.savings.iloc[0] == 0
    assert table.savings.is_monotonic_increasing
    assert table.savings.iloc[-1] > 0.2
    assert (table.flop_savings < table.savings)[1:].all(), "encoding and decoding are not shared"
    assert len(list(run.rglob("images/[0-9]*.png"))) >= 2 * len(PROMPTS)


def test_an_argument_of_the_pipelines_call_is_a_setting(bench, tmp_path):
    folder = save_tiny_pipeline("StableDiffusion3Pipeline", tmp_path / "model")
    result = bench("flops", "--model", folder, "--steps", 2, "--json")
    assert result.exit_code == 0, result.output
    assert {line["component"] for line in json.loads(result.stdout)} >= {"denoiser", "decoder", "text encoder 3"}
    prompts = ["--prompt", PROMPTS[0], "--prompt", PROMPTS[1]]
    prompts += ["--metric", "none"]
    asked = ["--set", 'arguments={"max_sequence_length": 32}']
    result = bench("sweep", "--model", folder, *prompts, *asked, "--tau", "1", "--dry-run", "--steps", 2)
    assert result.exit_code == 0, result.output
    refused = bench("sweep", "--model", folder, *prompts, "--set", 'arguments={"warmth": 1}', "--tau", "1", "--dry-run")
    assert refused.exit_code == 2
    assert "takes no 'warmth' here" in " ".join(refused.output.split())
