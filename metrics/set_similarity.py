"""A set of pictures as an encoder sees it: how alike they are, which repeat, how far they are from the baseline's."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.pictures import read_picture
from metrics.base import Columns, Metric, ResultInfo, paired
from metrics.discrepancy import cubic, discrepancy, gaussian
from metrics.duplicates import compare_duplicates, duplicate_figures, near_duplicates, near_threshold
from metrics.images import copied
from metrics.statistics import PAPER_IMAGES, Estimate, compare_similarity
from metrics.vendi import compare_vendi

if TYPE_CHECKING:
    from PIL.Image import Image

ALL: Literal["all"] = "all"
VENDI: tuple[tuple[str, str, Literal["score", "fraction"]], ...] = (
    ("", "", "score"),
    ("_standard", ", baseline", "score"),
    ("_ratio", ", ours / baseline", "fraction"),
)
MOST = 400  # pictures drawn where time grows with their number cubed (Vendi scores), or squared (discrepancies)


def similarity_figures(encoder: str, label: str, *, reads: bool = False) -> dict[str, ResultInfo]:
    """Return how the results of a `SetSimilarity` are printed.

    Args:
        encoder: the column's name.
        label: the encoder's name in tables.
        reads: whether the encoder embeds prompts too.

    Examples:
        >>> for name, info in similarity_figures("clip", "CLIP").items():
        ...     print(name, "|", info.label, "|", info.higher_is_better)
        clip_similarity | CLIP similarity | False
        clip_similarity_standard | CLIP similarity, baseline | False
        clip_similarity_difference | CLIP similarity, baseline - ours | True
        clip_near_duplicates | CLIP near duplicates | False
        clip_near_duplicates_standard | CLIP near duplicates, baseline | False
        clip_near_duplicates_difference | CLIP near duplicates, ours - baseline | False
        clip_near_threshold | CLIP similarity of near duplicates | None
        clip_vendi | CLIP Vendi score | True
        clip_vendi_standard | CLIP Vendi score, baseline | True
        clip_vendi_ratio | CLIP Vendi score, ours / baseline | True
        clip_discrepancy_gaussian | CLIP discrepancy (CMMD's kernel) | False
        clip_discrepancy_cubic | CLIP discrepancy (KID's kernel) | False
        >>> [name for name in similarity_figures("clip", "CLIP", reads=True) if "conditional" in name]
        ['clip_conditional_vendi', 'clip_conditional_vendi_standard', 'clip_conditional_vendi_ratio']
    """
    vendi = {"vendi": "Vendi score", **({"conditional_vendi": "Conditional-Vendi score"} if reads else {})}
    return {
        f"{encoder}_similarity": ResultInfo(f"{label} similarity", False, "score"),
        f"{encoder}_similarity_standard": ResultInfo(f"{label} similarity, baseline", False, "score"),
        f"{encoder}_similarity_difference": ResultInfo(f"{label} similarity, baseline - ours", True, "score"),
        **duplicate_figures(f"{encoder}_near_duplicates", f"{label} near duplicates"),
        f"{encoder}_near_threshold": ResultInfo(f"{label} similarity of near duplicates", None, "score", detail=True),
        **{
            f"{encoder}_{name}{end}": ResultInfo(f"{label} {title}{which}", True, unit, detail=True)
            for name, title in vendi.items()
            for end, which, unit in VENDI
        },
        f"{encoder}_discrepancy_gaussian": ResultInfo(f"{label} discrepancy (CMMD's kernel)", False, "score", True),
        f"{encoder}_discrepancy_cubic": ResultInfo(f"{label} discrepancy (KID's kernel)", False, "score", True),
    }


class SetSimilarity(Metric):
    """Mean cosine similarity of all pairs among 100 (or all) images drawn at random, lower is more diverse.

    From the same embeddings: pictures that all but repeat another prompt's, the Vendi score, and the discrepancy to the
    baseline's set. See `metrics.statistics.compare_similarity`, `metrics.duplicates`, `metrics.vendi` and
    `metrics.discrepancy`. A metric derives from it and encodes pictures.

    Attributes:
        columns: the embeddings; how alike each picture is to a copy of itself; from an encoder that also reads, the
            prompts' embeddings.
    """

    higher_is_better = False

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "cpu",
        batch_size: int = 32,
        images: int | Literal["all"] | None = PAPER_IMAGES,
    ) -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`.
            images: the number of images drawn from each set, at least 2; ``"all"`` or None takes all.

        Raises:
            UserError: `images` is no such number.
        """
        super().__init__(checkpoint, device, batch_size)
        if images not in (None, ALL) and (not isinstance(images, int) or images < 2):
            raise UserError(f"{self.name} cannot compare {images!r} images", "give 2 or more, or all")
        self.images = None if images == ALL else images

    @abstractmethod
    def encode(self, pictures: Sequence["Image"]) -> Any:
        """Return the pictures' embeddings, a tensor [B, D]; rows may have any length but 0."""

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the columns: image embeddings of length 1, float32 [N, D]; similarities to copies, float32 [N]."""
        import torch
        from torch.nn.functional import normalize

        rows = [np.empty((0, 0), dtype=np.float32)] if not images else []
        alike = [np.empty(0, dtype=np.float32)]
        for batch in self.batches(len(images)):
            pictures = [read_picture(path) for path in images[batch]]
            with torch.no_grad():
                embeddings = normalize(self.encode(pictures).float(), dim=-1)
                copies = normalize(self.encode([copied(picture) for picture in pictures]).float(), dim=-1)
            rows.append(embeddings.cpu().numpy())
            alike.append((embeddings * copies).sum(dim=-1).cpu().numpy())
        return dict(zip(self.columns, (np.concatenate(rows), np.concatenate(alike)), strict=False))

    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        of_baseline, of_ours = paired(self.columns[0], baseline, ours, same)
        if len(of_ours) < 2:
            return {}
        encoder, copies, *texts = self.columns
        prompts = [np.asarray(baseline[text]) for text in texts if text in baseline]
        similarity = compare_similarity(of_baseline, of_ours, n=self.images, seed=seed)
        results: dict[str, Estimate | float | int] = {
            f"{encoder}_similarity": similarity.ours,
            f"{encoder}_similarity_standard": similarity.baseline,
            f"{encoder}_similarity_difference": similarity.difference,
        }
        if copies in baseline:  # scores of an earlier version lack it
            threshold = near_threshold(baseline[copies])
            before, after = (near_duplicates(rows, threshold) for rows in (of_baseline, of_ours))
            results |= compare_duplicates(f"{encoder}_near_duplicates", before, after)
            results[f"{encoder}_near_threshold"] = threshold
        drawn = np.random.default_rng(seed).permutation(len(of_ours))[:MOST]
        of_baseline, of_ours = of_baseline[drawn], of_ours[drawn]
        kinds: list[tuple[str, NDArray[Any] | None]] = [("vendi", None)]
        kinds += [("conditional_vendi", rows[drawn]) for rows in prompts]
        for name, given in kinds:
            vendi = compare_vendi(of_baseline, of_ours, given, seed=seed)
            values: tuple[Estimate | float, ...] = (vendi.ours, vendi.baseline, vendi.ratio)
            results |= {f"{encoder}_{name}{end}": value for (end, *_), value in zip(VENDI, values, strict=True)}
        results[f"{encoder}_discrepancy_gaussian"] = discrepancy(of_baseline, of_ours, gaussian)
        results[f"{encoder}_discrepancy_cubic"] = discrepancy(of_baseline, of_ours, cubic)
        return results

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "images": self.images or ALL,
        }
