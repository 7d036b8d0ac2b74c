"""Noise that belongs to a node and a step, not to a batch, an order or a device."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from generators.settings import NoisePolicy


class NoiseSource(Protocol):
    """Where the executor's noise comes from: float32 on the CPU, one row a node."""

    def initial(self, node_keys: Sequence[str], shape: tuple[int, ...]) -> Tensor:
        """Unit-variance initial latents, [len(node_keys), *shape]."""
        ...

    def step(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        """The `draw`-th noise a scheduler asks for at step k, [len(node_keys), *shape]."""
        ...


def node_key(member_keys: Sequence[str]) -> str:
    """A cluster's key: the hash of its members' sorted keys, so that only who is in it matters."""
    return hashlib.sha256("\n".join(sorted(member_keys)).encode()).hexdigest()


def derived_key(*parts: object) -> int:
    """128 bits that depend on every part and on where one part ends and the next begins."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=16).digest(), "big")


class KeyedNoise:
    """N(0, I) drawn from (seed, purpose, node key, step, draw).

    Philox takes the whole 128-bit key; torch's CPU generator keeps 32 bits of its seed, so that among
    100,000 draws of a run two would likely be the same.

    Args:
        seed: of the picture; several pictures of one prompt are several seeds.
        policy: ``per-root`` draws an initial latent for every cluster active at the first step
            (Algorithm 1, line 13), ``shared`` one for all (the official code).
    """

    def __init__(self, seed: int, policy: NoisePolicy = "per-root") -> None:
        self.seed = seed
        self.policy = policy

    def initial(self, node_keys: Sequence[str], shape: tuple[int, ...]) -> Tensor:
        if self.policy == "shared":
            return self._row(("initial", "shared"), shape).expand(len(node_keys), *shape).clone()
        return torch.stack([self._row(("initial", key), shape) for key in node_keys])

    def step(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        return torch.stack([self._row(("step", key, k, draw), shape) for key in node_keys])

    def _row(self, what: tuple[object, ...], shape: tuple[int, ...]) -> Tensor:
        generator = np.random.Generator(np.random.Philox(key=derived_key(self.seed, *what)))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
