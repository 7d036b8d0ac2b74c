"""What there is, what it costs, and what can run here."""

import json
from pathlib import Path

import pytest

from reports.formats import markdown_text


@pytest.mark.parametrize(
    ("things", "one"),
    [
        ("models", "mini-kandinsky"),
        ("datasets", "mini_templates"),
        ("strategies", "ward-cosine"),
        ("presets", "paper-table1"),
        ("metrics", "clip_diversity"),
        ("encoders", "minilm"),
        ("schedules", "official"),
        ("combiners", "mean"),
        ("families", "kandinsky"),
        ("figures", "dendrogram"),
        ("tables", "savings_at_parity"),
    ],
)
def test_lists_name_and_describe(bench, monkeypatch, things, one):
    monkeypatch.setattr("generators.model_entry.ModelEntry.unavailable", lambda _: None)
    result = bench(things, "list")
    assert result.exit_code == 0, result.output
    assert one in result.stdout
    rows = {row["name"]: row for row in json.loads(bench(things, "list", "--json").stdout)}
    assert rows[one]["description"]


def test_classes_of_pipelines_are_listed_with_what_runs_them_or_why_nothing_does(bench):
    rows = {row["class"]: row for row in json.loads(bench("models", "list", "--classes", "--json").stdout)}
    assert rows["FluxPipeline"]["family"] == "diffusers"
    assert rows["StableDiffusionXLPipeline"]["family"] == "diffusers"
    assert "bit for bit, with EulerDiscreteScheduler" in rows["StableDiffusionXLPipeline"]["equal to stock"]
    assert rows["OvisImagePipeline"] == {
        "class": "OvisImagePipeline",
        "family": "diffusers",
        "equal to stock": "not tested",
    }
    assert rows["WanPipeline"]["family"] == "no family: it makes films"
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for row in rows.values():  # other versions of diffusers have other classes, but what is proved is proved
        if "bit for bit" in row["equal to stock"]:
            assert f"| {' | '.join(row.values())} |" in page, "run python -m scripts.pipeline_classes"


def test_a_model_is_shown_with_its_licence_and_what_its_pictures_cost(bench):
    """Of a gated public model, from the configurations in the package: neither weights nor the hub are asked for."""
    result = bench("models", "show", "flux-schnell", "--gpu", "a100", "--utilisation", 0.5, "--price", 2, "--json")
    assert result.exit_code == 0, result.output
    about = json.loads(result.stdout)
    assert (about["class"], about["licence"], about["gated"], about["steps"]) == ("FluxPipeline", "Apache-2.0", True, 4)
    assert sum(part["flops"] for part in about["parts"]) == about["flops"]
    assert sum(part["download"] for part in about["parts"]) == about["download_bytes"]
    assert about["memory_bytes"]["denoise"] > 2 * 11.89e9
    assert about["thousand_pictures"]["gpu_hours"] == pytest.approx(1000 * about["flops"] / (0.5 * 312e12) / 3600)
    assert about["thousand_pictures"]["cost"] == 2 * about["thousand_pictures"]["gpu_hours"]


def test_a_model_is_shown_where_little_is_known_of_it(bench, tiny):
    result = bench("models", "show", tiny.model)
    assert result.exit_code == 0, result.output
    assert "licence:  not known here" in result.stdout
    assert "download: not known here" in result.stdout
    assert "1,000 pictures on NVIDIA H100 SXM" in result.stdout
    assert bench("models", "show", "sdxll").exit_code == 2


def test_the_page_has_every_full_size_model(bench):
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    cells = {row[0]: row for line in page.splitlines() if len(row := line.strip("| ").split(" | ")) > 5}
    for entry in json.loads(bench("models", "list", "--json").stdout):
        if not entry["name"].startswith("mini-"):
            row = cells[entry["name"]]
            expected = [markdown_text(entry["licence"] or "not known"), "yes" if entry["gated"] else "no"]
            assert row[-2:] == expected, f"{entry['name']}: run python -m scripts.model_table"


def test_families_say_what_prompts_are_clustered_by(bench):
    assert "image_embeds" in bench("families", "list").stdout


def test_show_documents_a_strategy(bench):
    result = bench("strategies", "show", "ward-cosine")
    assert "Ward" in result.stdout
    assert "O(N^2" in result.stdout
    assert bench("strategies", "show", "ward-cosin").exit_code == 2


def test_flops_add_up(bench, tiny):
    lines = json.loads(bench("flops", "--model", tiny.model, "--steps", 4, "--json").stdout)
    assert {line["phase"] for line in lines} == {"encode", "denoise", "decode"}
    assert all(line["flops"] == line["flops_per_call"] * line["calls"] > 0 for line in lines)
    (denoiser,) = [line for line in lines if line["phase"] == "denoise"]
    assert denoiser["calls"] == 2 * 4, "guidance doubles every step"
    assert "total" in bench("flops", "--model", tiny.model).stdout


def test_doctor_says_what_to_do(bench, monkeypatch):
    monkeypatch.setattr(
        "generators.model_entry.ModelEntry.unavailable", lambda _: "its weights are missing: train them"
    )
    result = bench("doctor", "--tracking-uri", "http://127.0.0.1:9")
    assert result.exit_code == 1, "the default sweep cannot run without its model"
    lines = {" ".join(line.split()[1:3]): line for line in result.stdout.splitlines()}
    assert lines["model mini-kandinsky"].startswith("fail")
    assert lines["model mini-kandinsky"].endswith("-> its weights are missing: train them")
    assert next(line for line in lines.values() if " MLflow " in line).startswith("warn")
    assert all(" -> " in line for line in result.stdout.splitlines() if not line.startswith("ok"))


def test_doctor_of_an_address_that_is_none(bench, monkeypatch):
    monkeypatch.setattr("generators.model_entry.ModelEntry.unavailable", lambda _: None)
    result = bench("doctor", "--tracking-uri", "http://a b")
    assert "http://a b does not answer" in result.stdout


def test_doctor_of_a_folder_that_cannot_be_written(bench, monkeypatch):
    import os

    monkeypatch.setattr("generators.model_entry.ModelEntry.unavailable", lambda _: None)
    monkeypatch.setattr(os, "access", lambda *_: False)
    result = bench("doctor")
    assert result.exit_code == 1
    assert "cannot be written  -> choose another folder with --out" in result.stdout
