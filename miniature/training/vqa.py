"""The scorer: a small `BlipForQuestionAnswering` that answers yes or no to "Does this figure show ...?".

VQAScore (arXiv 2404.01291) is its probability of "yes". These lessons are of artwork alone: what it calls damaged are
blends, blur, noise and decoded broken latents. Its last one, `vqa_steady`, shows it generated pictures too.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    BlipTextConfig,
    BlipVisionConfig,
    CLIPModel,
    CLIPTokenizer,
)

from miniature.pictures import SIDE, paint
from miniature.training.damage import decoded, spoil
from miniature.training.data import Pictures, any_caption, training_pictures
from miniature.training.encoders import WIDTH
from miniature.training.labels import LabelHeads
from miniature.training.loop import Recipe, fit, pick_device
from miniature.training.tokenizer import QUESTION, train_tokenizer
from miniature.world import BACKGROUNDS, CONCEPTS, OPPOSITE, SCENE_CONCEPTS, STYLES, Scene, caption, random_scene

# first the image encoder, by labels; then the text side, by questions, the image encoder standing still:
# left to learn from questions alone it forgets what it knows long before the text side can use it
SIGHT = Recipe(steps=1_000, batch=64, learning_rate=2e-3, weight_decay=0.02, ema=0.995)
RECIPE = Recipe(steps=2_400, batch=48, learning_rate=2e-3, weight_decay=0.02, ema=0.997)
# at last mostly scenes, and where things lie: left to chance, that is a tenth of the questions, and never learned;
# and the drawings that are held out of the painters' training: a scorer that does not know them would find fault with
# whoever paints them right
PLACES = Recipe(steps=900, batch=48, learning_rate=1.5e-3, weight_decay=0.02, ema=0.997, seed=1)
SCENES, RARE = 0.5, 0.15  # of the last pictures
QUESTIONS, OPEN = 4, 2
LONGEST = 64


def build(tokenizer: CLIPTokenizer) -> BlipForQuestionAnswering:
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "sep_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    heads = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": WIDTH // 64,
        "hidden_act": "gelu",
    }
    text = BlipTextConfig(
        vocab_size=len(tokenizer), encoder_hidden_size=WIDTH, num_hidden_layers=2, max_position_embeddings=LONGEST,
        projection_dim=WIDTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **heads, **ends,
    )  # fmt: skip
    vision = BlipVisionConfig(image_size=SIDE, patch_size=8, num_hidden_layers=6, projection_dim=WIDTH, **heads)
    return BlipForQuestionAnswering(
        BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)
    )


def heed_padding(model: BlipForQuestionAnswering) -> None:
    """Give the decoder's cross-attention the mask it is meant to have.

    transformers passes the question's mask under a name that cross-attention ignores (seen in 5.23), so padding would
    be read. Scorers that never pad get the same answers with and without this.
    """

    def masked(
        module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        return args, {**kwargs, "encoder_attention_mask": kwargs.get("attention_mask")}

    for layer in model.text_decoder.bert.encoder.layer:
        layer.crossattention.self.register_forward_pre_hook(masked, with_kwargs=True)


@torch.no_grad()
def start_from(model: BlipForQuestionAnswering, clip: CLIPModel) -> None:
    """Begin with the contrastive image encoder's weights.

    CLIP normalises its patches before the first layer and BLIP does not: the norm's scale and shift, at the spread
    the untrained picture has, go into the embeddings. What that misses, training mends.
    """
    mine, theirs = model.vision_model, clip.vision_model
    table = theirs.embeddings.position_embedding.weight
    patches = theirs.embeddings.patch_embedding.weight
    first = theirs.embeddings.class_embedding + table[0]
    spread = (table[1:].var(1).mean() + patches.flatten(1).square().sum(1).mean() * 0.3).sqrt()
    gain, shift = theirs.pre_layrnorm.weight, theirs.pre_layrnorm.bias
    mine.embeddings.patch_embedding.weight.copy_(patches * (gain / spread)[:, None, None, None])
    mine.embeddings.patch_embedding.bias.zero_()
    mine.embeddings.class_embedding.zero_()
    mine.embeddings.position_embedding[0, 0] = theirs.pre_layrnorm(first)
    mine.embeddings.position_embedding[0, 1:] = table[1:] * gain / spread + shift
    for block, source in zip(mine.encoder.layers, theirs.encoder.layers, strict=True):
        attention = source.self_attn
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        block.self_attn.qkv.weight.copy_(torch.cat([p.weight for p in three]))
        block.self_attn.qkv.bias.copy_(torch.cat([p.bias for p in three]))
        block.self_attn.projection.load_state_dict(attention.out_proj.state_dict())
        for name in ("layer_norm1", "layer_norm2", "mlp"):
            getattr(block, name).load_state_dict(getattr(source, name).state_dict())
    mine.post_layernorm.load_state_dict(theirs.post_layernorm.state_dict())


def changed(scene: Scene, rng: np.random.Generator, thing: str | None = None) -> Scene:
    """Return a hard negative: the scene with one of concept, style, colour or place changed."""
    things = ["concept", "style", "colour"] + (["place"] if scene.relation else [])
    thing = thing or str(rng.choice(things))

    def other(options: tuple[str, ...], not_these: tuple[str, ...]) -> str:
        return str(rng.choice([option for option in options if option not in not_these]))

    if thing == "place":
        return replace(scene, relation=OPPOSITE[str(scene.relation)])
    if thing == "style":
        return replace(scene, style=other(STYLES, (scene.style,)))
    if thing == "colour":
        return replace(scene, background=other(tuple(BACKGROUNDS), (scene.background,)))
    concepts = list(scene.concepts)
    concepts[rng.integers(len(concepts))] = other(SCENE_CONCEPTS if scene.relation else tuple(CONCEPTS), scene.concepts)
    return replace(scene, concepts=tuple(concepts))


def question_for(scene: Scene, true: bool, places: bool, rng: np.random.Generator) -> str:
    """Return a caption of the scene, or a false one: of any other scene, or one that names what was changed."""
    if true:
        return any_caption(scene, rng)[0]
    # without easy ones the first thousand steps teach nothing
    if rng.random() < (0.1 if places else 0.4):
        return any_caption(random_scene(rng), rng)[0]
    things = ["concept", "style", "colour"]
    if scene.relation:
        things += ["place"] * 3 + ["concept"] * 2 if places else ["place"] * 2
    thing = str(rng.choice(things))
    wrong = changed(scene, rng, thing)
    full = rng.random() < 0.6
    return caption(wrong, style=full or thing == "style", background=full or thing == "colour")


def processor(tokenizer: CLIPTokenizer) -> BlipProcessor:
    size = {"height": SIDE, "width": SIDE}
    return BlipProcessor(BlipImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3), tokenizer)


def questions(scene: Scene, whole: bool, places: bool, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return questions and answers about a picture: `QUESTIONS` of yes or no, then `OPEN` ones, which teach to look.

    With `places`, open ones about scenes ask where each object lies, and false captions often name the wrong side.

    A spoilt picture is asked about what it showed, and the answer is no.
    """
    asked = []
    for _ in range(QUESTIONS):
        true = bool(rng.random() < 0.5)
        told = question_for(scene, true or (not whole and rng.random() < 0.7), places, rng)
        asked.append((QUESTION.format(told), "yes" if true and whole else "no"))
    opened = {
        "What does this figure show?": caption(scene, style=False, background=False),
        "What style is this figure?": scene.style,
        "What background is this figure on?": scene.background,
    }
    if places and scene.relation:
        views = (scene, scene.turned())
        opened = {f"Where is the {s.concepts[0]} in this figure?": str(s.relation) for s in views}
    for i in rng.choice(len(opened), OPEN, replace=False):
        question, answer = list(opened.items())[i]
        asked.append((question, answer if whole else "no"))
    return asked


def answer_logits(
    model: BlipForQuestionAnswering, tokenizer: CLIPTokenizer, seen: Tensor, asked: list[str], answers: Tensor
) -> Tensor:
    """Return the logits of each next token of the answers: float32 [n, tokens - 1, vocabulary].

    Args:
        seen: what the image encoder makes of each question's picture, [n, patches, width].
        asked: the questions [n].
        answers: token ids [n, tokens].
    """
    text = tokenizer(asked, padding=True, return_tensors="pt").to(seen.device)
    states = model.text_encoder(
        input_ids=text.input_ids, attention_mask=text.attention_mask, encoder_hidden_states=seen
    )[0]
    return model.text_decoder(
        input_ids=answers[:, :-1], encoder_hidden_states=states, encoder_attention_mask=text.attention_mask
    ).logits.float()


class Lessons:
    """Batches of pictures, each with several questions and their answers."""

    def __init__(self, pictures: Pictures, work: Path) -> None:
        self.pictures, self.work = pictures, work
        self.rows, self.whole, self.spoilt = decoded(pictures, work)
        self.of_two = np.flatnonzero([scene.relation is not None for scene in pictures.scenes])

    def draw(self, rng: np.random.Generator, size: int, last: bool = False) -> tuple[Tensor, list[Scene], np.ndarray]:
        """Return pictures [size, 3, 64, 64] in [-1, 1]; what they show or showed; which are whole.

        The `last` ones are scenes of two objects and held-out drawings more often than chance has them.
        """
        half, quarter = size // 2, size // 4
        rows = rng.integers(len(self.pictures), size=size - quarter)
        if last:
            rows = np.where(rng.random(len(rows)) < SCENES, rng.choice(self.of_two, len(rows)), rows)
        drawn = rng.integers(len(self.rows), size=quarter)
        shown = [self.pictures.scenes[i] for i in [*rows, *self.rows[drawn].tolist()]]
        real = self.pictures.tensor(rows)
        for i in range(int(RARE * size) if last else 0):
            shown[i] = random_scene(rng, two_objects=0, split="held-out")
            real[i] = torch.from_numpy(paint(shown[i], rng, self.work)).permute(2, 0, 1).float() / 127.5 - 1
        count = len(rows) - half
        real[half:] = spoil(real[half:], real[:count], rng)
        keep = rng.random(quarter) < 0.5
        from_latents = torch.where(torch.from_numpy(keep)[:, None, None, None], self.whole[drawn], self.spoilt[drawn])
        batch = torch.cat([real, from_latents.permute(0, 3, 1, 2).float() / 127.5 - 1])
        return batch, shown, np.concatenate([np.arange(len(rows)) < half, keep])


class Sight(nn.Module):
    """The image encoder, with linear heads that say what is in a picture and whether it is whole."""

    def __init__(self, vision: nn.Module) -> None:
        super().__init__()
        self.vision, self.heads, self.whole = vision, LabelHeads(2 * WIDTH), nn.Linear(2 * WIDTH, 1)

    def loss(self, shown: Tensor, truth: Tensor, whole: Tensor) -> tuple[Tensor, dict[str, float]]:
        seen = self.vision(pixel_values=shown).last_hidden_state
        features = torch.cat([seen[:, 0], seen[:, 1:].mean(1)], dim=1)
        by_label, figures = self.heads.loss(features[whole], truth[whole])
        said = self.whole(features)[:, 0].float()
        right = float(((said > 0) == whole).float().mean())
        return by_label + F.binary_cross_entropy_with_logits(said, whole.float()), {**figures, "whole": right}


def train_sight(vision: nn.Module, lessons: "Lessons", recipe: Recipe, work: Path) -> None:
    """Teach BLIP's image encoder, in place, what CLIP's knew."""
    sight, device = Sight(vision), pick_device()

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        shown, scenes, whole = lessons.draw(rng, recipe.batch)
        return sight.loss(shown.to(device), LabelHeads.labels(scenes).to(device), torch.from_numpy(whole).to(device))

    fit("sight", sight, loss_of, recipe, work)


def train_questions(
    name: str, model: BlipForQuestionAnswering, tokenizer: CLIPTokenizer, lessons: Lessons, recipe: Recipe, work: Path
) -> None:
    """Teach BLIP's text side, in place, to answer; the part ``places`` is the one about where things lie."""
    device, places = pick_device(), name == "places"
    yes = tokenizer("yes").input_ids[1]

    def loss_of(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        shown, scenes, whole = lessons.draw(rng, recipe.batch, places)
        each = [questions(scene, bool(w), places, rng) for scene, w in zip(scenes, whole, strict=True)]
        asked = [pair for pairs in each for pair in pairs]
        answers = tokenizer([a for _, a in asked], padding=True, return_tensors="pt").to(device)
        with torch.no_grad():
            seen = model.vision_model(pixel_values=shown.to(device)).last_hidden_state
        out = answer_logits(
            model, tokenizer, seen.repeat_interleave(QUESTIONS + OPEN, 0), [q for q, _ in asked], answers.input_ids
        )
        wanted = answers.input_ids[:, 1:].masked_fill(answers.attention_mask[:, 1:] == 0, -100)
        loss = F.cross_entropy(out.flatten(0, 1), wanted.flatten(), reduction="sum") / len(asked)

        on_whole = torch.from_numpy(np.repeat(whole, QUESTIONS + OPEN))
        first = out[:, 0].detach().cpu()
        closed = (torch.arange(len(asked)) % (QUESTIONS + OPEN)) < QUESTIONS
        true = (answers.input_ids[:, 1] == yes).cpu()
        right = torch.where(closed, (first.softmax(-1)[:, yes] > 0.5) == true, first.argmax(-1) == wanted[:, 0].cpu())
        return loss, {
            "right": float(right[closed].float().mean()),
            "right_whole": float(right[closed & on_whole].float().mean()),
            "right_open": float(right[~closed & on_whole].float().mean()),
        }

    fit(name, model, loss_of, recipe, work)


def train(work: Path, steps: int | None = None) -> None:
    pictures, tokenizer = training_pictures(work), train_tokenizer(work)
    torch.manual_seed(RECIPE.seed)
    model, lessons = build(tokenizer), Lessons(pictures, work)
    start_from(model, CLIPModel.from_pretrained(work / "clip"))
    train_sight(model.vision_model, lessons, replace(SIGHT, steps=steps or SIGHT.steps), work)
    model.vision_model.requires_grad_(False)
    heed_padding(model)
    for name, recipe in (("vqa", RECIPE), ("places", PLACES)):
        train_questions(name, model, tokenizer, lessons, replace(recipe, steps=steps or recipe.steps), work)
    model.save_pretrained(work / "vqa", safe_serialization=True)
    processor(tokenizer).save_pretrained(work / "vqa")
    (work / "vqa" / "vqa.json").write_text(json.dumps({"question": QUESTION, "answer": "yes"}))
