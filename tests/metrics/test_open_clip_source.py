"""Where open_clip's encoders come from: folders and published tags, each with the activation it was trained with."""

import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from common.errors import UserError
from metrics.clip_diversity import ClipDiversity
from metrics.open_clip_source import Source


@pytest.mark.parametrize(
    ("checkpoint", "source"),
    [
        ("ViT-B-32:openai", Source("ViT-B-32", "openai", quick_gelu=True)),
        ("ViT-L-14:openai", Source("ViT-L-14", "openai", quick_gelu=True)),
        ("ViT-B-32:laion2b_s34b_b79k", Source("ViT-B-32", "laion2b_s34b_b79k", quick_gelu=False)),
        ("ViT-B-32-quickgelu:openai", Source("ViT-B-32-quickgelu", "openai", quick_gelu=False)),
    ],
)
def test_published_tags_get_the_activation_they_were_trained_with(checkpoint, source):
    assert Source.of(checkpoint) == source
    assert str(source) == checkpoint


@pytest.fixture
def tags(tiny_clip, tmp_path, monkeypatch) -> dict[str, dict]:
    """The tiny model as one of open_clip's own, with a tag trained with QuickGELU and one trained without."""
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_clip.config))
    (tmp_path / "tiny-quickgelu.json").write_text(json.dumps(tiny_clip.config | {"quick_gelu": True}))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    open_clip.add_model_config(tmp_path)
    weights = {"file": str(tiny_clip.weights), "mean": tiny_clip.mean, "std": tiny_clip.std}
    tags = {"quick": weights | {"quick_gelu": True}, "plain": weights}
    for model in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, model, tags)
    return tags


def test_a_tag_trained_with_quick_gelu_is_computed_with_it(tiny_clip, pictures, tags):
    quick, plain, variant = (
        ClipDiversity(name).measure(pictures, [""] * 9)["clip"]
        for name in ("tiny:quick", "tiny:plain", "tiny-quickgelu:quick")
    )
    assert quick == pytest.approx(tiny_clip.embeddings(pictures, quick_gelu=True), abs=1e-6)
    assert plain == pytest.approx(tiny_clip.embeddings(pictures), abs=1e-6)
    assert variant == pytest.approx(quick, abs=1e-6)
    assert np.abs(quick - plain).max() > 1e-4


def test_a_tag_is_identified_by_its_weights(tags):
    quick, plain = (ClipDiversity(f"tiny:{tag}").identity() for tag in ("quick", "plain"))
    assert quick["sha256"] == plain["sha256"]
    assert (quick["quick_gelu"], plain["quick_gelu"]) == (True, False)


def test_weights_that_cannot_be_fetched_are_said_so(tags, monkeypatch, tmp_path):
    monkeypatch.setitem(tags, "gone", {"file": str(tmp_path / "gone.safetensors")})
    source = Source.of("tiny:gone")
    for use in (source.sha256, lambda: source.load("cpu")):
        with pytest.raises(UserError, match=r"cannot (fetch|load) the CLIP .*tiny:gone"):
            use()


def test_a_model_that_disagrees_with_its_tag_about_the_activation_is_refused(tags):
    with pytest.raises(UserError, match="computes with QuickGELU"):
        Source.of("tiny-quickgelu:plain")


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("ViT-B-23:openai", "open_clip knows no model 'ViT-B-23'.*did you mean 'ViT-B-32'"),
        ("ViT-B-32:openia", "no pretrained tag 'openia'.*did you mean 'openai'"),
        ("nowhere", "there is no CLIP folder nowhere"),
        ("local-dir:nowhere", "nowhere is no open_clip folder"),
    ],
)
def test_unknown_checkpoints_are_refused(checkpoint, message):
    with pytest.raises(UserError, match=message):
        Source.of(checkpoint)


def test_a_pickle_is_not_read(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip.folder, tmp_path / "pickled")
    weights = folder / "open_clip_model.safetensors"
    torch.save(load_file(weights), folder / "open_clip_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(UserError, match="pickled ones are not read"):
        Source.of(str(folder))


def test_a_damaged_checkpoint_is_refused(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip.folder, tmp_path / "broken")
    (folder / "open_clip_model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot load the CLIP encoder"):
        ClipDiversity(folder).check([])


def test_a_folder_without_the_tokenizer_that_it_names_is_refused(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip.folder, tmp_path / "speechless")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "beside this file"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot load the tokenizer"):
        Source.of(str(folder)).tokenizer()
