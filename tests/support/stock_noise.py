"""Noise that a stock pipeline can draw as well as we."""

import torch
from torch import Tensor

from generators.noise import derived_key


class StockNoise:
    """From a torch generator a node, reseeded at every step and draw; in place of `generators.noise.KeyedNoise`."""

    def initial(self, node_keys, shape) -> Tensor:
        return self._rows([self.generator("initial", key) for key in node_keys], shape)

    def step(self, node_keys, k, shape, draw=0) -> Tensor:
        return self._rows([self.generator(k, draw, key) for key in node_keys], shape)

    def generator(self, *what) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed(*what))

    def seed(self, *what) -> int:
        return derived_key(*what) % 2**63

    def _rows(self, generators, shape) -> Tensor:
        return torch.cat([torch.randn(1, *shape, generator=generator) for generator in generators])
