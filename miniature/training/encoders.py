"""The contrastive text and image encoders, in the format of CLIP: for the prior, for the decoder, for diversity.

Beside the captions, what is in a picture is taught by its labels through linear heads that are dropped afterwards: a
contrastive loss alone tells backgrounds apart long before it tells drawing styles.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from miniature.pictures import SIDE, pool
from miniature.training.data import Pictures, any_caption, training_pictures
from miniature.training.labels import LabelHeads
from miniature.training.loop import Recipe, fit, pick_device, write_report
from miniature.training.tokenizer import CONTEXT, train_tokenizer
from miniature.world import caption

WIDTH = 192
RECIPE = Recipe(steps=2_400, batch=64, learning_rate=4e-3, weight_decay=0.02, ema=0.998)
# pictures are shown to CLIP as (x - 0.5) / 0.5
PROCESSOR = CLIPImageProcessor(
    size={"shortest_edge": SIDE}, crop_size=SIDE, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_convert_rgb=True
)


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    heads = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": WIDTH // 64,
        "hidden_act": "gelu",
    }
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        num_hidden_layers=3,
        projection_dim=WIDTH,
        **heads,
        **ends,
    )
    vision = CLIPVisionConfig(image_size=SIDE, patch_size=8, num_hidden_layers=6, projection_dim=WIDTH, **heads)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)
    # on CPU the fused attention's backward pass takes longer than all else together
    return CLIPModel._from_config(config, attn_implementation="eager" if pick_device() == "cpu" else "sdpa")


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    return tokenizer(captions, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids


class Batches:
    """Half of a batch is random; the other half are fours that differ in one thing: background, style or object."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self.single = np.array([scene.relation is None for scene in pictures.scenes])
        self.where: dict[tuple[str, tuple[int, int]], list[int]] = {}
        columns = np.stack([pictures.what, pictures.style, pictures.background])
        self.axes = {"background": (0, 1), "style": (0, 2), "object": (1, 2)}
        for axis, (a, b) in self.axes.items():
            for i in np.flatnonzero(self.single):
                self.where.setdefault((axis, (int(columns[a, i]), int(columns[b, i]))), []).append(int(i))
        self.columns = columns

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        rows = list(rng.integers(len(self.pictures), size=size // 2))
        singles = np.flatnonzero(self.single)
        while len(rows) < size:
            base = int(singles[rng.integers(len(singles))])
            rows.append(base)
            for axis, (a, b) in self.axes.items():
                near = self.where[axis, (int(self.columns[a, base]), int(self.columns[b, base]))]
                rows.append(near[rng.integers(len(near))])
        return np.array(rows[:size])


def true_of(pictures: Pictures, rows: np.ndarray, style: np.ndarray, background: np.ndarray) -> Tensor:
    """Return a mask of the captions (columns) that are true of pictures (rows): bool [n, n]."""
    what, styles, backgrounds = pictures.what[rows], pictures.style[rows], pictures.background[rows]
    true = what[:, None] == what[None, :]
    true &= (styles[:, None] == styles[None, :]) | ~style[None, :]
    true &= (backgrounds[:, None] == backgrounds[None, :]) | ~background[None, :]
    return torch.from_numpy(true)


def contrastive_loss(similarity: Tensor, true: Tensor) -> Tensor:
    """Return CLIP's symmetric cross-entropy, its mass shared by all true pairs; similarity [pictures, captions]."""
    target = true.float()
    by_picture = -(target / target.sum(1, keepdim=True) * F.log_softmax(similarity, 1)).sum(1)
    by_caption = -(target / target.sum(0, keepdim=True) * F.log_softmax(similarity, 0)).sum(0)
    return (by_picture.mean() + by_caption.mean()) / 2


class Learner(nn.Module):
    """CLIP, and linear heads on its image embedding while it learns."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip, self.heads = clip, LabelHeads(WIDTH)


@torch.no_grad()
def embed_pictures(model: CLIPModel, pixels: Tensor) -> Tensor:
    """Return image embeddings [n, 192], float32 on CPU, not normalised, of pictures in [-1, 1]."""
    vision = model.vision_model
    project = model.visual_projection
    device = project.weight.device
    return torch.cat(
        [project(vision(pixel_values=part.to(device)).pooler_output).float().cpu() for part in pixels.split(256)]
    )


@torch.no_grad()
def embed_texts(model: CLIPModel, ids: Tensor) -> Tensor:
    """Return text embeddings [n, 192], float32 on CPU, not normalised."""
    device = model.text_projection.weight.device
    return torch.cat(
        [
            model.text_projection(model.text_model(part.to(device)).pooler_output).float().cpu()
            for part in ids.split(256)
        ]
    )


@torch.no_grad()
def scale_embeddings(model: CLIPModel, pictures: Pictures) -> None:
    """Scale both projections so that an image embedding's parts vary by 1: cosines stay, the decoder is fed well."""
    rows = np.random.default_rng(2).choice(len(pictures), 2048, replace=False)
    spread = embed_pictures(model, pictures.tensor(rows)).std(0).square().mean().sqrt()
    model.visual_projection.weight.div_(spread.to(model.visual_projection.weight))
    model.text_projection.weight.div_(spread.to(model.text_projection.weight))


def retrieval(model: CLIPModel, tokenizer: CLIPTokenizer, work: Path, count: int = 100, rounds: int = 10) -> float:
    """Return the share of full captions whose picture is the nearest of `count` fresh ones of different captions."""
    right = 0
    for seed in range(rounds):
        pixels, scenes = pool(2 * count, 10_000 + seed, work)
        told: dict[str, int] = {}
        for i, scene in enumerate(scenes):
            told.setdefault(caption(scene.canonical()), i)
        captions, rows = zip(*list(told.items())[:count], strict=True)
        images = F.normalize(
            embed_pictures(model, torch.from_numpy(pixels[list(rows)]).permute(0, 3, 1, 2).float() / 127.5 - 1)
        )
        texts = F.normalize(embed_texts(model, tokens(tokenizer, list(captions))))
        right += int(((texts @ images.T).argmax(1) == torch.arange(count)).sum())
    return right / (rounds * count)


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    pictures = training_pictures(work)
    tokenizer = train_tokenizer(work)
    torch.manual_seed(recipe.seed)
    model, device, batches = build(tokenizer), pick_device(), Batches(pictures)
    learner, labels = Learner(model), LabelHeads.labels(pictures.scenes)

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = batches.draw(rng, recipe.batch)
        captions, style, background = zip(*(any_caption(pictures.scenes[i], rng) for i in rows), strict=True)
        real = pictures.tensor(rows).to(device)
        out = model(
            input_ids=tokens(tokenizer, list(captions)).to(device), pixel_values=real + 0.03 * torch.randn_like(real)
        )
        true = true_of(pictures, rows, np.array(style), np.array(background)).to(device)
        hit = float(true.gather(0, out.logits_per_image.argmax(0, keepdim=True)).float().mean())
        model.logit_scale.data.clamp_(max=4.6)
        pooled = model.visual_projection(out.vision_model_output.pooler_output)
        by_label, figures = learner.heads.loss(pooled, labels[rows].to(device))
        return contrastive_loss(out.logits_per_image.float(), true) + by_label, {"hit": hit, **figures}

    fit("encoders", learner, loss_of, recipe, work)
    scale_embeddings(model, pictures)
    model.save_pretrained(work / "clip", safe_serialization=True)
    figure = retrieval(model, tokenizer, work)
    print(f"encoders  the right picture among 100: {100 * figure:.1f}%")
    write_report(work, "encoders", retrieval_top1=figure)
