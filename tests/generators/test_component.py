import torch
from torch.utils.flop_counter import FlopCounterMode

from generators.component import diffusers_module

# Kandinsky 2.2's UNet, where it differs from UNet2DConditionModel's defaults
KANDINSKY_UNET = {
    "in_channels": 4,
    "out_channels": 8,
    "sample_size": 64,
    "addition_embed_type": "image",
    "encoder_hid_dim_type": "image_proj",
    "encoder_hid_dim": 1280,
    "cross_attention_dim": 768,
    "block_out_channels": [384, 768, 1152, 1536],
    "layers_per_block": 3,
    "attention_head_dim": 64,
    "down_block_types": ["ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3],
    "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "resnet_time_scale_shift": "scale_shift",
}


def test_full_size_model_is_built_and_counted_without_its_weights():
    with torch.device("meta"):
        unet = diffusers_module("UNet2DConditionModel", KANDINSKY_UNET)()
        inputs = torch.zeros(1, 4, 64, 64), torch.zeros(1), None
        embeds = {"image_embeds": torch.zeros(1, 1280)}
    with FlopCounterMode(display=False) as counter:
        unet(*inputs, added_cond_kwargs=embeds)
    assert sum(weight.numel() for weight in unet.parameters()) == 1_253_057_288
    assert counter.get_total_flops() == 856_056_004_608
