"""Counts against closed forms that never ask the counter: layer shapes seen by hooks, attention by its formula."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import pytest
import torch
from diffusers import PriorTransformer, UNet2DConditionModel, VQModel
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

from common.errors import UserError
from metrics.flops import FlopTable, count, count_parts, price


@dataclass(frozen=True)
class Piece:
    """A component as a family would describe it."""

    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module], tuple]
    name: str = "piece"
    phase: str = "denoise"
    unit: str = "node_step"
    calls: float = 1


def layer_flops(module: nn.Module, *args, **kwargs) -> int:
    """2 x multiply-adds of every linear layer, convolution and diffusers attention, run for real on the CPU."""
    total = 0

    def linear(layer, inputs, output):
        nonlocal total
        total += 2 * output.numel() * layer.in_features

    def convolution(layer, inputs, output):
        nonlocal total
        total += 2 * output.numel() * layer.in_channels // layer.groups * prod(layer.kernel_size)

    def attention(layer, inputs, keywords, output):
        nonlocal total
        hidden = inputs[0] if inputs else keywords["hidden_states"]
        context = inputs[1] if len(inputs) > 1 else keywords.get("encoder_hidden_states")
        queries = prod(hidden.shape[2:]) if hidden.ndim == 4 else hidden.shape[1]
        own_keys = queries if context is None or layer.added_kv_proj_dim is not None else 0
        keys = own_keys + (0 if context is None else context.shape[1])
        total += 4 * hidden.shape[0] * queries * keys * layer.inner_dim

    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.register_forward_hook(linear)
        elif isinstance(part, nn.Conv2d):
            part.register_forward_hook(convolution)
        elif isinstance(part, Attention):
            part.register_forward_hook(attention, with_kwargs=True)
    with torch.no_grad():
        module.eval()(*args, **kwargs)
    return total


def both(build: Callable[[], nn.Module], inputs: Callable[[], tuple[tuple, dict]]) -> tuple[int, int]:
    """The counter's figure and the layers'."""
    args, kwargs = inputs()
    return count(Piece(build, lambda module: inputs())), layer_flops(build(), *args, **kwargs)


def test_linear():
    assert count(Piece(lambda: nn.Linear(7, 5), lambda module: ((torch.zeros(3, 7),), {}))) == 2 * 3 * 7 * 5


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(groups):
    convolution = Piece(
        lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups),
        lambda module: ((torch.zeros(1, 4, 8, 8),), {}),
    )
    assert count(convolution) == 2 * 6 * 4 * 4 * (4 // groups) * 9


class ScaledDotProduct(nn.Module):
    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(query, key, key)


def test_scaled_dot_product_attention():
    """heads x (queries x keys x width) multiply-adds, once for the scores and once for the values."""
    attention = Piece(ScaledDotProduct, lambda module: ((torch.zeros(1, 2, 5, 8), torch.zeros(1, 2, 7, 8)), {}))
    assert count(attention) == 2 * (2 * 2 * 5 * 7 * 8)


def test_multihead_attention_is_not_lost_in_a_fused_path():
    length, width, hidden = 5, 16, 32
    projections = 2 * length * width * (4 * width)
    feed_forward = 2 * (2 * length * width * hidden)
    layer = Piece(
        lambda: nn.TransformerEncoderLayer(width, 4, dim_feedforward=hidden, batch_first=True),
        lambda module: ((torch.zeros(1, length, width),), {}),
    )
    assert count(layer) == projections + 4 * length * length * width + feed_forward


def test_clip_text_encoder():
    config = CLIPTextConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=11, projection_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    tokens, width, hidden, layers, projection = 11, 16, 24, 3, 8
    layer = 2 * tokens * width * (4 * width + 2 * hidden) + 4 * tokens**2 * width
    encoder = Piece(
        lambda: CLIPTextModelWithProjection(config),
        lambda module: ((torch.zeros(1, tokens, dtype=torch.long),), {}),
    )
    assert count(encoder) == layers * layer + 2 * width * projection


def test_clip_image_encoder():
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        projection_dim=6,
    )  # fmt: skip
    tokens, width, hidden = 17, 16, 24
    layer = 2 * tokens * width * (4 * width + 2 * hidden) + 4 * tokens**2 * width
    patches = 2 * 16 * width * (3 * 8 * 8)
    encoder = Piece(lambda: CLIPVisionModelWithProjection(config), lambda module: ((torch.zeros(1, 3, 32, 32),), {}))
    assert count(encoder) == patches + 2 * layer + 2 * width * 6


def test_prior_transformer():
    def build() -> nn.Module:
        return PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=12, num_embeddings=7
        )

    def inputs() -> tuple[tuple, dict]:
        embedding = torch.zeros(1, 12)
        return (embedding, 1), {"proj_embedding": embedding, "encoder_hidden_states": torch.zeros(1, 7, 12)}

    counted, layers = both(build, inputs)
    width, embedding, tokens = 16, 12, 7 + 4
    time_and_embeddings = 2 * (width * width * 2 + embedding * width * 2 + 7 * embedding * width)
    block = 2 * tokens * (4 * width * width + 2 * width * 4 * width) + 4 * tokens**2 * width
    output = 2 * width * embedding
    assert counted == layers
    assert counted == time_and_embeddings + 2 * block + output


def test_kandinsky_unet_with_a_block_of_each_kind():
    def build() -> nn.Module:
        return UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=8, block_out_channels=(16, 32), layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            attention_head_dim=8, cross_attention_dim=12, norm_num_groups=8, resnet_time_scale_shift="scale_shift",
            addition_embed_type="image", encoder_hid_dim=10, encoder_hid_dim_type="image_proj",
        )  # fmt: skip

    def inputs() -> tuple[tuple, dict]:
        condition = {"image_embeds": torch.zeros(1, 10)}
        return (torch.zeros(1, 4, 8, 8), 1, None), {"added_cond_kwargs": condition}

    counted, layers = both(build, inputs)
    assert counted == layers


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vq = VQModel(
            in_channels=3, out_channels=3, latent_channels=4, vq_embed_dim=4, num_vq_embeddings=16, norm_type="spatial",
            block_out_channels=(32, 64), layers_per_block=1, mid_block_add_attention=True,
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        )  # fmt: skip

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.vq.decode(latents, force_not_quantize=True).sample


def test_movq_decoder():
    counted, layers = both(Decoder, lambda: ((torch.zeros(1, 4, 8, 8),), {}))
    assert counted == layers


# --- a run's price -------------------------------------------------------------------------------------------


def linear(name: str, unit: str, calls: float, width: int) -> Piece:
    return Piece(
        lambda: nn.Linear(width, 1), lambda module: ((torch.zeros(1, width),), {}), name=name, unit=unit, calls=calls
    )


def test_price_is_calls_times_units_and_standard_has_the_rest_in_its_total():
    components = [
        linear("text encoder", "prompt", 1, 10),
        linear("prior", "prompt", 50, 3),
        linear("denoiser", "node_step", 2, 100),
        linear("decoder", "image", 1, 40),
    ]
    ours, standard = (price(components, n_prompts=5, node_steps=steps, n_images=5) for steps in (60, 100))
    assert ours.components == {
        "text encoder": 5 * 20,
        "prior": 5 * 50 * 6,
        "denoiser": 60 * 2 * 200,
        "decoder": 5 * 80,
    }
    assert ours.total == 100 + 1500 + 24_000 + 400
    assert ours.savings(standard) == pytest.approx(1 - 26_000 / 42_000)
    assert ours.savings(standard) < 1 - 60 / 100
    assert standard.savings(standard) == 0


@pytest.mark.parametrize(("unit", "units"), [("prompt", 5), ("node_step", 60), ("image", 7)])
def test_every_call_counts_whatever_a_component_is_counted_by(unit, units):
    assert price([linear("piece", unit, 3, 10)], n_prompts=5, node_steps=60, n_images=7).total == units * 3 * 20


def test_modules_of_the_denoiser_that_were_skipped_are_left_out():
    two = Piece(
        lambda: nn.Sequential(nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 7))),
        lambda module: ((torch.zeros(1, 3),), {}),
        name="denoiser",
        calls=2,
    )
    assert count_parts(two) == {"": 100, "0": 30, "1": 70, "1.0": 70}
    other = Piece(lambda: nn.Sequential(nn.Linear(3, 5)), lambda module: ((torch.zeros(1, 3),), {}), name="text head")
    skipped = {"0": 3, "1": 4}
    ours = price([two, other], n_prompts=1, node_steps=10, n_images=1, skipped=skipped)
    assert ours.components == {"denoiser": 2 * (10 * 100 - 3 * 30 - 4 * 70), "text head": 10 * 30}


def test_components_of_one_name_are_summed():
    twice = [linear("prior", "prompt", 1, 10), linear("prior", "prompt", 3, 10)]
    assert price(twice, n_prompts=2, node_steps=0, n_images=0) == FlopTable({"prior": 2 * 4 * 20})


def test_full_size_layers_need_no_memory():
    huge = Piece(lambda: nn.Linear(10**6, 10**6), lambda module: ((torch.zeros(1, 10**6),), {}))
    assert count(huge) == 2 * 10**12


def test_what_counts_as_nothing_is_an_error_that_names_the_component():
    with pytest.raises(UserError, match="component 'activation' counts as zero"):
        count(Piece(nn.ReLU, lambda module: ((torch.zeros(1, 3),), {}), name="activation"))


class LooksAtValues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x if x.any() else x


def test_what_cannot_run_without_values_is_an_error_that_names_the_component():
    with pytest.raises(UserError, match="component 'curious' cannot be counted"):
        count(Piece(LooksAtValues, lambda module: ((torch.zeros(3, 3),), {}), name="curious"))
