"""The autoencoder in the class that Stable Diffusion, FLUX and Z-Image use."""

import torch
from diffusers import AutoencoderKL, VQModel

# of the log-variance: as little as AutoencoderKL knows, a standard deviation of 3e-7
CERTAIN = -30.0
SHARED = (
    "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels", "layers_per_block",
    "act_fn", "latent_channels", "norm_num_groups", "mid_block_add_attention",
)  # fmt: skip


@torch.no_grad()
def as_autoencoder_kl(vq: VQModel, side: int) -> AutoencoderKL:
    """Return the same autoencoder: a latent's mean is the `VQModel`'s unquantised latent, its variance almost 0.

    Latents have unit variance already, so that they are neither scaled nor shifted.

    Args:
        vq: without spatial norms, which `AutoencoderKL` does not have.
        side: of the pictures it was trained on, in pixels.
    """
    channels = vq.config.latent_channels
    kl = AutoencoderKL(
        **{name: vq.config[name] for name in SHARED},
        sample_size=side,
        scaling_factor=1.0,
        shift_factor=0.0,
        force_upcast=False,
    )
    state = vq.state_dict()
    del state["quantize.embedding.weight"]
    last, first = kl.encoder.conv_out, kl.quant_conv
    for layer in (last, first):
        layer.weight.zero_()
        layer.bias.zero_()
    last.weight[:channels], last.bias[:channels] = state["encoder.conv_out.weight"], state["encoder.conv_out.bias"]
    first.weight[:channels, :channels], first.bias[:channels] = state["quant_conv.weight"], state["quant_conv.bias"]
    first.bias[channels:] = CERTAIN
    widened = {f"{name}.{kind}" for name in ("encoder.conv_out", "quant_conv") for kind in ("weight", "bias")}
    kl.load_state_dict(kl.state_dict() | {key: value for key, value in state.items() if key not in widened})
    return kl.eval()
