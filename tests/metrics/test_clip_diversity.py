"""CLIP diversity on a tiny random open_clip model, against the same weights called by hand."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from common.errors import UserError
from metrics.clip_diversity import ClipDiversity, Source

MODEL = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1},
}
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": preprocess}))
    return folder


def direct(folder: Path, paths: list[Path], **model: object) -> np.ndarray:
    """Normalised features of pictures that need no resizing, one at a time, preprocessed by hand."""
    encoder = open_clip.CLIP(**MODEL | model).eval()
    encoder.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    rows = []
    for path in paths:
        pixels = (np.asarray(Image.open(path), dtype=np.float32) / 255 - MEAN) / STD
        with torch.no_grad():
            row = encoder.visual(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None])[0].double().numpy()
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


def mean_over_pairs(rows: np.ndarray) -> float:
    return float(np.mean([a @ b for a, b in combinations(rows, 2)]))


def test_features_are_the_encoders_with_its_own_preprocessing(checkpoint, pictures):
    features = ClipDiversity(checkpoint).measure(pictures, [""] * 9)["clip"]
    assert features.dtype == np.float32
    assert features.shape == (9, 12)
    assert features == pytest.approx(direct(checkpoint, pictures), abs=1e-6)


def test_figures_equal_an_independent_computation(checkpoint, pictures):
    metric = ClipDiversity(f"local-dir:{checkpoint}", batch_size=2)
    standard, ours = (metric.measure(part, [""] * 4) for part in (pictures[:4], pictures[4:8]))
    figures = metric.compare(standard, ours, np.zeros(4, dtype=bool))
    of_standard, of_ours = (mean_over_pairs(direct(checkpoint, part)) for part in (pictures[:4], pictures[4:8]))
    assert list(figures) == list(ClipDiversity.figures)
    assert figures["clip_similarity"].value == pytest.approx(of_ours, abs=1e-6)
    assert figures["clip_similarity_standard"].value == pytest.approx(of_standard, abs=1e-6)
    assert figures["clip_similarity_difference"].value == pytest.approx(of_standard - of_ours, abs=1e-6)


def test_features_do_not_depend_on_the_batch(checkpoint, pictures):
    alone, together = (
        ClipDiversity(checkpoint, batch_size=size).measure(pictures, [""] * 9)["clip"] for size in (1, 9)
    )
    assert alone == pytest.approx(together, abs=1e-6)


def test_100_images_are_compared_unless_all_are_asked_for(checkpoint):
    rng = np.random.default_rng(0)
    columns = [{"clip": rng.normal(0.3, 1, (130, 5))} for _ in range(2)]
    same = np.zeros(130, dtype=bool)
    assert ClipDiversity(checkpoint).compare(*columns, same)["clip_similarity"].n == 100
    for images in ("all", None):
        metric = ClipDiversity(checkpoint, images=images)
        assert metric.compare(*columns, same)["clip_similarity"].n == 130
        assert metric.identity()["images"] == "all"


@pytest.mark.parametrize("images", ["al", 1, 2.5])
def test_a_number_of_images_that_is_none_is_refused(checkpoint, images):
    with pytest.raises(UserError, match=f"cannot compare {images!r} images"):
        ClipDiversity(checkpoint, images=images)


def test_pictures_that_are_the_same_differ_by_nothing(checkpoint, pictures):
    metric = ClipDiversity(checkpoint)
    columns = metric.measure(pictures, [""] * 9)
    again = {"clip": columns["clip"] + np.float32(1e-7)}
    difference = metric.compare(columns, again, np.ones(9, dtype=bool))["clip_similarity_difference"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_one_image_has_no_diversity(checkpoint, pictures):
    columns = ClipDiversity(checkpoint).measure(pictures[:1], [""])
    assert ClipDiversity(checkpoint).compare(columns, columns, np.zeros(1, dtype=bool)) == {}


def test_identity_names_what_decides_a_figure(checkpoint):
    identity = ClipDiversity(checkpoint).identity()
    assert len(identity["sha256"]) == 64
    assert set(identity["packages"]) == {"torch", "open_clip_torch"}
    assert identity["images"] == 100
    json.dumps(identity)


# --- pretrained tags -----------------------------------------------------------------------------------------


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


@pytest.fixture
def tags(checkpoint, tmp_path, monkeypatch) -> dict[str, dict]:
    """The tiny model as one of open_clip's own, with a tag trained with QuickGELU and one trained without."""
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL))
    (tmp_path / "tiny-quickgelu.json").write_text(json.dumps(MODEL | {"quick_gelu": True}))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    open_clip.add_model_config(tmp_path)
    weights = {"file": str(checkpoint / "open_clip_model.safetensors"), "mean": MEAN, "std": STD}
    tags = {"quick": weights | {"quick_gelu": True}, "plain": weights}
    for model in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, model, tags)
    return tags


def test_a_tag_trained_with_quick_gelu_is_computed_with_it(checkpoint, pictures, tags):
    quick, plain, variant = (
        ClipDiversity(name).measure(pictures, [""] * 9)["clip"]
        for name in ("tiny:quick", "tiny:plain", "tiny-quickgelu:quick")
    )
    assert quick == pytest.approx(direct(checkpoint, pictures, quick_gelu=True), abs=1e-6)
    assert plain == pytest.approx(direct(checkpoint, pictures), abs=1e-6)
    assert variant == pytest.approx(quick, abs=1e-6)
    assert np.abs(quick - plain).max() > 1e-4


def test_a_tag_is_identified_by_its_weights(checkpoint, tags):
    quick, plain = (ClipDiversity(f"tiny:{tag}").identity() for tag in ("quick", "plain"))
    assert quick["sha256"] == plain["sha256"]
    assert (quick["quick_gelu"], plain["quick_gelu"]) == (True, False)


def test_weights_that_cannot_be_fetched_are_said_so(tags, monkeypatch, tmp_path):
    monkeypatch.setitem(tags, "gone", {"file": str(tmp_path / "gone.safetensors")})
    for use in (lambda metric: metric.identity(), lambda metric: metric.check([])):
        with pytest.raises(UserError, match=r"cannot (fetch|load) the CLIP .*tiny:gone"):
            use(ClipDiversity("tiny:gone"))


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


def test_a_pickle_is_not_read(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "pickled")
    weights = folder / "open_clip_model.safetensors"
    torch.save(load_file(weights), folder / "open_clip_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(UserError, match="pickled ones are not read"):
        ClipDiversity(folder).check([])


def test_a_damaged_checkpoint_is_refused(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "broken")
    (folder / "open_clip_model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot load the CLIP encoder"):
        ClipDiversity(folder).check([])


def test_a_damaged_picture_is_named(checkpoint, pictures, tmp_path):
    damaged = tmp_path / "00001.png"
    damaged.write_bytes(pictures[1].read_bytes()[:100])
    with pytest.raises(UserError, match=r"00001\.png cannot be read"):
        ClipDiversity(checkpoint).measure([pictures[0], damaged], ["", ""])
