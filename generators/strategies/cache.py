"""An online peer: prompts that start from what earlier ones left in a cache."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from generators.sharing.stream import Eviction, Storing, Stream
from generators.strategies.arriving import Arriving, rising


class Cache(Arriving):
    """A stream of prompts, each starting from a cached latent of the nearest earlier one, at a step set by similarity.

    After Nirvana. Above `similarity[i]` a prompt skips the first `share[i]` of its steps; its nearest neighbour among
    the prompts that are stored alone conditioned those, or whoever that one started from. tau stretches the distances:
    1 - similarity < tau (1 - similarity[i]), so tau 1 is the table and at tau 0 nobody shares. If the latent of that
    step was evicted, an earlier one of the same prompt does. The schedule changes nothing: the table is one.

    Table, uses counted from 0, and storing on misses only are those of Nirvana in MoDM's public code (stsxxx/MoDM at
    fafff88, ``serving/serving_system_N.py``): 5 to 25 of 50 steps above similarities of 0.65 to 0.95. It compares
    CLIP's text embeddings; this, whatever features it is given, by exact inner products, in spaces where these
    similarities may mean little: compare at equal savings. It also makes room by letting go of latents until some
    prompt has none; here just as many go as come.
    """

    name = "cache"
    version = 2
    source = "after Nirvana, arXiv 2312.04429 (NSDI 2024), as in the public code of MoDM, arXiv 2503.11972"

    similarity: tuple[float, ...] = Field(
        (0.65, 0.75, 0.85, 0.9, 0.95), min_length=1, description="cosine similarities, rising"
    )
    share: tuple[float, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5), min_length=1, description="the share of steps skipped above each of them, rising"
    )
    size: int | None = Field(1000, ge=1, description="latents that the cache holds; null: all")
    eviction: Eviction = Field(
        "lcbfu", description="which latent goes: lru, or lcbfu, the least of uses x steps saved (Nirvana)"
    )
    store: Storing = Field(
        "misses", description="whose latents are stored: of prompts that found none to start from (misses), or all"
    )

    @model_validator(mode="after")
    def _a_table(self) -> Self:
        rising(self.similarity, self.share)
        return self

    def stream(self, rows: NDArray[np.float64], arrivals: NDArray[np.int64]) -> Stream:
        distances = 1 - np.array(self.similarity)
        return Stream(rows, arrivals, distances.tolist(), self.share, self.size, self.eviction, self.store)
