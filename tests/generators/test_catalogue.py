import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from generators.catalogue import model
from generators.families.base import resolve_settings
from generators.model_entry import ModelEntry, default_model, embedded_path, models


def test_every_entry_resolves_and_names_a_known_family():
    from generators.families.base import families

    for entry in models().values():
        assert entry.family in families()
        resolve_settings(entry)
    assert default_model() in models()


def test_paper_preset_is_the_official_codes():
    settings = resolve_settings(model("kandinsky-2.2"), device="cuda")
    asked = settings.model_dump(include={"steps", "guidance", "prior_guidance", "prior_steps", "scheduler", "dtype"})
    assert asked == {
        "steps": 40,
        "guidance": 10.0,
        "prior_guidance": 4.0,
        "prior_steps": 25,
        "scheduler": "DDPMScheduler",
        "dtype": "fp16",
    }


def test_unknown_model_gets_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown model 'kandinski-2\.2'") as error:
        model("kandinski-2.2")
    assert "kandinsky-2.2" in error.value.hint


def test_missing_folder_is_a_folder_not_a_name(tmp_path: Path):
    with pytest.raises(UserError, match=r"folder .*/nowhere does not exist"):
        model(str(tmp_path / "nowhere"))


def test_folder_no_family_reads(tmp_path: Path):
    with pytest.raises(UserError, match="no model family reads") as error:
        model(str(tmp_path))
    assert "prior/ and decoder/" in error.value.hint


def test_folder_is_a_model_of_its_own_size(tiny_kandinsky: Path):
    entry = model(str(tiny_kandinsky))
    assert entry.family == "kandinsky"
    assert (entry.defaults["height"], entry.defaults["width"]) == (32, 32)
    assert entry.unavailable() is None


def test_weights_hash_follows_the_weights(tiny_kandinsky: Path, tiny_fixed_variance: Path):
    assert model(str(tiny_kandinsky)).weights_hash() == model(str(tiny_kandinsky)).weights_hash()
    assert model(str(tiny_kandinsky)).weights_hash() != model(str(tiny_fixed_variance)).weights_hash()


def test_weights_hash_does_not_follow_the_place(tiny_kandinsky: Path, tmp_path: Path):
    moved = shutil.copytree(tiny_kandinsky, tmp_path / "moved")
    assert model(str(moved)).weights_hash() == model(str(tiny_kandinsky)).weights_hash()


def test_embedded_folder_is_found_without_importing_its_package():
    code = "import sys; from generators.model_entry import embedded_path; print(embedded_path('')); "
    code += "assert 'miniature' not in sys.modules and 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name == "checkpoints"


def test_missing_embedded_checkpoint_is_named():
    with pytest.raises(UserError, match="'no/such'"):
        embedded_path("no/such")


def test_unavailable_says_why_and_what_to_do(tmp_path: Path):
    entry = ModelEntry(name="x", family="kandinsky", sources={"prior": str(tmp_path / "gone")}, defaults={})
    assert "does not exist" in entry.unavailable()
    with pytest.raises(UserError, match="does not exist"):
        entry.weights_hash()


def test_a_metric_that_scores_only_when_asked_for_has_a_checkpoint_too():
    entry = model(default_model())
    assert entry.checkpoints == {**entry.scorers, **entry.optional_scorers}
    assert "clip_score" in entry.optional_scorers
    assert not entry.scorers.keys() & entry.optional_scorers.keys()
    for known in models().values():
        assert {"vqa", "clip_diversity"} == known.scorers.keys(), "the default table stays readable"
