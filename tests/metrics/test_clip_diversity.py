"""CLIP diversity on a tiny random open_clip model, against the same weights called by hand."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from generators.model_entry import locate
from metrics.clip_diversity import ClipDiversity
from metrics.images import copied
from metrics.vendi import vendi

SIMILARITY = ("clip_similarity", "clip_similarity_standard", "clip_similarity_difference")


def mean_over_pairs(rows: np.ndarray) -> float:
    return float(np.mean([a @ b for a, b in combinations(rows, 2)]))


def test_features_are_the_encoders_with_its_own_preprocessing(tiny_clip, pictures):
    features = ClipDiversity(tiny_clip.folder).measure(pictures, [""] * 9)["clip"]
    assert features.dtype == np.float32
    assert features.shape == (9, 12)
    assert features == pytest.approx(tiny_clip.embeddings(pictures), abs=1e-6)


def test_figures_equal_an_independent_computation(tiny_clip, pictures):
    metric = ClipDiversity(f"local-dir:{tiny_clip.folder}", batch_size=2)
    standard, ours = (metric.measure(part, [""] * 4) for part in (pictures[:4], pictures[4:8]))
    figures = metric.compare(standard, ours, np.zeros(4, dtype=bool))
    of_standard, of_ours = (mean_over_pairs(tiny_clip.embeddings(part)) for part in (pictures[:4], pictures[4:8]))
    of_prompts = [name for name in ClipDiversity.results if "conditional" in name]
    assert list(figures) == [name for name in ClipDiversity.results if name not in of_prompts], "it has no tokenizer"
    assert figures["clip_similarity"].value == pytest.approx(of_ours, abs=1e-6)
    assert figures["clip_similarity_standard"].value == pytest.approx(of_standard, abs=1e-6)
    assert figures["clip_similarity_difference"].value == pytest.approx(of_standard - of_ours, abs=1e-6)


def test_features_do_not_depend_on_the_batch(tiny_clip, pictures):
    alone, together = (
        ClipDiversity(tiny_clip.folder, batch_size=size).measure(pictures, [""] * 9)["clip"] for size in (1, 9)
    )
    assert alone == pytest.approx(together, abs=1e-6)


def test_100_images_are_compared_unless_all_are_asked_for(tiny_clip):
    rng = np.random.default_rng(0)
    columns = [{"clip": rng.normal(0.3, 1, (130, 5))} for _ in range(2)]
    same = np.zeros(130, dtype=bool)
    drawn = ClipDiversity(tiny_clip.folder).compare(*columns, same)
    assert {drawn[name].n for name in SIMILARITY} == {100}
    assert drawn == ClipDiversity(tiny_clip.folder).compare(*columns, same), "the same 100 every time"
    for images in ("all", None):
        metric = ClipDiversity(tiny_clip.folder, images=images)
        assert metric.compare(*columns, same)["clip_similarity"].n == 130
        assert metric.identity()["images"] == "all"


@pytest.mark.parametrize("images", ["al", 1, 2.5])
def test_a_number_of_images_that_is_none_is_refused(tiny_clip, images):
    with pytest.raises(UserError, match=f"clip_diversity cannot compare {images!r} images"):
        ClipDiversity(tiny_clip.folder, images=images)


def test_pictures_that_are_the_same_differ_by_nothing(tiny_clip, pictures):
    metric = ClipDiversity(tiny_clip.folder)
    columns = metric.measure(pictures, [""] * 9)
    again = {"clip": columns["clip"] + np.float32(1e-7)}
    difference = metric.compare(columns, again, np.ones(9, dtype=bool))["clip_similarity_difference"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_one_image_has_no_diversity(tiny_clip, pictures):
    columns = ClipDiversity(tiny_clip.folder).measure(pictures[:1], [""])
    assert ClipDiversity(tiny_clip.folder).compare(columns, columns, np.zeros(1, dtype=bool)) == {}


def test_identity_names_what_decides_a_figure(tiny_clip):
    identity = ClipDiversity(tiny_clip.folder).identity()
    assert len(identity["sha256"]) == 64
    assert set(identity["packages"]) == {"torch", "open_clip_torch"}
    assert identity["images"] == 100
    json.dumps(identity)


def test_a_damaged_picture_is_named(tiny_clip, pictures, tmp_path):
    damaged = tmp_path / "00001.png"
    damaged.write_bytes(pictures[1].read_bytes()[:100])
    with pytest.raises(UserError, match=r"00001\.png cannot be read"):
        ClipDiversity(tiny_clip.folder).measure([pictures[0], damaged], ["", ""])


def test_a_copy_that_nobody_tells_from_a_picture_is_a_near_duplicate(tiny_clip, pictures, tmp_path):
    metric = ClipDiversity(tiny_clip.folder)
    copy = tmp_path / "copy.png"
    copied(Image.open(pictures[0])).save(copy)
    baseline, ours = metric.measure(pictures, [""] * 9), metric.measure([*pictures[:8], copy], [""] * 9)
    own, its = tiny_clip.embeddings([pictures[0], copy])
    assert ours["clip_copy"][0] == pytest.approx(own @ its, abs=1e-6)
    figures = metric.compare(baseline, ours, np.zeros(9, dtype=bool))
    assert figures["clip_near_threshold"] == pytest.approx(baseline["clip_copy"].min(), abs=1e-6)
    assert figures["clip_near_duplicates"] - figures["clip_near_duplicates_standard"] == 1


def test_scores_of_a_version_that_knew_no_copies_give_what_they_can(tiny_clip, pictures):
    columns = {"clip": ClipDiversity(tiny_clip.folder).measure(pictures, [""] * 9)["clip"]}
    figures = ClipDiversity(tiny_clip.folder).compare(columns, columns, np.ones(9, dtype=bool))
    assert "clip_vendi" in figures
    assert "clip_near_duplicates" not in figures


def test_a_model_with_its_tokenizer_embeds_prompts_too(pictures):
    prompts = ["a red fox", "a red wolf", "a blue car"] * 3
    metric = ClipDiversity(locate("embedded:clip"), batch_size=4)
    columns = metric.measure(pictures, prompts)
    model, tokenizer = metric.encoder[0], metric.source.tokenizer()
    with torch.no_grad():
        row = model.encode_text(tokenizer(prompts[:1]))[0].double().numpy()
    assert columns["clip_prompt"][3] == pytest.approx(row / np.linalg.norm(row), abs=1e-5)
    figures = metric.compare(columns, columns, np.ones(9, dtype=bool))
    assert list(figures) == list(ClipDiversity.results)
    assert figures["clip_conditional_vendi"] == pytest.approx(vendi(columns["clip"], columns["clip_prompt"]))
    assert figures["clip_vendi"] == pytest.approx(vendi(columns["clip"]))
