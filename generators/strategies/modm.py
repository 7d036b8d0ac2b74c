"""An online peer: prompts that start from the finished pictures of earlier ones."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from generators.sharing.requests import Pictures
from generators.sharing.stream import Storing, stepped
from generators.strategies.arriving import Arriving, rising


class Modm(Arriving):
    """A stream of prompts, each starting from the nearest earlier picture, noised to a step that similarity sets.

    After MoDM (arXiv 2503.11972; stsxxx/MoDM at fafff88, ``serving/serving_system_MoDM.py``).

    As published: the shares that are skipped, 5, 10, 15, 25 and 30 of 50 steps; fresh noise as there is before the step
    (image-to-image, as SDEdit); a cache of 10,000 pictures from which the oldest goes; pictures of prompts that hit are
    stored too, as those of its small models are (`store` says otherwise). tau stretches distances, so tau 1 is the
    table, and at tau 0 nobody shares. The schedule changes nothing.

    Not as published: it compares a prompt's text with stored *pictures*, in CLIP's space, where 0.25, 0.27, 0.28, 0.29
    and 0.3 set those shares. A plan is known before any picture is, so here texts are compared with texts, and the
    similarities are those that the same code's Nirvana has for texts: compare at equal savings. There hits go to a
    smaller model, which is the point of it; here to the same. The stored picture is our finished latent; published, the
    decoded picture, encoded again: what that loses, and costs, is not here.
    """

    name = "modm"
    source = "MoDM, arXiv 2503.11972 (ASPLOS 2026), stsxxx/MoDM at fafff88"

    similarity: tuple[float, ...] = Field(
        (0.65, 0.75, 0.85, 0.9, 0.95), min_length=1, description="cosine similarities, rising"
    )
    share: tuple[float, ...] = Field(
        (0.1, 0.2, 0.3, 0.5, 0.6), min_length=1, description="the share of steps skipped above each of them, rising"
    )
    size: int | None = Field(10_000, ge=1, description="pictures that the cache holds; null: all")
    store: Storing = Field(
        "all", description="whose pictures are stored: of prompts that found none to start from (misses), or all"
    )

    @model_validator(mode="after")
    def _a_table(self) -> Self:
        rising(self.similarity, self.share)
        return self

    def stream(self, rows: NDArray[np.float64], arrivals: NDArray[np.int64]) -> Pictures:
        distances = [1 - similarity for similarity in self.similarity]

        def table(steps: int) -> list[tuple[int, float]]:
            return stepped(distances, self.share, steps)

        return Pictures(rows, arrivals, table, self.size, "fifo", self.store)
