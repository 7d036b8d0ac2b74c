"""How many wrong hits does `bench drive` need to raise its alarm? ``python -m benchmarks.alarm_power``.

Of 240 requests of a prompt set, mini-sd makes pictures by themselves, three times with other seeds, and again from the
latent of another request after some of the steps: of any other one, of one whose prompt shares few words, of the
nearest other prompt. Streams of 500 requests are drawn of these: most hit, and are right (another seed's picture); a
share of the hits is wrong. Some minutes a set on one core.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from common.files import atomic_write
from generators.model_entry import locate
from generators.prompts import prompt_set
from metrics.scorer_audit import far_prompts, near_prompts
from serving.verdict import Arms, alarm
from sweeps.scorers import Scorers

RESULTS = Path(__file__).parent / "results" / "alarm_power.json"
SETS, STEPS, GUIDANCE, BATCH = ("mini_scenes", "mini_styles"), 8, 3.0, 16
SCORERS = ("vqa=embedded:vqa", "clip_diversity=embedded:clip")
REQUESTS, HITS = 500, 0.8
# whose latent, after how many steps, and the share of wrong hits
CASES = (
    *(("any", 5, 0.05), ("any", 4, 0.05), ("far", 4, 0.05), ("far", 2, 0.05), ("near", 4, 0.05)),
    *(("any", 4, 0.02), ("any", 4, 0.1), ("none", 0, 0.0)),
)
Measured = Mapping[str, NDArray[Any]]


class MiniSd:
    """The miniature of Stable Diffusion, from any step on.

    Args:
        prompts: of the requests.
    """

    def __init__(self, prompts: list[str]) -> None:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        place, words = Path(locate("embedded:stable-diffusion")), Path(locate("embedded:kandinsky/prior/text_encoder"))
        self.unet = UNet2DConditionModel.from_pretrained(place, subfolder="unet").eval()
        self.vae = AutoencoderKL.from_pretrained(place, subfolder="vae").eval()
        self.scheduler = DDIMScheduler.from_config(DDIMScheduler.load_config(place, subfolder="scheduler"))
        self.scheduler.set_timesteps(STEPS)
        encoder = CLIPTextModel.from_pretrained(words).eval()
        tokenizer = CLIPTokenizer.from_pretrained(words.parent / "tokenizer")
        size = tokenizer.model_max_length
        tokens = tokenizer([*prompts, ""], padding="max_length", max_length=size, truncation=True, return_tensors="pt")
        *asked, nothing = encoder(tokens.input_ids)[0]
        self.asked, self.nothing = torch.stack(asked), nothing

    def noise(self, seed: int) -> torch.Tensor:
        """Return initial latents of all requests."""
        side = self.unet.config.sample_size
        shape = (len(self.asked), self.unet.config.in_channels, side, side)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def paths(self, latents: torch.Tensor, begin: int = 0) -> list[torch.Tensor]:
        """Return the latents of all requests before each step from `begin` on, and after the last."""
        found = [latents]
        for time in self.scheduler.timesteps[begin:]:
            parts = []
            for start in range(0, len(latents), BATCH):
                rows = found[-1][start : start + BATCH]
                texts = torch.cat([self.nothing.expand(len(rows), -1, -1), self.asked[start : start + BATCH]])
                without, given = self.unet(torch.cat([rows, rows]), time, encoder_hidden_states=texts).sample.chunk(2)
                parts.append(self.scheduler.step(without + GUIDANCE * (given - without), time, rows).prev_sample)
            found.append(torch.cat(parts))
        return found

    def pictures(self, latents: torch.Tensor) -> NDArray[np.uint8]:
        """Return decoded pictures, uint8 [N, height, width, 3]."""
        scale = self.vae.config.scaling_factor
        decoded = torch.cat([self.vae.decode(part / scale).sample for part in latents.split(BATCH)])
        pixels: NDArray[np.uint8] = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return pixels


def measured(pixels: NDArray[np.uint8], prompts: list[str], scorers: Scorers) -> Measured:
    """Return the columns of all scorers."""
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{row:05d}.png" for row in range(len(pixels))]
        for file, picture in zip(files, pixels, strict=True):
            Image.fromarray(picture).save(file)
        return {
            name: column
            for metric in scorers.metrics.values()
            for name, column in metric.measure(files, prompts).items()
        }


def kinds(name: str, requests: int) -> tuple[list[str], dict[str, Measured]]:
    """Return the requests' prompts, and by kind of picture what scorers measured."""
    rng = np.random.default_rng(0)
    texts = list(prompt_set(name).prompts)
    which = np.concatenate([rng.permutation(len(texts)) for _ in range(-(-requests // len(texts)))])[:requests]
    prompts = [texts[row] for row in which]
    model, scorers = MiniSd(prompts), Scorers(None, SCORERS, "cpu")
    far = far_prompts(prompts)
    sources = {
        "any": np.array([rng.choice(np.flatnonzero(which != row)) for row in which]),
        "near": near_prompts(prompts, 1)[:, 0],
        "far": np.arange(requests) if far is None else far,
    }
    path = model.paths(model.noise(1))
    found = {"off": measured(model.pictures(path[-1]), prompts, scorers)}
    for seed, kind in ((2, "control"), (3, "right")):
        found[kind] = measured(model.pictures(model.paths(model.noise(seed))[-1]), prompts, scorers)
    for whose, steps in sorted({(whose, steps) for whose, steps, share in CASES if share}):
        latents = model.paths(path[steps][torch.from_numpy(sources[whose])], steps)[-1]
        found[f"{whose} {steps}"] = measured(model.pictures(latents), prompts, scorers)
        print(
            f"{name}: {whose}, {steps} of {STEPS} steps, VQAScore {found[f'{whose} {steps}']['vqa'].mean():.3f}",
            flush=True,
        )
    return prompts, found


def raised(prompts: list[str], found: Mapping[str, Measured], fault: str, share: float, streams: int) -> float:
    """Return the share of drawn streams that raise the alarm."""
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(streams):
        rows = rng.integers(0, len(prompts), REQUESTS)
        hit = rng.random(REQUESTS) < HITS
        wrong = hit & (rng.random(REQUESTS) < share)
        on = np.where(wrong, fault, np.where(hit, "right", "off"))

        def column(name: str, arm: str, rows: Any = rows, on: Any = on) -> NDArray[Any]:
            if arm != "on":
                return found[arm][name][rows]
            return np.stack([found[kind][name][row] for kind, row in zip(on, rows, strict=True)])

        arms = ("off", "on", "control")
        drawn = Arms(
            ids=range(REQUESTS),
            prompts=[prompts[row] for row in rows],
            scores={arm: {"vqa": column("vqa", arm)} for arm in arms},
            embeddings={arm: {"clip": column("clip", arm)} for arm in arms},
            texts={"clip": column("clip_prompt", "off")},
            contents={
                "off": [f"off {i}" for i in range(REQUESTS)],
                "on": [f"{'on' if one else 'off'} {i}" for i, one in enumerate(hit)],
                "control": [f"control {i}" for i in range(REQUESTS)],
            },
        )
        alarms += alarm(drawn).raised
    return alarms / streams


def main() -> None:
    """Measure, and print and keep the shares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alarm_power", description=__doc__)
    parser.add_argument("--pictures", type=int, default=240, help="of each kind")
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    rows = []
    for name in SETS:
        with torch.no_grad():
            prompts, found = kinds(name, asked.pictures)
        for whose, steps, share in CASES:
            streams = asked.streams if share else 8 * asked.streams
            power = raised(prompts, found, f"{whose} {steps}", share, streams)
            rows.append(
                {"set": name, "latent": whose, "steps": steps, "share": share, "raised": power, "streams": streams}
            )
            print(f"{name}: {whose}, {steps} of {STEPS} steps, {share:.0%} of hits: {power:.0%}", flush=True)
            atomic_write(asked.out, json.dumps({"steps": STEPS, "hits": HITS, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
