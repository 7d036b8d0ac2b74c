"""The components of small pipelines whose text a language model reads."""

from typing import Any

import diffusers
import transformers
from tiny_parts import LANGUAGE, VOCABULARY, WIDTH, begun, flow, gemma2, letters, qwen3, qwen25_vl, t5, vae, vae_qwen


def qwen_image() -> dict[str, Any]:
    return {
        "transformer": diffusers.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ),
        "vae": vae_qwen(),
        "scheduler": flow(use_dynamic_shifting=True, shift=1.0),
        "text_encoder": qwen25_vl(),
        "tokenizer": letters(),
    }


def z_image() -> dict[str, Any]:
    return {
        "transformer": diffusers.ZImageTransformer2DModel(
            all_patch_size=(2,),
            all_f_patch_size=(1,),
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 4, 4],
            axes_lens=[1024, 32, 32],
        ),
        "vae": vae(),
        "scheduler": flow(shift=3.0),
        "text_encoder": qwen3(transformers.Qwen3Model),
        "tokenizer": letters(),
    }


def flux2_parts(**transformer: Any) -> dict[str, Any]:
    return {
        "transformer": diffusers.Flux2Transformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=32,
            axes_dims_rope=[4, 4, 4, 4],
            **transformer,
        ),
        "vae": diffusers.AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(16, 32),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "scheduler": flow(use_dynamic_shifting=True, shift=3.0),
    }


def flux2() -> dict[str, Any]:
    config = transformers.Mistral3Config(
        text_config={
            **LANGUAGE,
            "model_type": "mistral",
            "head_dim": 8,
            "num_hidden_layers": 31,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 1024,
            "sliding_window": None,
        },
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "image_size": 30,
            "patch_size": 6,
        },
        image_token_index=270,
    )
    encoder = transformers.Mistral3ForConditionalGeneration(config)
    return {**flux2_parts(), "text_encoder": encoder, "tokenizer": letters()}


def flux2_klein() -> dict[str, Any]:
    config = transformers.Qwen3Config(
        **LANGUAGE, num_hidden_layers=28, head_dim=8, vocab_size=VOCABULARY, max_position_embeddings=512
    )
    encoder = transformers.Qwen3ForCausalLM(config)
    return {**flux2_parts(guidance_embeds=False), "text_encoder": encoder, "tokenizer": letters()}


def lumina2() -> dict[str, Any]:
    return {
        "transformer": diffusers.Lumina2Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            hidden_size=16,
            num_layers=2,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=[4, 2, 2],
            axes_lens=[300, 32, 32],
            cap_feat_dim=16,
        ),
        "vae": vae((16, 16, 16, 16), use_quant_conv=False, use_post_quant_conv=False),
        "scheduler": flow(shift=6.0),
        "text_encoder": gemma2(),
        "tokenizer": letters(),
    }


def cogview4() -> dict[str, Any]:
    config = transformers.GlmConfig(
        **{**LANGUAGE, "hidden_size": 32}, head_dim=8, num_hidden_layers=2, vocab_size=VOCABULARY, pad_token_id=256
    )
    return {
        "transformer": diffusers.CogView4Transformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            out_channels=4,
            text_embed_dim=32,
            time_embed_dim=8,
            condition_dim=4,
            sample_size=8,
        ),
        "vae": vae(),
        "scheduler": flow(
            base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
        ),
        "text_encoder": transformers.GlmModel(config),
        "tokenizer": begun(letters(padding_side="left")),
    }


def hunyuan_image() -> dict[str, Any]:
    glyphs = transformers.ByT5Tokenizer()
    return {
        "transformer": diffusers.HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=(1, 1),
            guidance_embeds=False,
            text_embed_dim=16,
            text_embed_2_dim=WIDTH,
            rope_axes_dim=(4, 4),
        ),
        "vae": diffusers.AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            spatial_compression_ratio=2,
            sample_size=16,
            scaling_factor=0.476986,
        ),
        "scheduler": flow(shift=5.0),
        "text_encoder": qwen25_vl(),
        "tokenizer": letters(),
        "text_encoder_2": t5(glyphs),
        "tokenizer_2": glyphs,
        "guider": guider(start=2),
        "ocr_guider": guider(start=1),
    }


def guider(start: int, momentum: float | None = None) -> Any:
    return diffusers.guiders.AdaptiveProjectedMixGuidance(
        adaptive_projected_guidance_start_step=start, adaptive_projected_guidance_momentum=momentum
    )


def krea2() -> dict[str, Any]:
    config = transformers.Qwen3VLConfig(
        text_config={**LANGUAGE, "num_hidden_layers": 2, "head_dim": 8, "vocab_size": VOCABULARY},
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
        image_token_id=270,
        video_token_id=271,
        vision_start_token_id=272,
        vision_end_token_id=273,
    )
    return {
        "transformer": diffusers.Krea2Transformer2DModel(
            in_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=32,
            timestep_embed_dim=8,
            text_hidden_dim=16,
            num_text_layers=3,
            text_num_attention_heads=2,
            text_num_key_value_heads=1,
            text_intermediate_size=16,
            num_layerwise_text_blocks=1,
            num_refiner_text_blocks=1,
            axes_dims_rope=(4, 2, 2),
            rope_theta=1000.0,
        ),
        "vae": vae_qwen(),
        "scheduler": flow(use_dynamic_shifting=True, max_image_seq_len=6400),
        "text_encoder": transformers.Qwen3VLModel(config),
        "tokenizer": letters(),
        "text_encoder_select_layers": (0, 1, 2),
    }


def prx() -> dict[str, Any]:
    from transformers.models.t5gemma.configuration_t5gemma import T5GemmaModuleConfig
    from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

    own = {**LANGUAGE, "num_key_value_heads": 1, "num_hidden_layers": 1, "head_dim": 8, "vocab_size": VOCABULARY}
    encoder = T5GemmaModuleConfig(**own, layer_types=["full_attention"], max_position_embeddings=64)
    config = transformers.T5GemmaConfig(encoder=encoder, is_encoder_decoder=False, **own)
    return {
        "transformer": diffusers.PRXTransformer2DModel(
            patch_size=1,
            in_channels=4,
            context_in_dim=16,
            hidden_size=16,
            mlp_ratio=2.0,
            num_heads=2,
            depth=1,
            axes_dim=[4, 4],
        ),
        "vae": vae(),
        "scheduler": flow(shift=3.0),
        "text_encoder": T5GemmaEncoder(config.encoder),
        "tokenizer": letters(model_max_length=64),
    }
