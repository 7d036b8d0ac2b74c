"""An online peer: text-to-image, or image-to-image from a similar earlier picture."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generators.sharing.requests import Pictures
from generators.sharing.stream import Storing, stepped
from generators.strategies.arriving import Arriving


class CacheGenius(Arriving):
    """A stream of prompts, each starting from the nearest earlier picture, noised to one step, if it is near enough.

    After CacheGenius (arXiv 2511.22421), of which no code is public.

    As published: a prompt is made from its text alone, or from a stored picture with noise and then in fewer steps
    (image-to-image, as SDEdit). tau stretches distances, so tau 1 is the rule, and at tau 0 nobody shares.

    Not as published: `threshold`, `share` and `size` are ours (the share is the largest of MoDM's public code). Its
    classes of pictures on several machines and its scheduler, which place requests, save no steps and are left out. It
    lets go of pictures by an analysis of correlations (LCU) that we could not read; here the least recently used goes.
    Texts are compared with texts, as plans are known before pictures. The stored picture is our finished latent;
    published, the decoded picture, encoded again.
    """

    name = "cachegenius"
    source = "CacheGenius, arXiv 2511.22421"

    threshold: float = Field(0.75, gt=-1, lt=1, description="cosine similarity above which a picture is started from")
    share: float = Field(0.6, gt=0, lt=1, description="the share of steps that is then skipped")
    size: int | None = Field(1000, ge=1, description="pictures that the cache holds; null: all")
    store: Storing = Field(
        "all", description="whose pictures are stored: of prompts that found none to start from (misses), or all"
    )

    def stream(self, rows: NDArray[np.float64], arrivals: NDArray[np.int64]) -> Pictures:
        def table(steps: int) -> list[tuple[int, float]]:
            return stepped((1 - self.threshold,), (self.share,), steps)

        return Pictures(rows, arrivals, table, self.size, "lru", self.store)
