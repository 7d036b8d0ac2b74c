"""One step of each recipe on a handful of pictures: what it leaves is what the export reads, and has moved."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from miniature.training.data import Pictures, pool_scenes
from miniature.training.loop import fit

COUNT = 8
PARTS = {
    "stable_diffusion": ["stable-diffusion"],
    "flux": ["flux/transformer", "flux/text_encoder_2"],
    "z_image": ["z-image/transformer", "z-image/text_encoder"],
    "karlo": ["karlo/decoder", "karlo/text_proj"],
    "super_resolution": ["karlo/super_res_first", "karlo/super_res_last"],
}

# the pipeline takes a language model's states before its last layer
UNHEARD = {"z_image": ("text_encoder.layers.3.", "text_encoder.norm.")}


@pytest.fixture
def fresh(work: Path, tmp_path: Path) -> Path:
    """A work folder in which the encoders are trained and the denoisers are not."""
    rng = np.random.default_rng(0)
    for name in ("clip", "tokenizer", "t5-tokenizer", "chat-tokenizer"):
        (tmp_path / name).symlink_to(work / name)
    np.save(tmp_path / "latents.npy", rng.normal(size=(COUNT, 12, 8, 8)).astype(np.float16))
    np.save(tmp_path / "embeddings.npy", rng.normal(size=(COUNT, 192)).astype(np.float32))
    return tmp_path


def weights(folder: Path) -> dict:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("name", PARTS)
def test_a_step_moves_every_weight(name: str, fresh: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, rng, unmoved = import_module(f"miniature.training.{name}"), np.random.default_rng(1), set()
    pictures = Pictures(rng.integers(256, size=(COUNT, 64, 64, 3), dtype=np.uint8), pool_scenes(COUNT, 0))

    def watched(fitted: str, model: nn.Module, *rest: Any) -> None:
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        fit(fitted, model, *rest)
        unmoved.update(key for key, value in model.named_parameters() if torch.equal(value, before[key]))

    monkeypatch.setattr(part, "fit", watched)
    monkeypatch.setattr(part, "training_pictures", lambda _: pictures)
    monkeypatch.setattr(part, "pool", lambda *_: (pictures.pixels[:2], None), raising=False)
    monkeypatch.setattr(part, "UNCONDITIONAL", 0.5, raising=False)
    for recipe in ("RECIPE", "LAST"):
        if hasattr(part, recipe):
            monkeypatch.setattr(part, recipe, replace(getattr(part, recipe), batch=4))
    part.train(fresh, steps=1)
    assert unmoved == {key for key in unmoved if key.startswith(UNHEARD.get(name, ()))}
    for folder in PARTS[name]:
        trained, untrained = weights(fresh / folder), weights(work / folder)
        assert {key: value.shape for key, value in trained.items()} == {k: v.shape for k, v in untrained.items()}
        assert all(value.isfinite().all() for value in trained.values())
    if name == "karlo":
        last = weights(fresh / "karlo/decoder")["conv_out.weight"]
        assert last[:3].any()
        assert not last[3:].any(), "the variance stays the geometric mean of its bounds"
