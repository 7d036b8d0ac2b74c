"""Thresholds that follow the sampler's noise instead of its count of steps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generators.sharing.schedule import Schedule


@dataclass(frozen=True)
class Snr(Schedule):
    """phi(k) = tau x the noise's share of the latents before step k, made 0 at the last step; ties as in eq7.

    The share is 1 / (1 + exp(log SNR_k - shift)): the noise's part of the variance where `shift` is 0, as if the model
    were told a signal that is exp(shift) times weaker where it is not. A high shift shares for long and splits late and
    all at once, a low one splits early. The share of the last step is taken off and the rest stretched, so that noise
    alone has tau.

    Attributes:
        shift: of log SNR; fitted with mini-sd on mini_templates (docs/ideas.md, where it did not beat eq7 elsewhere).
    """

    name = "snr"
    ties = "smaller"
    wants_snr = True

    shift: float = -2.0

    def phi(self, tau: float, steps: int) -> NDArray[np.float64]:
        level = np.zeros(steps) if self.log_snr is None else np.maximum.accumulate(self.log_snr)
        above = np.clip(level - self.shift, -700, 700)
        noise = 1 / (1 + np.exp(above))
        left = 1 / (1 + np.exp(-above[-1]))  # 1 - noise[-1] without its rounding
        share: NDArray[np.float64] = np.minimum((noise - noise[-1]) / left, 1.0)
        return tau * share
