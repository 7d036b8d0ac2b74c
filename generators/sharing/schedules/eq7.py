"""The paper's thresholds."""

import numpy as np
from numpy.typing import NDArray

from generators.sharing.schedule import Schedule


class Eq7(Schedule):
    """phi(k) = tau (1 - k/K), k = 1..K (equation 7); a height equal to it goes to the smaller cluster (Algorithm 1)."""

    name = "eq7"
    ties = "smaller"

    def phi(self, tau: float, steps: int) -> NDArray[np.float64]:
        return tau * (1 - np.arange(1, steps + 1) / steps)
