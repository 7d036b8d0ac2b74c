"""An open_clip folder whose weights are the encoders of another checkpoint: one encoder, wherever it is stored."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from common.errors import UserError
from common.files import sha256_tree
from generators.model_entry import embedded_path
from metrics.clip_towers import TOWERS, WEIGHTS, assembled
from metrics.open_clip_source import Source

# of the folder as it was when it held the same weights under open_clip's names: scores made with it stay valid
ITSELF = "2c55da4f8697556e4acc8eda8fc7df5fc692ae94f06d8e36273042ad63b32116"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))


def test_the_miniatures_encoder_has_the_identity_of_one_that_is_stored_whole(tmp_path):
    folder = embedded_path("clip")
    made = assembled(folder)
    whole = shutil.copytree(made, tmp_path / "whole")
    assert Source.of(str(folder)).sha256() == Source.of(str(whole)).sha256() == ITSELF
    assert assembled(whole) == whole
    assert assembled(folder) == made, "it is assembled once"


def test_changed_towers_are_another_encoder(tmp_path):
    shutil.copytree(embedded_path("clip"), tmp_path / "clip")
    shutil.copytree(embedded_path("kandinsky/prior"), tmp_path / "kandinsky" / "prior")
    before = assembled(tmp_path / "clip")
    weights = tmp_path / "kandinsky" / "prior" / "text_encoder" / "model.safetensors"
    save_file({name: tensor / 2 for name, tensor in load_file(weights).items()}, weights)
    after = assembled(tmp_path / "clip")
    assert sha256_tree(before) == ITSELF != sha256_tree(after)
    assert not (after / TOWERS).exists()


@pytest.mark.parametrize(
    "change", [{"text_encoder": "../gone"}, {"image_encoder": "../tokenizer"}, {"logit_scale": None}]
)
def test_what_cannot_be_assembled_is_said(tmp_path, change):
    prior = embedded_path("kandinsky/prior")
    folder = shutil.copytree(embedded_path("clip"), tmp_path / "moved")
    with pytest.raises(UserError, match=r"cannot assemble the CLIP encoder .*moved.*towers.json"):
        Source.of(str(folder))  # its relative paths lead nowhere now
    towers = {part: str(prior / part) for part in ("text_encoder", "image_encoder", "tokenizer")}
    (folder / TOWERS).write_text(json.dumps({**towers, "logit_scale": 1.0}))
    (tmp_path / "tokenizer").symlink_to(prior / "tokenizer")
    assert (assembled(folder) / WEIGHTS).is_file()
    (folder / TOWERS).write_text(json.dumps({**towers, "logit_scale": 1.0, **change}))
    with pytest.raises(UserError, match="cannot assemble"):
        assembled(folder)
