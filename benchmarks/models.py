"""Models to measure on: the embedded ones on prompts of the small world, full-size ones with random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.random_models import prepared
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.executor import Execution, decode_images, execute
from generators.families.base import Family, get_family, resolve_settings
from generators.model_entry import ModelEntry
from generators.noise import KeyedNoise, NoiseSource
from generators.prompts import prompt_set
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan
from generators.sharing.tree import Tree
from generators.strategies.base import get_strategy
from miniature.world import BACKGROUNDS, CONCEPTS, STYLES, Scene, caption, has_drawing

EMBEDDED = ("mini-kandinsky", "mini-karlo", "mini-sd", "mini-flux")
FULL_SIZE = ("kandinsky-2.2", "karlo", "sd15", "flux-dev")
BATCH = 32


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model with encoded prompts, ready to denoise.

    Attributes:
        prompts: none where the conditioning is random.
        keys: one a prompt.
    """

    entry: ModelEntry
    family: Family
    settings: GenerationSettings
    conditioning: Conditioning
    prompts: tuple[str, ...]
    keys: tuple[str, ...]
    device: str

    @cached_property
    def steps(self) -> int:
        """K, the denoiser evaluations of one picture."""
        return self.family.sampler(self.settings).K

    @property
    def noise(self) -> KeyedNoise:
        return KeyedNoise(self.settings.seed)

    def __len__(self) -> int:
        return len(self.keys)

    def first(self, n: int) -> "Loaded":
        """Its first n prompts."""
        rows = self.conditioning.taken(np.arange(min(n, len(self.conditioning))))
        return Loaded(self.entry, self.family, self.settings, rows, self.prompts[:n], self.keys[:n], self.device)

    def tree(self) -> Tree:
        """By the default strategy, of the default features."""
        return get_strategy("ward-cosine").tree(self.features(), seed=0)

    def features(self) -> NDArray[np.float64]:
        if self.prompts:
            return self.family.features(self.conditioning, self.family.features_options[0])
        return next(iter(self.conditioning.tensors.values())).flatten(1).double().numpy()

    def denoised(
        self,
        plan: SharingPlan,
        batch: int = BATCH,
        noise: NoiseSource | None = None,
        ends: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    ) -> Execution:
        """The plan by the executor."""
        return execute(
            plan,
            self.family,
            self.conditioning,
            self.keys,
            self.settings,
            noise=noise or self.noise,
            batch_size=batch,
            ends=ends,
        )

    def decoded(self, execution: Execution, batch: int = BATCH, noise: NoiseSource | None = None) -> NDArray[np.uint8]:
        """Its pictures, [R, H, W, 3]."""
        family, batches = self.family, Batches(batch)
        made = decode_images(family, execution, self.keys, self.settings, noise=noise or self.noise, batches=batches)
        return np.concatenate(list(made))

    def pictures(self, plan: SharingPlan, batch: int = BATCH, noise: NoiseSource | None = None) -> NDArray[np.uint8]:
        """The plan's pictures, denoised and decoded."""
        return self.decoded(self.denoised(plan, batch, noise), batch, noise)


def prompts(n: int) -> tuple[str, ...]:
    """The demo's prompts and, where more are asked for, others of the same form."""
    known = list(prompt_set("mini_templates").prompts)
    if n > len(known):
        every = [Scene((c,), s, b) for c in CONCEPTS for s in STYLES if has_drawing(c, s) for b in BACKGROUNDS]
        order = np.random.default_rng(13).permutation(len(every))
        known = list(dict.fromkeys([*known, *(caption(every[i]) for i in order)]))
    return tuple(known[:n])


def embedded(name: str, n: int, device: str = "cpu", **asked: object) -> Loaded:
    """One of the models in the box, its encoders released again."""
    entry = model(name)
    settings = resolve_settings(entry, {"dtype": "fp32", **asked}, device)
    family = get_family(entry.family).load(entry, device, settings.dtype)
    texts = prompts(n)
    conditioning = family.encode(texts, texts, settings)
    return Loaded(entry, family, settings, conditioning, texts, texts, device)


def full_size(name: str, n: int, device: str, steps: int | None = None) -> Loaded:
    """A public model's architecture with random weights, which cost what trained ones cost."""
    with torch.no_grad():
        family, settings, conditioning = prepared(name, device, n, steps)
    return Loaded(family.entry, family, settings, conditioning, (), tuple(map(str, range(n))), device)


def loaded(name: str, n: int, device: str, **asked: object) -> Loaded:
    """The embedded model of that name, or the full-size one with random weights."""
    if name in EMBEDDED:
        return embedded(name, n, device, **asked)
    steps = asked.get("steps")
    return full_size(name, n, device, steps if isinstance(steps, int) else None)


def wanted(models: Sequence[str] | None, full: bool) -> Sequence[str]:
    """Those that were asked for by name, or all of the size."""
    return models or (FULL_SIZE if full else EMBEDDED)
