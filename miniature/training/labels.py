"""Labels that teach what is in a picture: linear heads that image encoders drop when they have learned."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miniature.world import BACKGROUNDS, CONCEPTS, RELATIONS, STYLES, Scene


class LabelHeads(nn.Linear):
    """Names the first object, the second (last: none), how they lie (last: alone), the style and the background."""

    SIZES = (len(CONCEPTS), len(CONCEPTS) + 1, len(RELATIONS) + 1, len(STYLES), len(BACKGROUNDS))

    def __init__(self, width: int) -> None:
        super().__init__(width, sum(self.SIZES))

    @staticmethod
    def labels(scenes: list[Scene]) -> Tensor:
        """Return what the heads should say of pictures of these scenes, [n, 5]."""
        concepts, backgrounds = list(CONCEPTS), list(BACKGROUNDS)
        rows = []
        for scene in (s.canonical() for s in scenes):
            second = concepts.index(scene.concepts[1]) if scene.relation else len(concepts)
            lie = RELATIONS.index(scene.relation) if scene.relation else len(RELATIONS)
            rows.append(
                (concepts.index(scene.concepts[0]), second, lie, STYLES.index(scene.style),
                 backgrounds.index(scene.background))
            )  # fmt: skip
        return torch.tensor(rows)

    def loss(self, features: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the sum of the heads' cross-entropies, and how often they name first object, place and style."""
        said = self(features).float().split(self.SIZES, dim=1)
        losses = [F.cross_entropy(part, truth[:, i]) for i, part in enumerate(said)]
        right = [float((part.argmax(1) == truth[:, i]).float().mean()) for i, part in enumerate(said)]
        return torch.stack(losses).sum(), {"concept": right[0], "lie": right[2], "style": right[3]}
