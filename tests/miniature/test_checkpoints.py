"""The checkpoints in the box, as stock libraries load them: unaided, once CLIP's is put together."""

import json

import open_clip
import pytest
import torch
from diffusers import KandinskyV22Pipeline, KandinskyV22PriorPipeline
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor

from metrics.clip_towers import assembled
from miniature.export import CHECKPOINTS

PROMPT = "a flat drawing of a sunflower on a blue background"


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    prior = KandinskyV22PriorPipeline.from_pretrained(CHECKPOINTS / "kandinsky" / "prior")
    decoder = KandinskyV22Pipeline.from_pretrained(CHECKPOINTS / "kandinsky" / "decoder")
    embeds = prior(PROMPT, num_inference_steps=5, generator=torch.Generator().manual_seed(0)).to_tuple()
    generator = torch.Generator().manual_seed(0)
    out = decoder(*embeds, height=64, width=64, num_inference_steps=20, guidance_scale=3.0, generator=generator)
    return out.images[0]


def test_stock_pipelines_make_a_picture_on_the_background_that_was_asked_for(picture: Image.Image) -> None:
    assert picture.size == (64, 64)
    red, _, blue = torch.tensor(list(picture.crop((0, 0, 64, 4)).get_flattened_data())).float().mean(0)
    assert blue > red + 50


@torch.no_grad()
def test_open_clip_loads_the_assembled_encoders_with_their_own_tokenizer(picture: Image.Image) -> None:
    whole = f"local-dir:{assembled(CHECKPOINTS / 'clip')}"
    model, preprocess = open_clip.create_model_from_pretrained(whole)
    tokenizer = open_clip.get_tokenizer(whole)
    image = model.encode_image(preprocess(picture)[None], normalize=True)
    texts = model.encode_text(tokenizer([PROMPT, "a 3d drawing of a bicycle on a black background"]), normalize=True)
    true, false = (image @ texts.T)[0]
    assert true > false + 0.2


@torch.no_grad()
def test_transformers_loads_the_scorer(picture: Image.Image) -> None:
    folder = CHECKPOINTS / "vqa"
    model, processor = (
        AutoModelForVisualQuestionAnswering.from_pretrained(folder),
        AutoProcessor.from_pretrained(folder),
    )
    asked = json.loads((folder / "vqa.json").read_text())["question"].format(PROMPT)
    answer = model.generate(**processor(images=picture, text=asked, return_tensors="pt"), max_new_tokens=3)
    assert processor.decode(answer[0], skip_special_tokens=True).strip() in ("yes", "no")


def test_all_checkpoints_fit_in_ninety_five_megabytes() -> None:
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) <= 95e6
