"""An online peer: Chorus' first stage."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generators.sharing.requests import Requests
from generators.sharing.stream import stepped
from generators.strategies.arriving import Arriving


class Chorus(Arriving):
    """A stream of prompts, each taking its first steps from the nearest earlier request if that is similar enough.

    After Stage 1 of Chorus (arXiv 2604.04451), which makes videos.

    As published: of the stored requests the one whose embedding is nearest by cosine; upon a match its latents stand
    for the initial steps, whole. tau stretches distances, so tau 1 is the rule, and at tau 0 nobody shares.

    Not as published: Stage 2, which reuses regions of latents and amplifies attention to the words that differ, is
    left out: it changes the denoiser's calls, not the plan. `threshold`, `share` and `size` are ours, as no code is
    public: the threshold of vLLM-Omni, which says that it implements Stage 1, and one step of the four that Chorus'
    distilled models take. It compares CLIP's embeddings, this whatever features it is given. Only requests that start
    from noise are stored, and the least recently used goes.
    """

    name = "chorus"
    source = "Stage 1 of Chorus, arXiv 2604.04451"

    threshold: float = Field(0.75, gt=-1, lt=1, description="cosine similarity above which a prompt takes over steps")
    share: float = Field(0.25, gt=0, lt=1, description="the share of steps that it takes over")
    size: int | None = Field(100, ge=1, description="requests that the cache holds; null: all")

    def stream(self, rows: NDArray[np.float64], arrivals: NDArray[np.int64]) -> Requests:
        def table(steps: int) -> list[tuple[int, float]]:
            return stepped((1 - self.threshold,), (self.share,), steps)

        return Requests(rows, arrivals, table, self.size, "lru")
