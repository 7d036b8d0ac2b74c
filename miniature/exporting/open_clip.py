"""The contrastive encoders as an open_clip checkpoint, whose weights are those of Kandinsky's prior."""

import json
from pathlib import Path

from transformers import CLIPModel

from metrics.clip_towers import BORROWED, TOWERS
from miniature.pictures import SIDE
from miniature.training.tokenizer import CONTEXT


def open_clip_config(clip: CLIPModel) -> dict[str, object]:
    text, vision = clip.config.text_config, clip.config.vision_config
    return {
        "model_cfg": {
            "embed_dim": clip.config.projection_dim,
            "vision_cfg": {
                "image_size": SIDE,
                "patch_size": vision.patch_size,
                "width": vision.hidden_size,
                "layers": vision.num_hidden_layers,
                "head_width": vision.hidden_size // vision.num_attention_heads,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": text.vocab_size,
                "width": text.hidden_size,
                "heads": text.num_attention_heads,
                "layers": text.num_hidden_layers,
                "hf_tokenizer_name": "tokenizer beside this file",
            },
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


def save_open_clip(clip: CLIPModel, folder: Path, towers: str) -> None:
    """Write the encoders without their weights: those are in the pipeline's folder `towers`, seen from `folder`."""
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(open_clip_config(clip), indent=1))
    places = {part: f"{towers}/{part}" for part in BORROWED}
    scale = float(clip.logit_scale.detach().half())
    (folder / TOWERS).write_text(json.dumps({**places, "logit_scale": scale}, indent=1) + "\n")
