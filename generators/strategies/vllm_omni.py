"""An online peer: vLLM-Omni's cache across requests."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generators.sharing.requests import Requests
from generators.strategies.arriving import Arriving


class VllmOmni(Arriving):
    """A stream of prompts, each resuming the nearest earlier request at a step that grows with their similarity.

    After vLLM-Omni's inter-request cache (its issue 3978 and pull request 4937; ``compute_skip_steps`` and
    ``semantic_search`` of vllm_omni/diffusion/cache/inter_request at 034aafa).

    As published: from `threshold` on, `min_skip` steps and then linearly more, up to `max_skip_ratio` of all at
    similarity 1, rounded down, and `min_skip` where that is more; the most similar request is the one; a cache of
    `size` requests, each with the latents of all its steps, of which the least recently used goes; requests that
    resume leave no latents of steps. tau stretches distances, so tau 1 is the rule, and at tau 0 nobody shares. The
    schedule changes nothing.

    Not as published: it compares CLIP's embeddings of texts, this whatever features it is given. Its penalty where a
    text does not look like the stored picture (similarity times sigmoid(10 (s - 0.1)), s of text and image) needs
    pictures before plans, and is left out, as by its ``use_t2i_penalty=False``. There a request that resumed is stored
    too, without steps, and whoever finds it nearest starts anew; here it is not found. Equal prompts of one seed, whose
    picture it gives again, are no case of their own.
    """

    name = "vllm-omni"
    source = "vLLM-Omni, vllm-project/vllm-omni at 034aafa (issue 3978, pull request 4937)"

    threshold: float = Field(0.75, gt=-1, lt=1, description="cosine similarity above which a prompt resumes")
    min_skip: int = Field(5, ge=1, description="steps that are skipped at least")
    max_skip_ratio: float = Field(0.5, gt=0, lt=1, description="the share of steps that is skipped at similarity 1")
    size: int | None = Field(100, ge=1, description="requests that the cache holds; null: all")

    def stream(self, rows: NDArray[np.float64], arrivals: NDArray[np.int64]) -> Requests:
        return Requests(rows, arrivals, self._table, self.size, "lru")

    def _table(self, steps: int) -> list[tuple[int, float]]:
        most, least, distance = int(steps * self.max_skip_ratio), self.min_skip, 1 - self.threshold
        if most <= least:
            return [(least, distance)]
        return [(step, distance * (1 - (step - least) / (most - least))) for step in range(least, most)]
