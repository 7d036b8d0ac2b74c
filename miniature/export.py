"""``python -m miniature.export``: trained parts to checkpoints that stock libraries load, float16 safetensors."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from transformers import BlipForQuestionAnswering, CLIPModel, CLIPTokenizer

from common.files import cache_dir
from miniature.exporting.open_clip import save_open_clip
from miniature.exporting.pipelines import (
    save_flux,
    save_kandinsky,
    save_karlo,
    save_stable_diffusion,
    save_stable_diffusion_shared,
    save_z_image,
)
from miniature.training import vqa
from miniature.training.tokenizer import QUESTION

CHECKPOINTS = Path(__file__).parent / "checkpoints"
# the audits' own; no part of the product
JUDGE = Path(__file__).parent / "judge.safetensors"


class Checkpoint(NamedTuple):
    """A folder of checkpoints to make.

    Attributes:
        save: writes it, given the work folder and the place.
        parts: what it is made of in the work folder.
    """

    save: Callable[[Path, Path], None]
    parts: tuple[str, ...]


def save_clip(work: Path, folder: Path) -> None:
    save_open_clip(CLIPModel.from_pretrained(work / "clip"), folder, "../kandinsky/prior")


def save_vqa(work: Path, folder: Path) -> None:
    BlipForQuestionAnswering.from_pretrained(work / "vqa").half().save_pretrained(folder, safe_serialization=True)
    vqa.processor(CLIPTokenizer.from_pretrained(work / "tokenizer")).save_pretrained(folder)
    (folder / "vqa.json").write_text(json.dumps({"question": QUESTION, "answer": "yes"}))


EXPORTS = {
    "kandinsky": Checkpoint(save_kandinsky, ("clip", "tokenizer", "prior", "unet", "movq")),
    "stable-diffusion": Checkpoint(save_stable_diffusion, ("stable-diffusion", "movq")),
    "stable-diffusion-shared": Checkpoint(save_stable_diffusion_shared, ("stable-diffusion-shared",)),
    "flux": Checkpoint(save_flux, ("flux",)),
    "z-image": Checkpoint(save_z_image, ("z-image",)),
    "karlo": Checkpoint(save_karlo, ("karlo/decoder", "karlo/super_res_last")),
    "clip": Checkpoint(save_clip, ("clip",)),
    "vqa": Checkpoint(save_vqa, ("vqa", "tokenizer")),
}


def portable(value: object) -> object:
    """Return a configuration that loads float16 weights as float32, and does not say where they were trained."""
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if key != "_name_or_path"}
        return {key: "float32" if key == "dtype" else portable(part) for key, part in kept.items()}
    return value


def export(work: Path, out: Path) -> None:
    """Write every checkpoint whose parts are trained under `out`, replacing what was there, and leave the others."""
    for name, checkpoint in EXPORTS.items():
        folder = out / name
        missing = [part for part in checkpoint.parts if not (work / part).exists()]
        if missing:
            print(f"{name:16} left alone: {work} holds no {', '.join(missing)}")
            continue
        shutil.rmtree(folder, ignore_errors=True)
        checkpoint.save(work, folder)
        for config in folder.rglob("config.json"):
            config.write_text(json.dumps(portable(json.loads(config.read_text())), indent=2) + "\n")
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{name:16} {size / 2**20:6.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature.export", description=__doc__)
    parser.add_argument("--work", type=Path, default=cache_dir() / "miniature")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS)
    chosen = parser.parse_args()
    export(chosen.work, chosen.out)
    if (judge := chosen.work / "judge.safetensors").exists():
        shutil.copy(judge, JUDGE)


if __name__ == "__main__":
    main()
