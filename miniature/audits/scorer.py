"""Audit (a): is the scorer indifferent to what nobody sees, and does it see what is false or damaged?"""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import mannwhitneyu
from torch import Tensor
from transformers import BlipForQuestionAnswering, BlipProcessor

from metrics.edits import DAMAGE, INVISIBLE, Edit
from metrics.scorer_audit import far_prompts, indifference_floor, near_prompts
from miniature.audits.drawn import Baselines, Drawn
from miniature.audits.figure import Figure, at_least, at_most, below, between
from miniature.audits.pictures import artwork
from miniature.training import judge as judging
from miniature.training.damage import blur
from miniature.training.vqa import changed, heed_padding
from miniature.world import Scene, caption, random_scene

THINGS = ("concept", "style", "colour", "place")
PAINTED = THINGS[:3]  # no generator knows places
BINS = 10


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


def matching(scorer: Scorer, pictures: Tensor, scenes: list[Scene], things: tuple[str, ...]) -> dict[str, float]:
    """Return the AUC of true captions against hard negatives: of each kind, and of all in equal parts (key "")."""
    rng = np.random.default_rng(5)
    true = scorer.score(pictures, [caption(s) for s in scenes])
    found, every = {}, []
    for thing in things:
        rows = [i for i, s in enumerate(scenes) if thing != "place" or s.relation]
        false = scorer.score(pictures[rows], [caption(changed(scenes[i], rng, thing)) for i in rows])
        found[thing] = auc(true[rows], false)
        every.append(false)
    return {"": auc(true, np.concatenate(every)), **found}


def calibration_error(scores: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Return the expected calibration error (arXiv 1706.04599), in `BINS` bins of equal width.

    Examples:
        >>> calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([True, True, False, False]))
        0.1
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=scores - true, minlength=BINS)
    return float(np.abs(gaps).sum() / len(scores))


def edited(edit: Edit, pictures: Tensor, partners: NDArray[np.int64] | None = None) -> Tensor:
    """Return pictures [n, 3, 64, 64] in [-1, 1] as the product's edits leave them."""
    images = [Image.fromarray(p) for p in ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()]
    others = [None] * len(images) if partners is None else [images[i] for i in partners]
    done = [np.asarray(edit(image, other, seed=i)) for i, (image, other) in enumerate(zip(images, others, strict=True))]
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).float() / 127.5 - 1


def indifference(scorer: Scorer, made: Baselines) -> tuple[list[Figure], float]:
    """Return win rates of pictures edited so that nobody sees it, and the zone of indifference that they make."""
    prompts = [caption(scene) for scene in made.scenes]
    before = scorer.score(made.pictures, prompts)
    figures, differences = [], list[NDArray[np.float64]]()
    for edit in INVISIBLE.values():
        after = scorer.score(edited(edit, made.pictures), prompts)
        differences.append(after - before)
        figures.append(between(f"(a) nobody sees it: win rate {edit.name}", win_rate(after, before), 0.45, 0.55))
    zone = indifference_floor(differences)
    figures.append(Figure("(a) ... zone of indifference: of every edit, 95% of differences are smaller", zone))
    return figures, zone


def sensitivity(scorer: Scorer, made: Baselines) -> list[Figure]:
    """Return win rates under damage, which are to fall with its dose."""
    prompts = [caption(scene) for scene in made.scenes]
    before = scorer.score(made.pictures, prompts)
    near = {"nearest": near_prompts(prompts, 1)[:, 0], "far": far_prompts(prompts)}
    figures = []
    for damage in DAMAGE.values():
        bound = 0.5
        for dose in damage.doses:
            edit = damage.at(dose)
            other = near[damage.partner] if damage.partner else None
            rate = win_rate(scorer.score(edited(edit, made.pictures, other), prompts), before)
            figures.append(below(f"(a) damage: win rate {edit.name}", rate, round(bound, 3)))
            bound = rate
    return figures


def agreement(
    scorer: Scorer, judge: judging.Judge, scenes: list[Scene], ours: Tensor, theirs: Tensor, zone: float
) -> tuple[float, int]:
    """Return how often scorer and judge prefer the same of two pictures, of those outside the zone, and their number.

    The judge prefers the picture to which it gives the caption's labels the higher probability; it knows pictures of
    one object alone.
    """
    rows = [i for i, scene in enumerate(scenes) if not scene.relation]
    shown = [scenes[i] for i in rows]
    prompts = [caption(scene) for scene in shown]
    by_scorer = scorer.score(ours[rows], prompts) - scorer.score(theirs[rows], prompts)
    by_judge = np.subtract(*(judging.log_likelihood(judge, pictures[rows], shown) for pictures in (ours, theirs)))
    told_apart = np.abs(by_scorer) > zone
    same = (by_scorer > 0) == (by_judge > 0)
    return float(same[told_apart].mean()), int(told_apart.sum())


def scoring(scorer: Scorer, judge: judging.Judge, drawn: Drawn, work: Path) -> list[Figure]:
    rng = np.random.default_rng(4)
    scenes = [random_scene(rng, two_objects=0.4) for _ in range(400)] + [
        random_scene(rng, two_objects=0, split="held-out") for _ in range(100)
    ]
    on_art = matching(scorer, artwork(scenes, work), scenes, THINGS)

    made = drawn.baselines
    alone = [i for i, scene in enumerate(made.scenes) if not scene.relation]
    named = judging.name(judge, made.pictures[alone]) == judging.labels([made.scenes[i] for i in alone])
    confirmed = [i for i, right in zip(alone, named.all(1).tolist(), strict=True) if right]
    shown = [made.scenes[i] for i in confirmed]
    on_made = matching(scorer, made.pictures[confirmed], shown, PAINTED)
    on_every = matching(scorer, made.pictures, made.scenes, THINGS)
    asked = [caption(s) for s in shown] + [caption(changed(s, rng)) for s in shown]
    said = scorer.score(made.pictures[confirmed].repeat(2, 1, 1, 1), asked)
    error = calibration_error(said.astype(np.float64), np.arange(len(said)) < len(shown))

    unseen, zone = indifference(scorer, made)
    prompts = [caption(s) for s in drawn.scenes]
    full, hasty, of_mean, other, soft = (
        scorer.score(pictures, prompts)
        for pictures in (drawn.full, drawn.hasty, drawn.of_mean, drawn.other, blur(drawn.full, 4))
    )
    agreements = []
    for what, asked_for, ours, theirs in (
        ("another seed's", made.scenes, made.pictures, made.other),
        ("a mean of four prompts'", drawn.scenes, drawn.full, drawn.of_mean),
    ):
        share, count = agreement(scorer, judge, asked_for, ours, theirs, zone)
        name = f"(a) same winner as the judge, {what} picture, {count} pairs outside the zone"
        agreements.append(at_least(name, share, 0.70))
    return [
        at_least("(a) scorer on artwork it never saw, AUC against hard negatives", on_art[""], 0.97),
        *(Figure(f"(a) ... {thing} changed", on_art[thing]) for thing in THINGS),
        at_least(
            f"(a) scorer on {len(shown)} generated pictures that the judge confirms, AUC against hard negatives",
            on_made[""],
            0.97,
        ),
        *(Figure(f"(a) ... {thing} changed", on_made[thing]) for thing in PAINTED),
        Figure("(a) scorer on all generated pictures, AUC against hard negatives", on_every[""]),
        *(Figure(f"(a) ... {thing} changed", on_every[thing]) for thing in THINGS),
        at_most("(a) expected calibration error, generated pictures that the judge confirms", error, 0.05),
        *unseen,
        *sensitivity(scorer, made),
        below("(a) win rate of 3 steps against 20", win_rate(hasty, full), 0.40),
        below(
            "(a) win rate of the picture of a mean of four prompts against the prompt's own",
            win_rate(of_mean, full),
            0.40,
        ),
        below("(a) win rate of pictures blurred to a quarter", win_rate(soft, full), 0.40),
        between("(a) win rate of another seed (no damage: about a half)", win_rate(other, full), 0.4, 0.6),
        *agreements,
    ]
