"""Write the pictures of the card mini-sd-styles, by plain diffusers with 14 steps for 20, and their manifest."""

import csv
import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTokenizer

import miniature  # for its checkpoints alone: mini-sd takes its text encoder from mini-kandinsky

prompts, folder, steps = Path(sys.argv[1]), Path(sys.argv[2]), 14
checkpoints = Path(miniature.__file__).parent / "checkpoints"
pipe = StableDiffusionPipeline.from_pretrained(
    checkpoints / "stable-diffusion",
    text_encoder=CLIPTextModel.from_pretrained(checkpoints / "kandinsky/prior/text_encoder"),
    tokenizer=CLIPTokenizer.from_pretrained(checkpoints / "kandinsky/prior/tokenizer"),
)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
(folder / "pictures").mkdir(parents=True, exist_ok=True)
texts = [row["prompt_text"] for row in csv.DictReader(prompts.open())]
lines = ["prompt,seed,file,nfe"]
for seed in (42, 43, 44):
    noise = torch.Generator().manual_seed(seed)  # goes on from picture to picture: each has noise of its own
    pictures = []
    for start in range(0, len(texts), 20):
        batch = texts[start : start + 20]
        pictures += pipe(batch, num_inference_steps=steps, guidance_scale=3.0, generator=noise).images
    for prompt, picture in enumerate(pictures):
        file = f"pictures/{prompt}-{seed}.png"
        picture.save(folder / file)
        lines.append(f"{prompt},{seed},{file},{2 * steps}")  # guidance: two rows of the denoiser a step
(folder / "manifest.csv").write_text("\n".join(lines) + "\n")
