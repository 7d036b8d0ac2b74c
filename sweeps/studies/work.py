"""What studies make pictures with: a sweep's own standard images, and pictures of any latents."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from generators.batching import Batches
from generators.noise import KeyedNoise
from generators.sharing.plan import standard_plan
from sweeps.events import Note, StageAdvanced
from sweeps.making import Maker, write_prompts
from sweeps.pictures import read_generation

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sweeps.store import Store


def standard_images(maker: Maker, store: "Store") -> None:
    """The standard images of the maker's source in the place where a sweep has them; made where they are not whole."""
    source, emit = maker.source, maker.emit
    folder = store.shared(source.key)
    if read_generation(folder, lambda what: emit(Note(f"{what}: made again"))) is None:
        maker.conditioning(store.shared(source.conditioning_key))
        maker.make(standard_plan(len(source.prompts), source.steps), folder)
    write_prompts(folder, source.prompts.prompts)


def decoded(maker: Maker, latents: "Tensor", keys: Sequence[str]) -> "NDArray[np.uint8]":
    """The pictures of latents [n, ...] as if each were finished, uint8 [n, height, width, 3].

    Args:
        keys: of the node that each row belongs to (`node_key`): what decoding draws is drawn as `decode_images` does.
    """
    settings, family = maker.source.settings, maker.family
    # of whatever policy: that decides initial latents alone, and the released code's model draws nothing here
    noise, end, batches = KeyedNoise(settings.seed), maker.source.steps, Batches(maker.batch_size)

    def pictures(rows: slice) -> "NDArray[np.uint8]":
        done = family.decode(latents[rows], settings, lambda shape, draw: noise.step(keys[rows], end, shape[1:], draw))
        maker.emit(StageAdvanced(len(done)))
        return done

    with maker.stage("decode", len(latents)):
        return np.concatenate(list(batches.map(len(latents), pictures)))
