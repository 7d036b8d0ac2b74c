"""A Stable unCLIP pipeline with few, random weights: every module of the real one, small."""

import json
import shutil
from pathlib import Path

import tiny_stable_diffusion as stable
import torch
from diffusers import DDIMScheduler, DDPMScheduler, PriorTransformer, StableUnCLIPPipeline
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from tiny_parts import TOKENS, WIDTH, clip_tokenizer
from transformers import CLIPTextModelWithProjection

# As in Karlo's checkpoint, which does not name its noise schedule.
PRIOR_SCHEDULER = {
    "clip_sample": True,
    "clip_sample_range": 5.0,
    "num_train_timesteps": 1000,
    "prediction_type": "sample",
    "variance_type": "fixed_small_log",
}


def save_tiny_stable_unclip(folder: Path) -> Path:
    """Writes a pipeline with a prior to `folder`."""
    torch.manual_seed(0)
    width, tokenizer = WIDTH, clip_tokenizer()
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, num_layers=1, embedding_dim=width, num_embeddings=TOKENS
    )
    prior.clip_mean.data.normal_()
    prior.clip_std.data.uniform_(0.5, 1.5)
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=width)
    normalizer.mean.data.normal_()
    normalizer.std.data.uniform_(0.5, 1.5)
    StableUnCLIPPipeline(
        prior_tokenizer=tokenizer,
        prior_text_encoder=stable.tiny_text_encoder(tokenizer, CLIPTextModelWithProjection),
        prior=prior.eval(),
        prior_scheduler=DDPMScheduler(**PRIOR_SCHEDULER, beta_schedule="squaredcos_cap_v2"),
        image_normalizer=normalizer.eval(),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizer,
        text_encoder=stable.tiny_text_encoder(tokenizer),
        unet=stable.tiny_unet(class_embed_type="projection", projection_class_embeddings_input_dim=2 * width),
        scheduler=DDIMScheduler(**stable.SD_SCHEDULE, clip_sample=False, prediction_type="v_prediction"),
        vae=stable.tiny_vae(),
    ).save_pretrained(folder)
    return folder


def as_published(complete: Path, folder: Path) -> tuple[Path, Path]:
    """The same in two checkpoints as on the hub: one without a prior, and Karlo's with one.

    The components that Stable unCLIP does not use are listed and not there.
    """
    without_prior, karlo = folder / "unclip", folder / "karlo"
    renamed = {"prior": "prior", "prior_text_encoder": "text_encoder", "prior_tokenizer": "tokenizer"}
    shutil.copytree(complete, without_prior)
    for ours, theirs in renamed.items():
        shutil.move(without_prior / ours, karlo / theirs)
    shutil.move(without_prior / "prior_scheduler", karlo / "prior_scheduler")
    scheduler = {"_class_name": "UnCLIPScheduler", **PRIOR_SCHEDULER}
    (karlo / "prior_scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))

    index = json.loads((complete / "model_index.json").read_text())
    moved = {theirs: index.pop(ours) for ours, theirs in renamed.items()}
    del index["prior_scheduler"]
    unused = {
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    }
    index |= {"_class_name": "StableUnCLIPImg2ImgPipeline", **unused}
    (without_prior / "model_index.json").write_text(json.dumps(index))
    moved["_class_name"] = "UnCLIPPipeline"
    moved |= {"decoder": ["diffusers", "UNet2DConditionModel"], "text_proj": ["unclip", "UnCLIPTextProjModel"]}
    moved |= {name: ["diffusers", "UNet2DModel"] for name in ("super_res_first", "super_res_last")}
    schedulers = ("prior_scheduler", "decoder_scheduler", "super_res_scheduler")
    moved |= {name: ["diffusers", "UnCLIPScheduler"] for name in schedulers}
    (karlo / "model_index.json").write_text(json.dumps(moved))
    return without_prior, karlo
