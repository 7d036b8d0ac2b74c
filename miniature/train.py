"""``python -m miniature.train <part>``: train one part of the miniature, or go on where it was interrupted."""

import argparse
import importlib
from pathlib import Path

import torch

from common.files import cache_dir

PARTS = (
    "autoencoder", "encoders", "judge", "vqa", "prior", "decoder", "stable_diffusion", "flux", "z_image", "karlo",
    "super_resolution", "vqa_steady", "stable_diffusion_shared",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature.train", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument(
        "--work", type=Path, default=cache_dir() / "miniature", help="artwork, pictures and training states"
    )
    parser.add_argument("--steps", type=int, help="another number of steps than the recipe's")
    parser.add_argument("--threads", type=int, help="CPU threads")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    importlib.import_module(f"miniature.training.{chosen.part}").train(chosen.work, chosen.steps)


if __name__ == "__main__":
    main()
