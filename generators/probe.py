"""The denoiser's opinion, for strategies that ask for it: what two clusters would make of one noisy latent."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from generators.batching import Batches
from generators.combiners.base import get_combiner
from generators.conditioning import Conditioning
from generators.families.base import Family
from generators.noise import KeyedNoise, node_key
from generators.settings import GenerationSettings, KeyedPolicy
from generators.strategies.base import Prompts

Ask = tuple[Prompts, Tensor]  # conditioned on whose mean, and the latent


class DenoiserProbe:
    """A `generators.strategies.base.Probe` that asks a family's denoiser.

    A pair's noisy latent is what one long deterministic step makes of the noise that both begin with: the clean latent
    that the mean of both predicts there, with as much of that noise as the step in question has. So an answer does not
    depend on others, nor on batches.

    Args:
        family: whose denoiser.
        conditioning: of the strategy's prompts.
        keys: one a prompt, as the executor has them.
        settings: of the pictures; noise is theirs, of a cluster of these members.
        batches: rows at a time.

    Raises:
        UserError: the scheduler does not say how noisy its latents are.
    """

    def __init__(
        self,
        family: Family,
        conditioning: Conditioning,
        keys: Sequence[str],
        settings: GenerationSettings,
        batches: Batches,
    ) -> None:
        self._family, self._conditioning, self._keys, self._settings = family, conditioning, keys, settings
        self._batches, self._sampler = batches, family.sampler(settings)
        levels, log_snr = self._sampler.levels, self._sampler.log_snr
        if levels is None or log_snr is None:
            raise UserError(
                "a strategy asks the denoiser, and the scheduler does not say how noisy its latents are",
                "choose another --scheduler or --strategy",
            )
        self.log_snr: NDArray[np.float64] = np.maximum.accumulate(log_snr)
        family.accelerate()
        batches.few_sizes = family.acceleration.compiled
        self.rows = 0
        self._levels = levels
        self._begun: dict[str, tuple[Tensor, Tensor]] = {}  # by node key: the noise, and x0 predicted from it

    def disagreement(self, pairs: Sequence[tuple[Prompts, Prompts]], k: int) -> NDArray[np.float64]:
        both = [np.sort(np.concatenate(pair)) for pair in pairs]
        keys = [node_key([self._keys[prompt] for prompt in each]) for each in both]
        self._begin({key: each for key, each in zip(keys, both, strict=True) if key not in self._begun})
        level = self._levels[k]
        noisy = [level.alpha * clean + level.sigma * noise for noise, clean in (self._begun[key] for key in keys)]
        asked = [(np.sort(part), latent) for pair, latent in zip(pairs, noisy, strict=True) for part in pair]
        predicted = self._predicted(asked, k).reshape(len(pairs), 2, -1).double()
        apart: NDArray[np.float64] = (predicted[:, 0] - predicted[:, 1]).square().mean(dim=1).sqrt().numpy()
        return apart

    def _begin(self, clusters: dict[str, Prompts]) -> None:
        if not clusters:
            return
        policy: KeyedPolicy = "shared" if self._settings.noise == "shared" else "per-root"
        shape = self._family.latent_shape(self._settings)
        noise = KeyedNoise(self._settings.seed, policy).initial(list(clusters), shape)
        asked = [
            (members, each * self._sampler.init_sigma) for members, each in zip(clusters.values(), noise, strict=True)
        ]
        clean = self._predicted(asked, 0)
        self._begun |= {key: (noise[i], clean[i]) for i, key in enumerate(clusters)}

    @torch.no_grad()
    def _predicted(self, asked: Sequence[Ask], k: int) -> Tensor:
        """float32 [n, *latent shape] on the CPU: the clean latents predicted at step k."""
        mean, family = get_combiner("mean"), self._family

        def work(rows: slice) -> Tensor:
            part = asked[rows]
            latents = torch.stack([latent for _, latent in part]).to(family.device, family.dtype)
            nodes = [
                mean.node({name: tensor[members] for name, tensor in self._conditioning.tensors.items()}, None)
                for members, _ in part
            ]
            conditioned = {name: torch.stack([node[name] for node in nodes]) for name in self._conditioning.tensors}
            output = family.predict(latents, k, self._sampler, conditioned, self._settings)
            x0 = self._sampler.x0(output, k, latents)
            if x0 is None:
                raise UserError(
                    "a strategy asks the denoiser, and the scheduler does not say what clean picture a step predicts",
                    "choose another --scheduler or --strategy",
                )
            return x0.float().cpu()

        found = torch.cat(list(self._batches.each(len(asked), work)))
        self.rows += len(asked)
        return found
