"""The pictures every part is trained on, made once and kept in the work folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common.files import atomic_path
from miniature.pictures import pool
from miniature.world import BACKGROUNDS, STYLES, Scene, caption, random_scene

TRAINING = 64_000
CHUNK = 8_000


@dataclass(frozen=True)
class Pictures:
    """Pictures and what they show.

    Attributes:
        pixels: uint8 [N, 64, 64, 3].
        scenes: what picture i shows.
    """

    pixels: NDArray[np.uint8]
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)

    def tensor(self, rows: NDArray[np.int64] | slice) -> torch.Tensor:
        """Return pictures as float32 [n, 3, 64, 64] in [-1, 1]."""
        return torch.from_numpy(self.pixels[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1

    @cached_property
    def what(self) -> NDArray[np.int64]:
        """Return a number for the objects and how they lie, [N]: equal where a caption's first part is equally true."""
        names: dict[object, int] = {}
        told = [(scene.canonical().concepts, scene.canonical().relation) for scene in self.scenes]
        return np.array([names.setdefault(key, len(names)) for key in told])

    @cached_property
    def style(self) -> NDArray[np.int64]:
        return np.array([STYLES.index(scene.style) for scene in self.scenes])

    @cached_property
    def background(self) -> NDArray[np.int64]:
        colours = list(BACKGROUNDS)
        return np.array([colours.index(scene.background) for scene in self.scenes])


def training_pictures(work: Path, count: int = TRAINING) -> Pictures:
    """Return the training pool: a quarter of it scenes of two objects, no held-out (concept, style) pair in it."""
    store = work / f"pool-{count}.npy"
    if not store.exists():
        painted = [pool(CHUNK, seed, work)[0] for seed in range(count // CHUNK)]
        with atomic_path(store) as beside, beside.open("wb") as file:
            np.save(file, np.concatenate(painted))
    scenes = [scene for seed in range(count // CHUNK) for scene in pool_scenes(CHUNK, seed)]
    return Pictures(np.load(store, mmap_mode="r", allow_pickle=False), scenes)


def pool_scenes(count: int, seed: int) -> list[Scene]:
    """Return the scenes of a pool without painting them: they are drawn first, from the same generator."""
    rng = np.random.default_rng(seed)
    return [random_scene(rng) for _ in range(count)]


def any_caption(scene: Scene, rng: np.random.Generator) -> tuple[str, bool, bool]:
    """Return a true caption, in full half of the time; and whether it names the style and the background."""
    style, background = (True, True) if rng.random() < 0.5 else (bool(rng.random() < 0.5), bool(rng.random() < 0.5))
    if scene.relation and rng.random() < 0.5:
        scene = scene.turned()
    return caption(scene, style=style, background=background), style, background
