"""A last lesson for Stable Diffusion's UNet: to be shared, and to find back to a prompt's own picture after a split.

What is taught follows SAGE (arXiv 2509.15865): a group of similar prompts has a *shared phase*, whose prediction under
the group's mean conditioning is drawn to what its members have in common, and a *branch phase*, in which each goes on
to its own picture from a latent that all have made; beside it, ordinary prompts keep the untuned model's predictions.

Here both phases are met where sampling meets them. A set of captions is clustered and cut as a sweep would (Ward on
cosine distances, equation 7), and the model being trained denoises it by that plan, with the product's scheduler and
guidance. At each latent that it comes by, it is to predict what the untuned model predicts at that step on the way of
the prompt alone, from the same noise; a cluster the mean of what its prompts' own ways predict. So a shared latent
stays in the middle of the ways that lead through it, each prompt finds to its own, and where nobody shares nothing is
to change. No artwork is needed, as the untuned model shows the ways. Asked for the ends of these ways instead, the
pictures, the model forgets its guidance.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, PNDMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from miniature.prompts import SETS as PROMPT_SETS
from miniature.training.autoencoder import LATENT_CHANNELS
from miniature.training.data import any_caption
from miniature.training.loop import Recipe, fit, pick_device
from miniature.training.stable_diffusion import scheduler
from miniature.training.tokenizer import CONTEXT
from miniature.world import BACKGROUNDS, RELATIONS, SCENE_CONCEPTS, STYLES, Scene, caption, drawings, random_scene

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
# AdamW alone: Muon's iterations in bfloat16 take longer than the model on CPUs that have none
RECIPE = Recipe(steps=1200, batch=64, learning_rate=1e-4, weight_decay=0.0, ema=0.9, newton=0, bf16=False)
ORDINARY = 8  # rows of a batch that keep the untuned model's predictions at any noise
UNGUIDED = 16  # rows that keep its unconditional predictions where plans lead: else these follow the conditional ones
UNCAPTIONED = 0.2  # of the ordinary rows without a caption
UPDATES = 8  # batches drawn from the latents of two plans; then the model, as it is by then, denoises two others
SETS, PICTURES = 2, 8  # plans, and pictures at the end of each
GUIDANCE = 3.0  # and the steps below: the catalogue's
STEPS = 20
LEAST_NOISE = 0.1  # of the variance: with less there is nothing left to decide
SET = 60  # captions that are clustered together
RUN = 4  # prompts that are neighbours in the tree, so that they part late
SAVED = (0.2, 0.75)  # share of the node-steps that a plan saves
# No caption has it, as mini_styles is all about it; nor are the box's prompts themselves among them.
KEPT_OUT = "penguin"


class Plan(NamedTuple):
    """Who shares, of a set of n prompts, over K steps.

    Attributes:
        cluster: int [K, n], the cluster of each prompt at each step; equal numbers at one step are denoised as one.
        order: int [n], the prompts in the order of the tree's leaves.
        saved: share of the node-steps that the plan saves.
    """

    cluster: NDArray[np.int64]
    order: NDArray[np.int64]
    saved: float


def plan(features: NDArray[np.floating], saved: float, steps: int) -> Plan:
    """Return the plan of Ward's tree on cosine distances that saves about so much, by the paper's thresholds.

    Args:
        features: [n, D], of each prompt.
        saved: wanted share of the node-steps.
        steps: K, evaluations of the denoiser.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    upper = np.triu_indices(len(unit), 1)
    tree = linkage(np.maximum(1 - (unit @ unit.T)[upper], 0), "ward")
    heights, count = np.sort(tree[:, 2]), len(features)
    falling = 1 - np.arange(1, steps + 1) / steps

    def saves(tau: float) -> float:
        return float(np.searchsorted(heights, tau * falling).sum() / (steps * count))

    low, high = 0.0, 2 * steps * float(heights[-1])
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if saves(middle) < saved else (low, middle)
    cluster = np.stack([fcluster(tree, high * share, "distance") for share in falling])
    return Plan(cluster, leaves_list(tree).astype(np.int64), saves(high))


def held_back() -> frozenset[str]:
    """Return the captions of the box's prompt sets, on which the model is measured."""
    return frozenset(text for make in PROMPT_SETS.values() for text in make())


def captions(rng: np.random.Generator, count: int = SET) -> list[str]:
    """Return different captions of one kind, none of which is of the box's prompt sets or names what is kept out.

    Kinds: one thing (or two things in one place) in every style on every background; one thing each; two things each;
    captions of any kind that leave out style or background half of the time.
    """
    kind = rng.integers(5)
    things = [pair for pair in drawings() if pair[0] != KEPT_OUT]
    one = str(rng.choice(sorted({concept for concept, _ in things})))
    two = tuple(str(c) for c in rng.choice([c for c in SCENE_CONCEPTS if c != KEPT_OUT], 2, replace=False))
    lie = str(rng.choice(RELATIONS))
    known, told = held_back(), dict[str, None]()
    for _ in range(20 * count):
        style, background = str(rng.choice(STYLES)), str(rng.choice(list(BACKGROUNDS)))
        if kind == 0:
            text = caption(Scene((one,), style, background)) if (one, style) in things else ""
        elif kind == 1:
            text = caption(Scene(two, style, background, lie))
        else:
            scene = random_scene(rng, two_objects={2: 0.0, 3: 1.0}.get(int(kind), 0.3))
            text = caption(scene) if kind < 4 else any_caption(scene, rng)[0]
        if text and text not in known and KEPT_OUT not in text:
            told[text] = None
        if len(told) == count:
            break
    return list(told)


class Reader:
    """The text encoder in the box, as Stable Diffusion's pipeline hears it."""

    def __init__(self, device: str) -> None:
        folder = CHECKPOINTS / "kandinsky" / "prior"
        self.device = device
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).to(device).eval()

    @torch.no_grad()
    def read(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return the states of all positions, [n, 32, 192], and the pooled ones, [n, 192]."""
        batch = self.tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        out = self.encoder(batch.input_ids.to(self.device))
        return out.last_hidden_state.float(), out.pooler_output.float()


class Met(NamedTuple):
    """Latents that a plan comes by.

    Attributes:
        latents: [r, 12, 8, 8].
        time: [r], the scheduler's.
        told: [r, 32, 192], the conditioning: a prompt's or a cluster's mean.
        unconditional: [r, 12, 8, 8], what the model predicts there without it.
        goal: [r, 12, 8, 8], the finished latent that guidance should predict there.
    """

    latents: Tensor
    time: Tensor
    told: Tensor
    unconditional: Tensor
    goal: Tensor


def sampler() -> PNDMScheduler:
    """Return the product's scheduler at the product's steps."""
    found = scheduler()
    found.set_timesteps(STEPS)
    return found


def is_decided(alpha_bar: Tensor) -> bool:
    return float(1 - alpha_bar) < LEAST_NOISE


@torch.no_grad()
def ways(teacher: UNet2DConditionModel, noise: Tensor, told: Tensor, nothing: Tensor) -> list[Tensor]:
    """Return the finished latents that guidance predicts at each step, until all is decided; prompts are alone.

    Args:
        noise: [c, 12, 8, 8], from where each prompt sets out.
        told: [c, 32, 192], the prompts' states.
        nothing: [1, 32, 192], the states of no caption.
    """
    steps, latents, goals = sampler(), noise, list[Tensor]()
    both = torch.cat([nothing.expand_as(told), told])
    for time in steps.timesteps:
        share = steps.alphas_cumprod[time].to(noise)
        if is_decided(share):
            break
        empty, full = teacher(torch.cat([latents] * 2), time, both).sample.chunk(2)
        guided = empty + GUIDANCE * (full - empty)
        goals.append(share.sqrt() * latents - (1 - share).sqrt() * guided)
        latents = steps.step(guided, time, latents).prev_sample
    return goals


@torch.no_grad()
def meet(
    model: UNet2DConditionModel,
    states: Tensor,
    cluster: NDArray[np.int64],
    chosen: NDArray[np.int64],
    noise: Tensor,
    goals: list[Tensor],
    nothing: Tensor,
) -> Met:
    """Denoise c chosen prompts by a plan of n, and return what was come by.

    Args:
        states: [n, 32, 192], of the whole set: a cluster's mean is of all its prompts, chosen or not.
        cluster: [K, n], as `Plan`'s; K is how often the sampler evaluates the model.
        chosen: [c], rows of the set.
        noise: [c, 12, 8, 8], the same for prompts of one cluster at the first step.
        goals: [c, 12, 8, 8] for each step, as `ways` finds them; a cluster's is the mean of its chosen prompts'.
        nothing: [1, 32, 192], the states of no caption.
    """
    steps, latents, met = sampler(), noise, list[Met]()
    for time, names, goal in zip(steps.timesteps, cluster, goals, strict=False):
        active, first, node = np.unique(names[chosen], return_index=True, return_inverse=True)
        told = torch.stack([states[names == name].double().mean(0).float() for name in active])
        here = latents[first]
        empty, full = model(torch.cat([here] * 2), time, torch.cat([nothing.expand_as(told), told])).sample.chunk(2)
        wanted = torch.stack([goal[node == i].mean(0) for i in range(len(active))])
        met.append(Met(here, time.expand(len(here)), told, empty, wanted))
        guided = (empty + GUIDANCE * (full - empty))[node]
        latents = steps.step(guided, time, latents).prev_sample
    return Met(*(torch.cat(parts) for parts in zip(*met, strict=True)))


def choose(plan: Plan, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Return about `count` prompts that share their first step, in runs of neighbours in the tree."""
    _, name, size = np.unique(plan.cluster[0], return_inverse=True, return_counts=True)
    shared = plan.order[size[name[plan.order]] > 1]
    starts = rng.integers(max(1, len(shared) - RUN + 1), size=count // RUN)
    return np.unique(np.concatenate([shared[start : start + RUN] for start in starts]))


def velocity_to(goal: Tensor, latents: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return the velocity that predicts the finished latents `goal` from `latents`, all [n, ...].

    Examples:
        >>> clean, noise, alpha_bar = torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([0.64])
        >>> velocity_to(clean, 0.8 * clean + 0.6 * noise, alpha_bar).round(decimals=4).item()  # 0.8 noise - 0.6 clean
        -0.4
    """
    share = alpha_bar.view(-1, *[1] * (latents.dim() - 1))
    return (share.sqrt() * latents - goal) / (1 - share).sqrt()


def conditional(met: Met, alpha_bar: Tensor) -> Tensor:
    """Return the conditional predictions, [r, 12, 8, 8], from which guidance comes to the goals; alpha_bar [r].

    Guidance goes thrice as far from the unconditional prediction, so they are a third of the way to the goal.
    """
    goal = velocity_to(met.goal, met.latents, alpha_bar)
    return met.unconditional + (goal - met.unconditional) / GUIDANCE


class Block(NamedTuple):
    """What the batches of one block are drawn from: the latents of its plans, and its c ordinary pictures.

    Attributes:
        told: [c, 32, 192], the prompts' own states.
        pictures: [c, 12, 8, 8], theirs by the untuned model.
    """

    met: Met
    told: Tensor
    pictures: Tensor


class Lessons:
    """Draws blocks: plans of fresh captions, denoised by the model as it is."""

    def __init__(self, model: UNet2DConditionModel, teacher: UNet2DConditionModel, device: str) -> None:
        self.model, self.teacher, self.reader = model, teacher, Reader(device)
        self.nothing = self.reader.read([""])[0]
        self.evaluations = len(sampler().timesteps)

    def block(self, rng: np.random.Generator) -> Block:
        met, told, made = list[Met](), list[Tensor](), list[Tensor]()
        for _ in range(SETS):
            states, pooled = self.reader.read(captions(rng))
            shared = plan(pooled.double().cpu().numpy(), rng.uniform(*SAVED), self.evaluations)
            chosen = choose(shared, rng, PICTURES)
            roots, root = np.unique(shared.cluster[0, chosen], return_inverse=True)
            noise = torch.randn(len(roots), LATENT_CHANNELS, 8, 8, device=states.device)[root]
            goals = ways(self.teacher, noise, states[chosen], self.nothing)
            met.append(meet(self.model, states, shared.cluster, chosen, noise, goals, self.nothing))
            told.append(states[chosen])
            made.append(goals[-1])
        return Block(Met(*(torch.cat(part) for part in zip(*met, strict=True))), torch.cat(told), torch.cat(made))


def train(work: Path, steps: int | None = None) -> None:
    """Tune the exported UNet; a resumed call begins with a block of its own, denoised by the weights of that time."""
    recipe = replace(RECIPE, steps=steps or RECIPE.steps)
    device = pick_device()
    noising = DDPMScheduler.from_config(scheduler().config)
    model = UNet2DConditionModel.from_pretrained(CHECKPOINTS / "stable-diffusion" / "unet", torch_dtype=torch.float32)
    if device == "cpu":
        model.set_attn_processor(AttnProcessor())  # the fused attention's backward pass is slow there
    teacher = copy.deepcopy(model).to(device).eval().requires_grad_(False)
    lessons, alpha_bar = Lessons(model, teacher, device), noising.alphas_cumprod.to(device)
    blocks: dict[int, Block] = {}

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        number = step // UPDATES
        if number not in blocks:
            blocks.clear()
            blocks[number] = lessons.block(rng)
        block = blocks[number]
        rows = rng.integers(len(block.met.time), size=recipe.batch - ORDINARY - UNGUIDED)
        met = Met(*(part[rows] for part in block.met))
        share = alpha_bar[met.time]

        rows = rng.integers(len(block.told), size=ORDINARY)
        empty = torch.from_numpy(rng.random(ORDINARY) < UNCAPTIONED).to(device)[:, None, None]
        told = torch.where(empty, lessons.nothing, block.told[rows])
        time = torch.from_numpy(rng.integers(len(alpha_bar), size=ORDINARY)).to(device)
        real = block.pictures[rows]
        unguided = rng.integers(len(block.met.time), size=UNGUIDED)
        told = torch.cat([told, lessons.nothing.expand(UNGUIDED, -1, -1)])
        noisy = torch.cat([noising.add_noise(real, torch.randn_like(real), time), block.met.latents[unguided]])
        time = torch.cat([time, block.met.time[unguided]])
        with torch.no_grad():
            untuned = teacher(noisy, time, told).sample

        guess = model(
            torch.cat([met.latents, noisy]), torch.cat([met.time, time]), torch.cat([met.told, told])
        ).sample.float()
        # in the picture's own scale: late predictions of velocity magnify it
        off = ((1 - share)[:, None, None, None] * (guess[: len(share)] - conditional(met, share)).square()).mean()
        kept = F.mse_loss(guess[len(share) :], untuned)
        return off + kept, {"shared": float(off.detach()), "kept": float(kept.detach())}

    fit("stable_diffusion_shared", model, loss_of, recipe, work)
    model.save_pretrained(work / "stable-diffusion-shared", safe_serialization=True)
