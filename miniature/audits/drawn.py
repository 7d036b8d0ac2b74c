"""The generated pictures that the scorer is audited on: drawn once for each state of the checkpoints, then kept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.files import atomic_path, sha256_text, sha256_tree
from miniature.audits.painters import Kandinsky, Painter
from miniature.world import Scene, caption, random_scene

PROMPTS = 256
OF_A_FAMILY = 120
HASTY = 3
SEED, OTHER_SEED = 3, 8


@dataclass(frozen=True)
class Baselines:
    """Baseline pictures of some families.

    Attributes:
        scenes: what picture i was asked to show, [N].
        pictures: [N, 3, 64, 64] in [-1, 1].
        other: the same prompts' under another seed, [N, 3, 64, 64].
    """

    scenes: list[Scene]
    pictures: Tensor
    other: Tensor


@dataclass(frozen=True)
class Drawn:
    """Kandinsky's pictures of one set of prompts, and baselines of every family.

    Attributes:
        scenes: of the prompts, [N].
        full: at the default steps, [N, 3, 64, 64] in [-1, 1], as are the others.
        hasty: at `HASTY` steps.
        of_mean: of the mean of each prompt's embedding and its three nearest.
        other: of another seed.
        baselines: `OF_A_FAMILY` pictures of each family.
    """

    scenes: list[Scene]
    full: Tensor
    hasty: Tensor
    of_mean: Tensor
    other: Tensor
    baselines: Baselines


def kept(painter: Painter, name: str, work: Path, draw: Callable[[], Tensor]) -> Tensor:
    """Return pictures of a painter from the work folder; drawn and put there if its checkpoints have changed since."""
    state = sha256_text(" ".join(sha256_tree(place) for place in painter.places.values()))
    store = work / "audit" / f"{painter.name}-{name}-{state[:12]}.npy"
    if not store.exists():
        store.parent.mkdir(exist_ok=True)
        with atomic_path(store) as beside, beside.open("wb") as file:
            np.save(file, ((draw() + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return torch.from_numpy(np.load(store, allow_pickle=False)).permute(0, 3, 1, 2).float() / 127.5 - 1


def drawn(painters: list[Painter], work: Path) -> Drawn:
    """Return the audit's pictures, in 8 bits a channel as files have them; `painters` include Kandinsky."""
    kandinsky = next(painter for painter in painters if isinstance(painter, Kandinsky))
    rng = np.random.default_rng(14)
    scenes = [random_scene(rng, two_objects=0.3) for _ in range(PROMPTS)]
    prompts = [caption(scene) for scene in scenes]

    shown: list[Scene] = []
    pictures: list[Tensor] = []
    others: list[Tensor] = []
    for painter in painters:
        if painter is not kandinsky:
            of_family = [random_scene(rng, two_objects=0.3) for _ in range(OF_A_FAMILY)]
            told = [caption(scene) for scene in of_family]
            shown += of_family
            for seed, name, taken in ((SEED, "full", pictures), (OTHER_SEED, "other", others)):
                taken.append(kept(painter, name, work, partial(painter.pictures, told, seed)))

    def of_mean() -> Tensor:
        # a cluster's mean: each prompt's embedding averaged with its three nearest
        embeddings = kandinsky.embeddings(prompts, SEED)
        similarity = F.normalize(embeddings[0]) @ F.normalize(embeddings[0]).T
        near = similarity.topk(4, dim=1).indices
        return kandinsky.drawn((embeddings[0][near].mean(1), embeddings[1]), SEED)

    full = kept(kandinsky, "full", work, partial(kandinsky.pictures, prompts, SEED))
    other = kept(kandinsky, "other", work, partial(kandinsky.pictures, prompts, OTHER_SEED))
    return Drawn(
        scenes,
        full,
        kept(kandinsky, "hasty", work, lambda: kandinsky.drawn(kandinsky.embeddings(prompts, SEED), SEED, steps=HASTY)),
        kept(kandinsky, "mean", work, of_mean),
        other,
        Baselines(
            [*scenes[:OF_A_FAMILY], *shown],
            torch.cat([full[:OF_A_FAMILY], *pictures]),
            torch.cat([other[:OF_A_FAMILY], *others]),
        ),
    )
