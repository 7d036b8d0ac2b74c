"""The pictures of the card mini-sd-styles by plain diffusers, with 14 steps in place of 20, and their manifest."""

import csv
import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTokenizer

prompts, folder, steps = Path(sys.argv[1]), Path(sys.argv[2]), 14
model, text = Path("miniature/checkpoints/stable-diffusion"), Path("miniature/checkpoints/kandinsky/prior")
pipe = StableDiffusionPipeline.from_pretrained(
    model,
    text_encoder=CLIPTextModel.from_pretrained(text / "text_encoder"),  # mini-sd's is kept there
    tokenizer=CLIPTokenizer.from_pretrained(text / "tokenizer"),
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
        lines.append(f"{prompt},{seed},pictures/{prompt}-{seed}.png,{2 * steps}")  # guidance: two rows a step
        picture.save(folder / lines[-1].split(",")[2])
(folder / "manifest.csv").write_text("\n".join(lines) + "\n")
