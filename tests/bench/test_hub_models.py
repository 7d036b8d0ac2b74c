"""Models of the hub on the command line, from a hub on loopback with the public layouts."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from loopback_hub import LoopbackHub, another_process, serving_hub, use_hub
from public_layouts import FLUX, KANDINSKY, flux, kandinsky

from bench.paper_plan import _weights
from sweeps.record import load_records

PROMPTS = ["--prompt", "a red fox", "--prompt", "a red wolf", "--prompt", "a blue car"]
SMALL = [*PROMPTS, "--steps", 2, "--prior-steps", 2, "--height", 64, "--width", 64]
TINY_FLUX = ["--set", "max_sequence_length=16", "--height", 16, "--width", 16, "--steps", 2, "--dtype", "fp32"]
ALONE = ["--metric", "none", "--no-mlflow", "--no-audit", "--no-seed-control"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    folder = tmp_path_factory.mktemp("public")
    with serving_hub() as running:
        for build in (kandinsky, flux):
            for hub_id, place in build(folder / build.__name__).items():
                running.put(hub_id, place)
        yield running


@pytest.fixture
def hub(server: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    server.reset()
    use_hub(monkeypatch, server, tmp_path / "hub")
    return server


def test_plan_sweep_and_offline_are_of_one_commit_that_is_told(
    hub: LoopbackHub, bench, monkeypatch: pytest.MonkeyPatch
):
    prior, decoder = KANDINSKY
    commits = {part: hub.put(part, hub.revisions[part, "main"][1]) for part in KANDINSKY}
    planned = bench("plan", "--model", "kandinsky-2.2", *SMALL, "--tau", "0,1")
    assert planned.exit_code == 0, planned.output
    assert f"downloading {prior} at {commits[prior][:12]}" in planned.stderr
    assert f"downloading {decoder}" not in planned.stderr, "a plan denoises nothing"
    arguments = ["sweep", "--model", "kandinsky-2.2", *SMALL, *ALONE, "--tau", "0,1", "--name", "run"]
    assert (swept := bench(*arguments)).exit_code == 0, swept.output
    records = load_records("runs/run")
    assert [record.hub for record in records] == [
        {"prior": f"{prior}@{commits[prior]}", "decoder": f"{decoder}@{commits[decoder]}"}
    ] * 2
    for name in ("report.md", "index.html"):
        assert f"{decoder}@{commits[decoder]}" in Path("runs/run/report", name).read_text()
    hub.put(decoder, hub.revisions[decoder, "main"][1], commit="7" * 40)
    another_process(monkeypatch)
    again = bench(*arguments)
    assert again.stderr.count("kept") == 2, "a moved main of the same files orphans no sweep"
    another_process(monkeypatch, offline=True)
    official = ["sweep", "--official", "--model", "kandinsky-2.2", *SMALL, *ALONE, "--tau", "0,1", "--name", "official"]
    assert (ran := bench(*official)).exit_code == 0, ran.output


FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "gated": ({"gated": {FLUX}}, f"{FLUX} is gated"),
    "disabled": ({"disabled": {FLUX}}, f"{FLUX} is disabled on the Hugging Face hub"),
    "429": ({"status": 429}, "the Hugging Face hub answers 429"),
    "500": ({"status": 500}, "the Hugging Face hub has an error of its own, 500"),
    "hangs up": ({"hang_up": True}, "cut the connection"),
    "cut for good": ({"always_cut": 5}, "cut the connection"),
}


@pytest.mark.parametrize("command", ["plan", "sweep"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_hub_refuses_is_one_line_and_what_to_do(hub: LoopbackHub, bench, fault: str, command: str):
    settings, message = FAULTS[fault]
    vars(hub).update(settings)
    result = bench(command, "--model", "flux-schnell", *PROMPTS, "--tau", 1)
    assert result.exit_code == 2
    told = [line for line in result.stderr.splitlines() if "hub" in line and not line.startswith("note:")]
    assert message in told[0]
    assert "Traceback" not in result.stderr


def test_a_renamed_model_is_planned(hub: LoopbackHub, bench):
    hub.renamed = {"former/name": FLUX}
    result = bench("plan", "--model", "former/name", *PROMPTS, *TINY_FLUX, "--tau", 1)
    assert result.exit_code == 0, result.output


def test_doctor_and_models_list_tell_what_is_complete(hub: LoopbackHub, bench):
    row = models(bench)["kandinsky-2.2"]
    assert row["weights"] == {"here": 0, "of": None}
    assert "when it is first used" in row["unavailable"]
    hub.cuts = {"unet/diffusion_pytorch_model.safetensors": [100] * 20}
    cut = bench("generate", "--model", "kandinsky-2.2", *SMALL)
    assert "cut the connection" in cut.stderr
    row = models(bench)["kandinsky-2.2"]
    assert 0 < row["weights"]["here"] < row["weights"]["of"]
    assert " of " in row["unavailable"]
    line = next(line for line in bench("doctor").stdout.splitlines() if "model kandinsky-2.2" in line)
    assert line.startswith("warn")
    assert "MB of" in line
    hub.cuts = {}
    assert (whole := bench("generate", "--model", "kandinsky-2.2", *SMALL)).exit_code == 0, whole.output
    row = models(bench)["kandinsky-2.2"]
    assert row["unavailable"] is None
    line = next(line for line in bench("doctor").stdout.splitlines() if "model kandinsky-2.2" in line)
    assert line.startswith("ok")
    assert "complete, " in line


def models(bench) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(bench("models", "list", "--json").stdout)}


def test_a_revision_is_an_option_too(hub: LoopbackHub, bench):
    revision = hub.put(FLUX, hub.revisions[FLUX, "main"][1], "pinned")
    result = bench("generate", "--model", FLUX, "--revision", "pinned", *PROMPTS, *TINY_FLUX, "--name", "it")
    assert result.exit_code == 0, result.output
    spec, manifest = Path("generated/it/sweep.yaml").read_text(), next(Path("generated/it").rglob("generation.json"))
    assert f"{FLUX}@pinned" in spec
    assert json.loads(manifest.read_text())["hub"] == {"pipeline": f"{FLUX}@{revision}"}
    refused = bench("generate", "--model", f"{FLUX}@main", "--revision", "pinned", *PROMPTS)
    assert "write it behind each hub id" in refused.stderr


def test_paper_plan_gives_the_sizes_of_the_hubs_files(hub: LoopbackHub):
    size = sum(
        path.stat().st_size
        for part in KANDINSKY
        for path in hub.revisions[part, "main"][1].rglob("*")
        if path.is_file() and path.suffix != ".md"
    )
    estimate = SimpleNamespace(model="kandinsky-2.2", weight_bytes=5e9)
    assert _weights(estimate, ask=True) == f"kandinsky-2.2 {size / 1e6:.3g} MB"
    assert _weights(estimate, ask=False).startswith("kandinsky-2.2 about 5 GB")
    hub.status = 500
    assert _weights(estimate, ask=True).startswith("kandinsky-2.2 about 5 GB")
