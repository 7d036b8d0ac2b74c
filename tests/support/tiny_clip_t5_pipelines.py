"""The components of small pipelines whose text CLIP, T5 or several encoders read."""

from typing import Any

import diffusers
import transformers
from tiny_parts import (
    LANGUAGE,
    VOCABULARY,
    WIDTH,
    clip,
    clip_tokenizer,
    flow,
    gemma2,
    letters,
    qwen25_vl,
    t5,
    t5_tokenizer,
    vae,
)


def stable_diffusion_xl() -> dict[str, Any]:
    tokenizer = clip_tokenizer()
    return {
        "vae": vae(scaling_factor=0.13025, shift_factor=None, sample_size=16),
        "text_encoder": clip(tokenizer),
        "tokenizer": tokenizer,
        "text_encoder_2": clip(tokenizer, transformers.CLIPTextModelWithProjection),
        "tokenizer_2": tokenizer,
        "unet": diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            cross_attention_dim=2 * WIDTH,
            norm_num_groups=8,
        ),
        "scheduler": diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
    }


def stable_diffusion_3() -> dict[str, Any]:
    tokenizer, tokenizer_3 = clip_tokenizer(), t5_tokenizer()
    return {
        "transformer": diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=4,
            pos_embed_max_size=16,
        ),
        "scheduler": flow(shift=3.0),
        "vae": vae(use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": clip(tokenizer, transformers.CLIPTextModelWithProjection),
        "tokenizer": tokenizer,
        "text_encoder_2": clip(tokenizer, transformers.CLIPTextModelWithProjection),
        "tokenizer_2": tokenizer,
        "text_encoder_3": t5(tokenizer_3, width=2 * WIDTH),
        "tokenizer_3": tokenizer_3,
    }


def sana() -> dict[str, Any]:
    return {
        "transformer": diffusers.SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=16,
            sample_size=32,
        ),
        "vae": diffusers.AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        ),
        "scheduler": flow(shift=3.0),
        "text_encoder": gemma2(),
        "tokenizer": letters(),
    }


def pixart_sigma() -> dict[str, Any]:
    tokenizer = t5_tokenizer()
    return {
        "transformer": diffusers.PixArtTransformer2DModel(
            sample_size=32,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=WIDTH,
            in_channels=4,
            cross_attention_dim=24,
            out_channels=8,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
        ),
        "vae": vae(shift_factor=None, scaling_factor=0.13025),
        "scheduler": diffusers.DPMSolverMultistepScheduler(),
        "text_encoder": t5(tokenizer),
        "tokenizer": tokenizer,
    }


def chroma() -> dict[str, Any]:
    tokenizer = t5_tokenizer()
    return {
        "transformer": diffusers.ChromaTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
            approximator_hidden_dim=32,
            approximator_layers=1,
            approximator_num_channels=16,
        ),
        "vae": vae(use_quant_conv=False, use_post_quant_conv=False),
        "scheduler": flow(use_dynamic_shifting=True),
        "text_encoder": t5(tokenizer),
        "tokenizer": tokenizer,
    }


def hidream() -> dict[str, Any]:
    reader, tokenizer_3 = clip_tokenizer(), t5_tokenizer()
    llama = transformers.LlamaConfig(**LANGUAGE, num_hidden_layers=2, vocab_size=VOCABULARY, pad_token_id=256)
    return {
        "transformer": diffusers.HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=[WIDTH, 16],
            text_emb_dim=2 * WIDTH,
            num_routed_experts=2,
            num_activated_experts=1,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(32, 32),
            llama_layers=(0, 1),
        ),
        "vae": vae(),
        "scheduler": flow(shift=3.0),
        "text_encoder": clip(reader, transformers.CLIPTextModelWithProjection),
        "tokenizer": reader,
        "text_encoder_2": clip(reader, transformers.CLIPTextModelWithProjection),
        "tokenizer_2": reader,
        "text_encoder_3": t5(tokenizer_3),
        "tokenizer_3": tokenizer_3,
        "text_encoder_4": transformers.LlamaForCausalLM(llama),
        "tokenizer_4": letters(),
    }


def aura_flow() -> dict[str, Any]:
    tokenizer = t5_tokenizer()
    return {
        "transformer": diffusers.AuraFlowTransformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=WIDTH,
            out_channels=4,
            pos_embed_max_size=64,
        ),
        "vae": vae(),
        "scheduler": flow(shift=1.73),
        "text_encoder": t5(tokenizer, transformers.UMT5EncoderModel),
        "tokenizer": tokenizer,
    }


def kandinsky5() -> dict[str, Any]:
    reader = clip_tokenizer()
    return {
        "vae": vae((16, 16, 16, 16), shift_factor=None),
        "text_encoder": qwen25_vl(32),
        "tokenizer": letters(),
        "text_encoder_2": clip(reader, width=16),
        "tokenizer_2": reader,
        "transformer": diffusers.Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            in_text_dim=32,
            in_text_dim2=16,
            time_dim=16,
            out_visual_dim=4,
            patch_size=(1, 2, 2),
            model_dim=16,
            ff_dim=32,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(1, 1, 2),
            visual_cond=False,
            attention_type="regular",
        ),
        "scheduler": flow(shift=7.0),
    }


def bria() -> dict[str, Any]:
    tokenizer = t5_tokenizer()
    return {
        "transformer": diffusers.BriaTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=None,
            axes_dims_rope=[0, 4, 4],
        ),
        "vae": vae((16,), shift_factor=0, scaling_factor=0.13025, force_upcast=False),
        "scheduler": flow(),
        "text_encoder": t5(tokenizer),
        "tokenizer": tokenizer,
    }
