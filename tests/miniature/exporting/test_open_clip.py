from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from metrics.open_clip_source import Source
from miniature.export import CHECKPOINTS
from miniature.exporting.open_clip import save_open_clip
from miniature.training.prior import halves


@pytest.fixture
def clip() -> CLIPModel:
    torch.manual_seed(0)
    heads = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2, "hidden_act": "gelu"}
    ends = {"vocab_size": 60, "bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 59}
    text = CLIPTextConfig(max_position_embeddings=32, num_hidden_layers=2, projection_dim=128, **heads, **ends)
    vision = CLIPVisionConfig(image_size=64, patch_size=8, num_hidden_layers=2, projection_dim=128, **heads)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=128)).eval()


@torch.no_grad()
def test_open_clip_and_transformers_agree_on_encoders_that_are_stored_once(clip: CLIPModel, tmp_path: Path) -> None:
    prior = tmp_path / "prior"
    for part, half in zip(("text_encoder", "image_encoder"), halves(clip), strict=True):
        half.save_pretrained(prior / part)
    (prior / "tokenizer").symlink_to(CHECKPOINTS / "kandinsky" / "prior" / "tokenizer")
    save_open_clip(clip, tmp_path / "clip", "../prior")
    assert not list((tmp_path / "clip").glob("*.safetensors"))
    model, _ = Source.of(str(tmp_path / "clip")).load("cpu")
    pictures = torch.randn(3, 3, 64, 64)
    ids = torch.randint(0, 58, (3, 32))
    ids[:, 0], ids[0, 5:], ids[1, 9:], ids[2, 31:] = 58, 59, 59, 59
    out = clip(input_ids=ids, pixel_values=pictures)
    torch.testing.assert_close(model.encode_image(pictures, normalize=True), out.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.encode_text(ids, normalize=True), out.text_embeds, atol=1e-5, rtol=1e-5)
    assert model.logit_scale == pytest.approx(float(clip.logit_scale), abs=1e-3)
