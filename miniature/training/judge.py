"""The judge: a plain classifier of artwork, used only to audit the generators, never to score or train them."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from miniature.pictures import paint
from miniature.training.damage import blur
from miniature.training.loop import Recipe, fit, pick_device, write_report
from miniature.world import BACKGROUNDS, CONCEPTS, STYLES, Scene, random_scene

RECIPE = Recipe(steps=1_200, batch=64, learning_rate=2e-3, weight_decay=0.05, ema=0.995)
SIZES = (len(CONCEPTS), len(STYLES), len(BACKGROUNDS))


class Judge(nn.Module):
    """Names the concept, the style and the background of a picture of one object."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 48, 96, 160, 224)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.SiLU()] if before > 3 else []
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(4 * widths[-1], sum(SIZES))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return logits of concept, style, background for pictures [n, 3, 64, 64] in [-1, 1]."""
        return self.head(self.body(pictures)).split(SIZES, dim=1)


def labels(scenes: list[Scene]) -> Tensor:
    """Return the numbers of concept, style and background, [n, 3]."""
    concepts, colours = list(CONCEPTS), list(BACKGROUNDS)
    return torch.tensor(
        [[concepts.index(s.concepts[0]), STYLES.index(s.style), colours.index(s.background)] for s in scenes]
    )


def load(path: Path) -> Judge:
    judge = Judge()
    judge.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return judge.eval()


@torch.no_grad()
def name(judge: Judge, pictures: Tensor) -> Tensor:
    """Return the numbers that the judge gives concept, style and background, [n, 3]."""
    return torch.cat([torch.stack([part.argmax(1) for part in judge(some)], 1) for some in pictures.split(256)])


@torch.no_grad()
def log_likelihood(judge: Judge, pictures: Tensor, scenes: list[Scene]) -> NDArray[np.float64]:
    """Return the logarithm of the probability that it gives concept, style and background of each scene, [n]."""
    truth = labels(scenes)
    parts = judge(pictures)
    return sum(-F.cross_entropy(part.double(), truth[:, i], reduction="none") for i, part in enumerate(parts)).numpy()  # type: ignore[union-attr]


def train(work: Path, steps: int | None = None) -> None:
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    torch.manual_seed(recipe.seed)
    model, device = Judge(), pick_device()

    def draw(rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        scenes = [random_scene(rng, two_objects=0, split="all") for _ in range(size)]
        pixels = np.stack([paint(scene, rng, work) for scene in scenes])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1, labels(scenes)

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        shown, truth = draw(rng, recipe.batch)
        # so that a soft picture of a cat is still a cat
        soft = torch.from_numpy(rng.random((recipe.batch, 1, 1, 1)) < 0.5)
        shown = torch.where(soft, blur(shown, 2), shown) + 0.05 * torch.randn_like(shown)
        guesses, truth = model(shown.to(device)), truth.to(device)
        right = float((guesses[0].argmax(1) == truth[:, 0]).float().mean())
        losses = [F.cross_entropy(guess.float(), truth[:, i]) for i, guess in enumerate(guesses)]
        return torch.stack(losses).sum(), {"concept": right}

    fit("judge", model, loss_of, recipe, work)
    model.cpu()
    save_file({key: value.half().contiguous() for key, value in model.state_dict().items()}, work / "judge.safetensors")
    shown, truth = draw(np.random.default_rng(123), 2048)
    right = (name(model, shown) == truth).float().mean(0)
    print(f"judge  on fresh artwork: concept {right[0]:.3f}  style {right[1]:.3f}  background {right[2]:.3f}")
    write_report(work, "judge", concept=float(right[0]), style=float(right[1]), background=float(right[2]))
