"""The released code's thresholds."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.schedule import Schedule


class Official(Schedule):
    """phi(k) = tau (K - k)/(K - 1), k = 1..K (official code); ties go to the larger cluster (SciPy's fcluster).

    From ddecatur/hierarchical-diffusion at 62b43d7. Bit for bit its ``linspace(0, tau, K)`` reversed, as heights are
    compared for equality. K = 1 gives 0: nobody shares. Unlike that code, which where phi is 0 still merges prompts
    at cosine distance 0, every prompt is alone there.
    """

    name = "official"
    ties = "larger"

    def phi(self, tau: float, steps: int) -> NDArray[np.float64]:
        return np.linspace(0, tau, steps)[::-1]
