"""Random-weight scorers, small: a transformers BLIP that answers questions and an open_clip encoder."""

import json
import string
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from transformers import BertTokenizer, BlipConfig, BlipForQuestionAnswering, BlipImageProcessor, BlipProcessor

SIDE = 32
CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1},
}
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "yes", "no")


def save_tiny_vqa(folder: Path) -> Path:
    """A `BlipForQuestionAnswering` that knows letters."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters)]
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "vocab_size": len(words), "encoder_hidden_size": 32, "max_position_embeddings": 300, "pad_token_id": 0,
        "bos_token_id": words.index("[DEC]"), "sep_token_id": 3, "eos_token_id": 3,
    }  # fmt: skip
    model = BlipForQuestionAnswering(
        BlipConfig(text_config=width | text, vision_config=width | {"image_size": SIDE, "patch_size": 16})
    )
    _randomise(model)
    model.save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer).save_pretrained(folder)
    return folder


def save_tiny_clip(folder: Path) -> Path:
    """An open_clip model folder."""
    model = open_clip.CLIP(**CLIP)
    _randomise(model)
    folder.mkdir(parents=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": preprocess}))
    return folder


def _randomise(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
