"""`vqa_atoms` through the command line: the embedded models' captions, and a file of atoms for anyone's prompts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def test_a_sweep_of_the_miniature_has_a_table_by_kind(bench):
    arguments = ["--model", "mini-sd", "--dataset", "mini_templates", "--limit", 6, "--steps", 3, "--tau", "0,1.5"]
    place = ["--no-mlflow", "--no-seed-control", "--name", "atoms", "--device", "cpu"]
    result = bench("sweep", *arguments, "--metric", "vqa_atoms", *place)
    assert result.exit_code == 0, result.output
    table = pd.read_csv("runs/atoms/report/tables/atoms.csv")
    assert table.kind.tolist() == ["object", "style", "background"] * 2, "no prompt of this set names a place"
    assert (table.prompts == 6).all()
    assert (table[table.tau == 0].difference == 0).all()
    shared = table[table.tau == 1.5].set_index("kind")
    assert "kinds of atoms by VQA atoms" in result.stdout
    (cell,) = set(table[table.tau == 1.5].id)
    scores = pd.read_parquet(f"runs/atoms/cells/{cell}/scores.parquet")
    assert shared["mean"]["style"] == pytest.approx(np.mean(scores["vqa_atoms.style_atom"]))
    parts = scores[[f"vqa_atoms.{kind}_atom" for kind in ("object", "style", "background")]]
    assert np.allclose(np.exp(np.log(parts).mean(axis=1)), scores["vqa_atoms.vqa_atoms"])
    (audit,) = json.loads(Path("runs/atoms/audit.json").read_text())["audits"]
    assert audit["scorer"] == "vqa_atoms" and audit["floor"] > 0


def test_a_file_gives_the_atoms_of_anyone_s_pictures(bench, tiny, tmp_path):
    prompts, folder = ["a cat, running", "a dog"], tmp_path / "theirs"
    folder.mkdir()
    for number, _ in enumerate(prompts):
        Image.new("RGB", (32, 32), ("teal", "red")[number]).save(folder / f"{number}.png")
    lines = [
        {"prompt": prompt, "vqa_list": [["is it running?", "yes"], ["is it?", "no"]], "skills": ["verb", "object"]}
        for prompt in prompts
    ]
    atoms = tmp_path / "atoms.jsonl"
    atoms.write_text("\n".join(map(json.dumps, lines)))
    scorer = f"vqa_atoms:atoms={atoms}={tiny.vqa}"
    result = bench("score", folder, "--prompts", atoms, "--metric", scorer)
    assert result.exit_code == 0, result.output
    scores = pd.read_csv(tmp_path / "scores/theirs/scores.csv")
    assert {"vqa_atoms.vqa_atoms", "vqa_atoms.verb_atom", "vqa_atoms.object_atom"} <= set(scores.columns)
    atoms.write_text(json.dumps(lines[0]))
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    given = ["--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "other"]
    refused = bench("score", folder, *given, "--metric", scorer)
    assert refused.exit_code == 2 and "no atoms of the prompt 'a dog' are known" in refused.stderr
