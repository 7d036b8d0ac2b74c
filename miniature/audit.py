"""``python -m miniature.audit``: how good the miniature is, measured with stock pipelines; fills in the model card.

The judge that names what a picture shows was trained on artwork alone and shares no weights with the scorer.
"""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import KandinskyV22Pipeline, KandinskyV22PriorPipeline
from PIL import Image
from safetensors import safe_open
from scipy.stats import mannwhitneyu
from torch import Tensor
from transformers import BlipForQuestionAnswering, BlipProcessor

from common.files import atomic_write, cache_dir
from miniature.export import CHECKPOINTS, JUDGE
from miniature.pictures import SIDE, paint
from miniature.training import judge as judging
from miniature.training.autoencoder import psnr
from miniature.training.damage import blur
from miniature.training.vqa import changed, heed_padding
from miniature.world import BACKGROUNDS, Scene, caption, drawings, random_scene

CARD = Path(__file__).parent / "README.md"
SHEET = Path(__file__).parent / "contact_sheet.png"
# the catalogue's settings of mini-kandinsky
STEPS, GUIDANCE = 20, 3.0
PRIOR_STEPS, PRIOR_GUIDANCE = 5, 2.0
CLASSES = {"clip": "open_clip.CLIP"}
THINGS = ("concept", "style", "colour", "place")


@dataclass(frozen=True)
class Figure:
    """One measured figure and what the issue asks of it."""

    audit: str
    value: float
    goal: Callable[[float], bool]
    wanted: str

    @property
    def line(self) -> str:
        met = ("yes" if self.goal(self.value) else "**no**") if self.wanted else ""
        return f"| {self.audit} | {self.value:.3f} | {self.wanted} | {met} |"


def at_least(audit: str, value: float, bound: float) -> Figure:
    return Figure(audit, value, lambda v: v >= bound, f">= {bound:g}")


def below(audit: str, value: float, bound: float) -> Figure:
    return Figure(audit, value, lambda v: v < bound, f"< {bound:g}")


class Miniature:
    """The checkpoints, loaded as anyone would load them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def prior(self) -> KandinskyV22PriorPipeline:
        return self._quiet(
            KandinskyV22PriorPipeline.from_pretrained(self.folder / "kandinsky" / "prior", torch_dtype=torch.float32)
        )

    @cached_property
    def decoder(self) -> KandinskyV22Pipeline:
        return self._quiet(
            KandinskyV22Pipeline.from_pretrained(self.folder / "kandinsky" / "decoder", torch_dtype=torch.float32)
        )

    @cached_property
    def judge(self) -> judging.Judge:
        return judging.load(JUDGE)

    @cached_property
    def vqa(self) -> tuple[BlipForQuestionAnswering, BlipProcessor, str]:
        folder = self.folder / "vqa"
        question = json.loads((folder / "vqa.json").read_text())["question"]
        model = BlipForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
        heed_padding(model)
        return model, BlipProcessor.from_pretrained(folder), question

    @staticmethod
    def _quiet(pipeline: Any) -> Any:
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def embeddings(self, prompts: list[str], seed: int) -> tuple[Tensor, Tensor]:
        """Image and negative embeddings, both [n, 192], by the prior's sampler at the catalogue's settings."""
        dice = [torch.Generator().manual_seed(seed * 100_003 + i) for i in range(len(prompts))]
        found = self.prior(prompts, generator=dice, num_inference_steps=PRIOR_STEPS, guidance_scale=PRIOR_GUIDANCE)
        return found.image_embeds, found.negative_image_embeds

    def pictures(self, embeddings: tuple[Tensor, Tensor], seed: int, steps: int = STEPS) -> Tensor:
        """Pictures [n, 3, 64, 64] in [-1, 1] of embeddings."""
        made = []
        for start in range(0, len(embeddings[0]), 64):
            part = [e[start : start + 64] for e in embeddings]
            dice = [torch.Generator().manual_seed(seed * 1_000_003 + start + i) for i in range(len(part[0]))]
            out = self.decoder(
                image_embeds=part[0], negative_image_embeds=part[1], height=SIDE, width=SIDE, num_inference_steps=steps,
                guidance_scale=GUIDANCE, generator=dice, output_type="pt",
            )  # fmt: skip
            made.append(out.images.clamp(-1, 1))  # stock leaves tensors in [-1, 1]
        return torch.cat(made)

    @torch.no_grad()
    def score(self, pictures: Tensor, captions: list[str]) -> np.ndarray:
        """P("yes") of each picture with its caption."""
        model, processor, question = self.vqa
        yes = processor.tokenizer("yes").input_ids[:2]
        scores = []
        for start in range(0, len(captions), 128):
            text = processor.tokenizer(
                [question.format(c) for c in captions[start : start + 128]], padding=True, return_tensors="pt"
            )
            seen = model.vision_model(pixel_values=pictures[start : start + 128]).last_hidden_state
            states = model.text_encoder(
                input_ids=text.input_ids, attention_mask=text.attention_mask, encoder_hidden_states=seen
            )[0]
            said = model.text_decoder(
                input_ids=torch.full((len(states), 1), yes[0]),
                encoder_hidden_states=states,
                encoder_attention_mask=text.attention_mask,
            ).logits[:, 0]
            scores.append(said.softmax(-1)[:, yes[1]])
        return torch.cat(scores).numpy()


def auc(true: np.ndarray, false: np.ndarray) -> float:
    """The chance that a true caption outscores a false one."""
    return float(mannwhitneyu(true, false).statistic / (len(true) * len(false)))


def win_rate(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((np.sign(ours - theirs) / 2 + 0.5).mean())


def artwork(scenes: list[Scene], work: Path, seed: int = 77) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([paint(s, rng, work) for s in scenes])).permute(0, 3, 1, 2).float() / 127.5 - 1


def matching(mini: Miniature, pictures: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """AUC of true captions against hard negatives: of each kind, and (key "") of all kinds in equal parts."""
    rng = np.random.default_rng(5)
    true = mini.score(pictures, [caption(s) for s in scenes])
    found, every = {}, []
    for thing in THINGS:
        rows = [i for i, s in enumerate(scenes) if thing != "place" or s.relation]
        false = mini.score(pictures[rows], [caption(changed(scenes[i], rng, thing)) for i in rows])
        found[thing] = auc(true[rows], false)
        every.append(false)
    return {"": auc(true, np.concatenate(every)), **found}


def scorer(mini: Miniature, work: Path) -> list[Figure]:
    rng = np.random.default_rng(4)
    scenes = [random_scene(rng, two_objects=0.4) for _ in range(400)] + [
        random_scene(rng, two_objects=0, split="held-out") for _ in range(100)
    ]
    on_art = matching(mini, artwork(scenes, work), scenes)
    scenes = [random_scene(rng, two_objects=0.3) for _ in range(384)]
    prompts = [caption(s) for s in scenes]
    embeddings = mini.embeddings(prompts, 3)
    full = mini.pictures(embeddings, 3)
    on_made = matching(mini, full, scenes)
    scores = mini.score(full, prompts)
    hasty = mini.score(mini.pictures(embeddings, 3, steps=3), prompts)
    # a cluster's mean: each prompt's embedding averaged with its three nearest
    similarity = F.normalize(embeddings[0]) @ F.normalize(embeddings[0]).T
    near = similarity.topk(4, dim=1).indices
    mean = (embeddings[0][near].mean(1), embeddings[1])
    of_mean = mini.score(mini.pictures(mean, 3), prompts)
    other = mini.score(mini.pictures(mini.embeddings(prompts, 8), 8), prompts)
    soft = mini.score(blur(full, 4), prompts)
    return [
        at_least("(a) scorer on artwork it never saw, AUC against hard negatives", on_art[""], 0.97),
        *(Figure(f"(a) ... {thing} changed", on_art[thing], lambda v: True, "") for thing in THINGS),
        at_least("(a) scorer on generated pictures, AUC against hard negatives", on_made[""], 0.90),
        *(Figure(f"(a) ... {thing} changed", on_made[thing], lambda v: True, "") for thing in THINGS),
        below("(a) win rate of 3 steps against 20", win_rate(hasty, scores), 0.40),
        below(
            "(a) win rate of the picture of a mean of four prompts against the prompt's own",
            win_rate(of_mean, scores),
            0.40,
        ),
        below("(a) win rate of pictures blurred to a quarter", win_rate(soft, scores), 0.40),
        Figure(
            "(a) win rate of another seed (no damage: about a half)",
            win_rate(other, scores),
            lambda v: 0.4 <= v <= 0.6,
            "0.4 to 0.6",
        ),
    ]


def generator(mini: Miniature) -> list[Figure]:
    rng = np.random.default_rng(6)
    known = [random_scene(rng, two_objects=0) for _ in range(400)]
    unseen = [
        Scene((c,), s, b) for c, s in drawings("held-out") for b in rng.choice(list(BACKGROUNDS), 8, replace=False)
    ]
    rights = []
    for scenes in (known, unseen):
        made = mini.pictures(mini.embeddings([caption(s) for s in scenes], 1), 1)
        rights.append((judging.name(mini.judge, made) == judging.labels(scenes)).float().mean(0).tolist())
    return [
        at_least("(b) concept right", rights[0][0], 0.80),
        at_least("(b) style right", rights[0][1], 0.80),
        at_least("(b) background right", rights[0][2], 0.95),
        at_least("(b) concept right, held-out (concept, style) pairs", rights[1][0], 0.60),
        Figure("(b) style right, held-out pairs", rights[1][1], lambda v: True, ""),
    ]


def autoencoder(mini: Miniature, work: Path) -> list[Figure]:
    rng = np.random.default_rng(8)
    return [
        at_least(
            "(c) autoencoder, PSNR in dB",
            psnr(mini.decoder.movq, artwork([random_scene(rng) for _ in range(512)], work)),
            25.0,
        )
    ]


@torch.no_grad()
def prior(mini: Miniature, work: Path) -> list[Figure]:
    rng = np.random.default_rng(9)
    scenes = list({caption(s.canonical()): s for s in (random_scene(rng) for _ in range(150))}.values())[:100]
    prompts = [caption(s) for s in scenes]
    seen = F.normalize(mini.prior.image_encoder(pixel_values=artwork(scenes, work)).image_embeds)
    first, second = mini.embeddings(prompts, 1), mini.embeddings(prompts, 2)
    told, again = F.normalize(first[0]), F.normalize(second[0])
    right = float(((told @ seen.T).argmax(1) == torch.arange(100)).float().mean())
    apart = (mini.pictures(first, 1) - mini.pictures(second, 2)).abs().mean((1, 2, 3)) * 127.5
    return [
        at_least("(d) the prior's embedding finds its caption's picture among 100", right, 0.90),
        below("(d) cosine of two samples of one prompt", float((told * again).sum(1).mean()), 0.995),
        at_least("(d) two seeds of one prompt: mean difference of a pixel, of 255", float(apart.mean()), 5.0),
    ]


def contact_sheet(mini: Miniature) -> Image.Image:
    """64 prompts' pictures, each under its prompt's words."""
    from PIL import ImageDraw

    rng = np.random.default_rng(10)
    scenes = [random_scene(rng, two_objects=0.2) for _ in range(64)]
    made = (
        ((mini.pictures(mini.embeddings([caption(s) for s in scenes], 5), 5).clamp(-1, 1) + 1) * 127.5)
        .byte()
        .permute(0, 2, 3, 1)
        .numpy()
    )
    cell, words = 104, 26
    sheet = Image.new("RGB", (8 * cell, 8 * (cell + words)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (scene, pixels) in enumerate(zip(scenes, made, strict=True)):
        x, y = i % 8 * cell, i // 8 * (cell + words)
        sheet.paste(Image.fromarray(pixels).resize((96, 96), Image.Resampling.LANCZOS), (x + 4, y + words))
        what = (
            scene.concepts[0]
            if not scene.relation
            else f"{scene.concepts[0]} {scene.relation.split()[0]} {scene.concepts[1]}"
        )
        pen.text((x + 4, y + 1), f"{what}\n{scene.style}, {scene.background}", fill="black", font_size=10)
    return sheet


def sizes(folder: Path) -> str:
    """The checkpoints' rows of the model card: what each weights file is, and its parameters."""
    rows = ["| folder | class | parameters | on disk |", "| --- | --- | --- | --- |"]
    for weights in sorted(folder.rglob("*.safetensors")):
        config = weights.parent / "config.json"
        known = json.loads(config.read_text()) if config.exists() else {}
        kind = known.get("_class_name") or (known.get("architectures") or [CLASSES.get(weights.parent.name, "")])[0]
        with safe_open(weights, "pt") as file:
            count = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
        where = weights.parent.relative_to(folder).as_posix()
        rows.append(f"| `{where}` | {kind} | {count / 1e6:.2f} M | {weights.stat().st_size / 2**20:.1f} MiB |")
    return "\n".join(rows)


def fill(card: str, mark: str, text: str) -> str:
    """The card with `text` between the comments of that name."""
    return re.sub(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m: f"{m[1]}{text}\n{m[2]}", card, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature.audit", description=__doc__)
    parser.add_argument("--work", type=Path, default=cache_dir() / "miniature", help="where the artwork is, or goes")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)
    parser.add_argument("--card", type=Path, default=CARD, help="the model card whose table is filled in")
    chosen = parser.parse_args()
    mini = Miniature(chosen.checkpoints)
    figures = []
    for audit in (
        lambda: autoencoder(mini, chosen.work),
        lambda: prior(mini, chosen.work),
        lambda: generator(mini),
        lambda: scorer(mini, chosen.work),
    ):
        for figure in audit():
            figures.append(figure)
            print(figure.line, flush=True)
    table = "\n".join(
        [
            "| audit | measured | wanted | met |",
            "| --- | --- | --- | --- |",
            *(f.line for f in sorted(figures, key=lambda f: f.audit[:3])),
        ]
    )
    if chosen.card.exists():
        card = fill(chosen.card.read_text(), "audit", table)
        atomic_write(chosen.card, fill(card, "sizes", sizes(chosen.checkpoints)))
        contact_sheet(mini).save(chosen.card.parent / SHEET.name)


if __name__ == "__main__":
    main()
