"""Audit (a): does the scorer know a true caption from a false one, and a damaged picture from a whole one?"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import mannwhitneyu
from torch import Tensor
from transformers import BlipForQuestionAnswering, BlipProcessor

from miniature.audits.figure import Figure, at_least, below, between
from miniature.audits.painters import Kandinsky
from miniature.audits.pictures import artwork
from miniature.training.damage import blur
from miniature.training.vqa import changed, heed_padding
from miniature.world import Scene, caption, random_scene

THINGS = ("concept", "style", "colour", "place")


class Scorer:
    """The checkpoint in ``vqa``, loaded as anyone would load it."""

    def __init__(self, checkpoints: Path) -> None:
        folder = checkpoints / "vqa"
        self.question = json.loads((folder / "vqa.json").read_text())["question"]
        self.model = BlipForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
        heed_padding(self.model)
        self.processor = BlipProcessor.from_pretrained(folder)

    @torch.no_grad()
    def score(self, pictures: Tensor, captions: list[str]) -> np.ndarray:
        """Return P("yes") of each picture with its caption."""
        model, processor, question = self.model, self.processor, self.question
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
    """Return the chance that a true caption outscores a false one."""
    return float(mannwhitneyu(true, false).statistic / (len(true) * len(false)))


def win_rate(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((np.sign(ours - theirs) / 2 + 0.5).mean())


def matching(scorer: Scorer, pictures: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """Return the AUC of true captions against hard negatives: of each kind, and of all in equal parts (key "")."""
    rng = np.random.default_rng(5)
    true = scorer.score(pictures, [caption(s) for s in scenes])
    found, every = {}, []
    for thing in THINGS:
        rows = [i for i, s in enumerate(scenes) if thing != "place" or s.relation]
        false = scorer.score(pictures[rows], [caption(changed(scenes[i], rng, thing)) for i in rows])
        found[thing] = auc(true[rows], false)
        every.append(false)
    return {"": auc(true, np.concatenate(every)), **found}


def scoring(scorer: Scorer, painter: Kandinsky, work: Path) -> list[Figure]:
    rng = np.random.default_rng(4)
    scenes = [random_scene(rng, two_objects=0.4) for _ in range(400)] + [
        random_scene(rng, two_objects=0, split="held-out") for _ in range(100)
    ]
    on_art = matching(scorer, artwork(scenes, work), scenes)
    scenes = [random_scene(rng, two_objects=0.3) for _ in range(384)]
    prompts = [caption(s) for s in scenes]
    embeddings = painter.embeddings(prompts, 3)
    full = painter.drawn(embeddings, 3)
    on_made = matching(scorer, full, scenes)
    scores = scorer.score(full, prompts)
    hasty = scorer.score(painter.drawn(embeddings, 3, steps=3), prompts)
    # a cluster's mean: each prompt's embedding averaged with its three nearest
    similarity = F.normalize(embeddings[0]) @ F.normalize(embeddings[0]).T
    near = similarity.topk(4, dim=1).indices
    mean = (embeddings[0][near].mean(1), embeddings[1])
    of_mean = scorer.score(painter.drawn(mean, 3), prompts)
    other = scorer.score(painter.drawn(painter.embeddings(prompts, 8), 8), prompts)
    soft = scorer.score(blur(full, 4), prompts)
    return [
        at_least("(a) scorer on artwork it never saw, AUC against hard negatives", on_art[""], 0.97),
        *(Figure(f"(a) ... {thing} changed", on_art[thing]) for thing in THINGS),
        at_least("(a) scorer on generated pictures, AUC against hard negatives", on_made[""], 0.90),
        *(Figure(f"(a) ... {thing} changed", on_made[thing]) for thing in THINGS),
        below("(a) win rate of 3 steps against 20", win_rate(hasty, scores), 0.40),
        below(
            "(a) win rate of the picture of a mean of four prompts against the prompt's own",
            win_rate(of_mean, scores),
            0.40,
        ),
        below("(a) win rate of pictures blurred to a quarter", win_rate(soft, scores), 0.40),
        between("(a) win rate of another seed (no damage: about a half)", win_rate(other, scores), 0.4, 0.6),
    ]
