"""The prior: a `PriorTransformer` that denoises image embeddings given a caption, as Kandinsky 2.2's does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import KandinskyV22PriorPipeline, PriorTransformer, UnCLIPScheduler
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPModel, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from common.files import atomic_path
from miniature.training.data import Pictures, any_caption, training_pictures
from miniature.training.encoders import PROCESSOR, WIDTH, embed_pictures
from miniature.training.loop import Recipe, fit, pick_device
from miniature.training.tokenizer import CONTEXT, train_tokenizer

RECIPE = Recipe(steps=1_000, batch=128, learning_rate=2e-3, ema=0.995)
UNCAPTIONED = 0.1
EMBEDDED = 48_000


def build() -> PriorTransformer:
    return PriorTransformer(
        num_attention_heads=6,
        attention_head_dim=32,
        num_layers=5,
        embedding_dim=WIDTH,
        num_embeddings=CONTEXT,
        additional_embeddings=4,
    )


def scheduler() -> UnCLIPScheduler:
    """Return Kandinsky 2.2's scheduler: it predicts the embedding itself, within 5 standard deviations."""
    return UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="sample", clip_sample=True, clip_sample_range=5.0
    )


def cached_embeddings(clip: CLIPModel, pictures: Pictures, work: Path) -> Tensor:
    """Return image embeddings of the first `EMBEDDED` training pictures, float32 [n, 192], made once in bfloat16."""
    store = work / "embeddings.npy"
    if not store.exists():
        device = pick_device()
        clip.to(device)
        parts = np.array_split(np.arange(EMBEDDED), EMBEDDED // 256)
        with torch.autocast(device, torch.bfloat16):
            found = torch.cat([embed_pictures(clip, pictures.tensor(part)) for part in parts])
        with atomic_path(store) as beside, beside.open("wb") as file:
            np.save(file, found.numpy())
    return torch.from_numpy(np.load(store, allow_pickle=False))


def halves(clip: CLIPModel) -> tuple[CLIPTextModelWithProjection, CLIPVisionModelWithProjection]:
    """Return the two encoders as the separate models that pipelines keep."""
    text = CLIPTextModelWithProjection(clip.config.text_config)
    vision = CLIPVisionModelWithProjection(clip.config.vision_config)
    state = clip.state_dict()
    text.load_state_dict({k: v for k, v in state.items() if k.startswith("text_")})
    vision.load_state_dict({k: v for k, v in state.items() if k.startswith("vi")})
    return text.eval(), vision.eval()


def pipeline(work: Path) -> KandinskyV22PriorPipeline:
    """Return the trained prior with its encoders, from the work folder."""
    text, vision = halves(CLIPModel.from_pretrained(work / "clip"))
    return KandinskyV22PriorPipeline(
        prior=PriorTransformer.from_pretrained(work / "prior"),
        image_encoder=vision,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(work / "tokenizer"),
        scheduler=scheduler(),
        image_processor=PROCESSOR,
    )


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures, tokenizer = training_pictures(work), train_tokenizer(work)
    clip = CLIPModel.from_pretrained(work / "clip").eval()
    embeddings = cached_embeddings(clip, pictures, work)
    text, device, noise = halves(clip)[0], pick_device(), scheduler()
    text.to(device)
    torch.manual_seed(recipe.seed)
    model = build()
    if device == "cpu":
        model.set_attn_processor(AttnProcessor())  # the fused attention's backward pass is slow there
    model.clip_mean.data = embeddings.mean(0, keepdim=True)
    model.clip_std.data = embeddings.std(0, keepdim=True)
    model.clip_mean.requires_grad_(False)
    model.clip_std.requires_grad_(False)
    normal = (embeddings - model.clip_mean) / model.clip_std

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(normal), size=recipe.batch)
        told = ["" if rng.random() < UNCAPTIONED else any_caption(pictures.scenes[i], rng)[0] for i in rows]
        batch = tokenizer(told, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").to(
            device
        )
        with torch.no_grad():
            states = text(batch.input_ids)
        real = normal[rows].to(device)
        t = torch.from_numpy(rng.integers(noise.config.num_train_timesteps, size=recipe.batch)).to(device)
        noisy = noise.add_noise(real, torch.randn_like(real), t)
        guess = model(
            noisy, t, states.text_embeds.float(), states.last_hidden_state.float(), batch.attention_mask.bool()
        )
        return F.mse_loss(guess.predicted_image_embedding.float(), real), {}

    fit("prior", model, loss_of, recipe, work)
    model.save_pretrained(work / "prior", safe_serialization=True)
