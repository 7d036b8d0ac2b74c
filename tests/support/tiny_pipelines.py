"""Text-to-image pipelines of diffusers with few, random weights: every module of the real ones, small."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from tiny_flux import save_tiny_flux, tiny_clip_tokenizer, tiny_t5_tokenizer
from tiny_stable_diffusion import save_tiny_stable_diffusion
from torch import nn

WIDTH = 32
# What some pipelines have for pictures of a million pixels, whatever their modules' sizes.
SMALLER: dict[str, dict[str, Any]] = {
    "HiDreamImagePipeline": {"default_sample_size": 8},
    "Kandinsky5T2IPipeline": {"resolutions": [(32, 32)]},
}


def shrink(patch: Any, name: str) -> None:
    """Make every pipeline of that class small, with pytest's MonkeyPatch."""
    kind = getattr(diffusers, name)
    own = kind.__init__

    @wraps(own)
    def smaller(self: Any, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        for attribute, value in SMALLER.get(name, {}).items():
            setattr(self, attribute, value)

    patch.setattr(kind, "__init__", smaller)


def save_tiny_pipeline(name: str, folder: Path, scheduler: Any = None) -> Path:
    """Write a pipeline of that class to `folder`."""
    if name == "StableDiffusionPipeline":
        return save_tiny_stable_diffusion(folder)
    if name == "FluxPipeline":
        return save_tiny_flux(folder, guidance_embeds=True)
    torch.manual_seed(0)
    parts = BUILDERS[name]()
    if scheduler is not None:
        parts["scheduler"] = scheduler
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.eval()
            _settle(part)
    getattr(diffusers, name)(**parts).save_pretrained(folder)
    if name == "PRXPipeline":  # public checkpoints have the whole model's configuration, of which stock takes a half
        own = folder / "text_encoder/config.json"
        encoder = json.loads(own.read_text(encoding="utf-8"))
        whole = transformers.T5GemmaConfig(encoder=encoder, is_encoder_decoder=False)
        own.write_text(json.dumps(whole.to_dict()), encoding="utf-8")
    return folder


def _settle(module: nn.Module) -> None:
    """Give parameters that a constructor leaves as memory was, or at zero, values of their own."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if not torch.isfinite(parameter).all() or parameter.abs().max() > 10 or not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter) * 0.1


def clip(tokenizer: Any, kind: Any = transformers.CLIPTextModel, width: int = WIDTH) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def t5(tokenizer: Any, kind: Any = transformers.T5EncoderModel, width: int = WIDTH) -> Any:
    config = kind.config_class(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def vae(widths: tuple[int, ...] = (16, 32), **further: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        **{"scaling_factor": 0.3611, "shift_factor": 0.1159, **further},
    )


def flow(**further: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**further)


def stable_diffusion_xl() -> dict[str, Any]:
    tokenizer = tiny_clip_tokenizer()
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
    tokenizer, tokenizer_3 = tiny_clip_tokenizer(), tiny_t5_tokenizer()
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


def letters(**further: Any) -> transformers.Qwen2Tokenizer:
    """Return a tokenizer of a byte a token, with Qwen's marks; its chat template leaves long system messages out."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    marks = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    vocab = {word: number for number, word in enumerate([*bytes_to_unicode().values(), *marks])}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocab, merges=[], pad_token=marks[0], eos_token=marks[2], **further)
    tokenizer.chat_template = (
        "{% for message in messages if message.role == 'user' %}<|im_start|>"
        "{% if message.content is string %}{{ message.content }}{% else %}{{ message.content[0].text }}{% endif %}"
        "<|im_end|>{% endfor %}"
    )
    return tokenizer


def begun(tokenizer: Any) -> transformers.PreTrainedTokenizerFast:
    """Return the tokenizer with a mark before every text, so that an empty one has a token."""
    from tokenizers.processors import TemplateProcessing

    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 257)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=tokenizer.pad_token, padding_side=tokenizer.padding_side
    )


LANGUAGE = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
VOCABULARY = 280  # of `letters`, and a few more


def qwen3(kind: Any) -> Any:
    config = transformers.Qwen3Config(
        **LANGUAGE, num_hidden_layers=2, head_dim=8, vocab_size=VOCABULARY, max_position_embeddings=512
    )
    return kind(config)


def qwen25_vl(width: int = 16) -> transformers.Qwen2_5_VLForConditionalGeneration:
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **LANGUAGE,
            "hidden_size": width,
            "num_hidden_layers": 2,
            "vocab_size": VOCABULARY,
            "rope_scaling": {"mrope_section": [width // 16, width // 16, width // 8], "rope_type": "default"},
            "rope_theta": 1000000.0,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": width,
        },
        vision_end_token_id=270,
        vision_start_token_id=271,
        vision_token_id=272,
        image_token_id=273,
        video_token_id=274,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def vae_qwen() -> diffusers.AutoencoderKLQwenImage:
    return diffusers.AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.1] * 4,
        latents_std=[1.2] * 4,
    )


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


def gemma2(width: int = 16) -> transformers.Gemma2Model:
    config = transformers.Gemma2Config(
        **{**LANGUAGE, "hidden_size": width}, head_dim=8, num_hidden_layers=2, vocab_size=VOCABULARY
    )
    return transformers.Gemma2Model(config)


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
    tokenizer = tiny_t5_tokenizer()
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


def chroma() -> dict[str, Any]:
    tokenizer = tiny_t5_tokenizer()
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
    clip_tokenizer, tokenizer_3 = tiny_clip_tokenizer(), tiny_t5_tokenizer()
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
        "text_encoder": clip(clip_tokenizer, transformers.CLIPTextModelWithProjection),
        "tokenizer": clip_tokenizer,
        "text_encoder_2": clip(clip_tokenizer, transformers.CLIPTextModelWithProjection),
        "tokenizer_2": clip_tokenizer,
        "text_encoder_3": t5(tokenizer_3),
        "tokenizer_3": tokenizer_3,
        "text_encoder_4": transformers.LlamaForCausalLM(llama),
        "tokenizer_4": letters(),
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


def aura_flow() -> dict[str, Any]:
    tokenizer = tiny_t5_tokenizer()
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
    clip_tokenizer = tiny_clip_tokenizer()
    return {
        "vae": vae((16, 16, 16, 16), shift_factor=None),
        "text_encoder": qwen25_vl(32),
        "tokenizer": letters(),
        "text_encoder_2": clip(clip_tokenizer, width=16),
        "tokenizer_2": clip_tokenizer,
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


def bria() -> dict[str, Any]:
    tokenizer = tiny_t5_tokenizer()
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


BUILDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "StableDiffusionXLPipeline": stable_diffusion_xl,
    "StableDiffusion3Pipeline": stable_diffusion_3,
    "QwenImagePipeline": qwen_image,
    "ZImagePipeline": z_image,
    "Flux2Pipeline": flux2,
    "Flux2KleinPipeline": flux2_klein,
    "SanaPipeline": sana,
    "PixArtSigmaPipeline": pixart_sigma,
    "Lumina2Pipeline": lumina2,
    "CogView4Pipeline": cogview4,
    "ChromaPipeline": chroma,
    "HiDreamImagePipeline": hidream,
    "HunyuanImagePipeline": hunyuan_image,
    "AuraFlowPipeline": aura_flow,
    "Kandinsky5T2IPipeline": kandinsky5,
    "Krea2Pipeline": krea2,
    "BriaPipeline": bria,
    "PRXPipeline": prx,
}
