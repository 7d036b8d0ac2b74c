"""Pictures on disk, for scorers to read, and a tiny encoder of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> list[Path]:
    """Nine different 64x64 RGB pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = [folder / f"{index:05d}.png" for index in range(9)]
    for path in paths:
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(path)
    return paths


@dataclass(frozen=True)
class TinyClip:
    """An open_clip folder with random weights: its configuration, and its encoder called by hand."""

    folder: Path
    config: dict[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def weights(self) -> Path:
        return self.folder / "open_clip_model.safetensors"

    def embeddings(self, paths: list[Path], **config: object) -> np.ndarray:
        """Of length 1, of pictures that need no resizing, one at a time, preprocessed by hand."""
        encoder = open_clip.CLIP(**self.config | config).eval()
        encoder.load_state_dict(load_file(self.weights))
        rows = []
        for path in paths:
            pixels = (np.asarray(Image.open(path), dtype=np.float32) / 255 - self.mean) / self.std
            with torch.no_grad():
                row = encoder.visual(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None])[0]
            rows.append(row.double().numpy() / np.linalg.norm(row.double().numpy()))
        return np.array(rows)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> TinyClip:
    config = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1},
    }
    tiny = TinyClip(tmp_path_factory.mktemp("clip"), config, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tiny.weights)
    preprocess = {"mean": tiny.mean, "std": tiny.std, "interpolation": "bicubic", "resize_mode": "shortest"}
    (tiny.folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return tiny
