"""Pictures of scenes: drawings placed, scaled and flipped at random on a background."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from miniature.artwork import sprites
from miniature.world import BACKGROUNDS, Scene, random_scene

SIDE = 64
ONE_OBJECT = (0.72, 1.0)  # size of the drawing, as a part of the side
TWO_OBJECTS = (0.46, 0.52)


def place(rng: np.random.Generator, size: int, room: tuple[int, int, int, int]) -> tuple[int, int]:
    """Return a random corner for a square of `size` pixels within `room` (left, top, right, bottom)."""
    left, top, right, bottom = room
    return int(rng.integers(left, max(left, right - size) + 1)), int(rng.integers(top, max(top, bottom - size) + 1))


def paint(scene: Scene, rng: np.random.Generator, work: Path) -> NDArray[np.uint8]:
    """Return a picture of `scene`: uint8 [64, 64, 3]. Place, size and left-right flip are drawn from `rng`."""
    scene = scene.canonical()
    half = SIDE // 2
    if scene.relation is None:
        rooms, sizes = [(0, 0, SIDE, SIDE)], ONE_OBJECT
    elif scene.relation == "left of":
        rooms, sizes = [(0, 8, half, SIDE - 8), (half, 8, SIDE, SIDE - 8)], TWO_OBJECTS
    else:
        rooms, sizes = [(8, 0, SIDE - 8, half), (8, half, SIDE - 8, SIDE)], TWO_OBJECTS
    canvas = Image.new("RGB", (SIDE, SIDE), BACKGROUNDS[scene.background])
    for concept, room in zip(scene.concepts, rooms, strict=True):
        size = round(SIDE * rng.uniform(*sizes))
        drawing = sprites(work)[concept, scene.style].resize((size, size), Image.Resampling.LANCZOS)
        if rng.random() < 0.5:
            drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        canvas.paste(drawing, place(rng, size, room), drawing)
    return np.asarray(canvas)


def pool(
    count: int, seed: int, work: Path, *, two_objects: float = 0.25, split: str = "train"
) -> tuple[NDArray[np.uint8], list[Scene]]:
    """Return `count` pictures of random scenes: uint8 [count, 64, 64, 3], and the scenes."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, two_objects=two_objects, split=split) for _ in range(count)]
    return np.stack([paint(scene, rng, work) for scene in scenes]), scenes
