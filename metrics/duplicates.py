"""Pictures that repeat another prompt's: exactly, by their files, or nearly, to an encoder. Pure functions."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.base import ResultInfo
from metrics.statistics import LEVEL, Estimate, tango_interval, unit_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SOURCE = "pictures"  # stands where results of metrics have their scorer's name
REPEATS = f"{SOURCE}.repeats"
WHAT_REPEATS = (
    "repeats: pictures that are, bit for bit, an earlier one of the same prompt; the steps that they save are no "
    "savings, as nobody makes one picture twice"
)
# Of the baseline's pictures, the share that has to pass for a copy of itself: a near duplicate is as alike as that.
COPIES = 0.95
EQUAL = 1 - 1e-6  # the cosine of equal pictures, but for rounding
BLOCK = 1024  # rows of similarities held at once


def duplicate_figures(name: str, label: str) -> dict[str, ResultInfo]:
    """Return how the results of `compare_duplicates` are printed.

    Args:
        name: the count's.
        label: its name in tables.

    Examples:
        >>> for name, info in duplicate_figures("duplicates", "duplicates").items():
        ...     print(name, "|", info.label, "|", info.unit)
        duplicates | duplicates | count
        duplicates_standard | duplicates, baseline | count
        duplicates_difference | duplicates, ours - baseline | fraction
    """
    return {
        name: ResultInfo(label, False, "count"),
        f"{name}_standard": ResultInfo(f"{label}, baseline", False, "count", detail=True),
        f"{name}_difference": ResultInfo(f"{label}, ours - baseline", False, "fraction", detail=True),
    }


# Results of files alone, which need no scorer; those of repeats and of pictures of one colour only where some are.
RESULTS: Mapping[str, ResultInfo] = {
    **duplicate_figures("duplicates", "exact duplicates"),
    "repeats": ResultInfo("repeats", False, "count"),
    "repeats_standard": ResultInfo("repeats, baseline", False, "count", detail=True),
    "distinct_savings": ResultInfo("steps saved, repeats left out", True, "fraction"),
    "blank": ResultInfo("of one colour", False, "count"),
    "blank_standard": ResultInfo("of one colour, baseline", False, "count", detail=True),
}


def exact_duplicates(pictures: Sequence[Hashable], prompts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which pictures repeat that of an earlier, different prompt.

    Of k different prompts that have one picture, k - 1 repeat it: the others' count is what the set lost.

    Args:
        pictures: of each picture what is equal where pictures are, such as its file's hash [N].
        prompts: the prompt of each [N].

    Returns:
        bool [N].

    Raises:
        UserError: there are not as many prompts as pictures.

    Examples:
        >>> exact_duplicates(["a", "b", "a", "a"], ["a fox", "a cat", "a wolf", "a fox"]).tolist()
        [False, False, True, False]
    """
    if len(pictures) != len(prompts):
        raise UserError(f"{len(pictures)} pictures have {len(prompts)} prompts", "give one prompt a picture")
    of_picture: dict[Hashable, set[str]] = {}
    repeats = np.zeros(len(pictures), dtype=np.bool_)
    for i, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        owners = of_picture.setdefault(picture, set())
        repeats[i] = bool(owners) and prompt not in owners
        owners.add(prompt)
    return repeats


def repeats(pictures: Sequence[Hashable], prompts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which pictures are an earlier picture of the same prompt, bit for bit: so many need not have been made.

    Arguments and errors are those of `exact_duplicates`, which counts pictures of different prompts.

    Returns:
        bool [N].

    Examples:
        >>> repeats(["a", "b", "a", "a"], ["a fox", "a fox", "a wolf", "a fox"]).tolist()
        [False, False, False, True]
    """
    if len(pictures) != len(prompts):
        raise UserError(f"{len(pictures)} pictures have {len(prompts)} prompts", "give one prompt a picture")
    seen: set[tuple[Hashable, str]] = set()
    found = np.zeros(len(pictures), dtype=np.bool_)
    for i, pair in enumerate(zip(pictures, prompts, strict=True)):
        found[i] = pair in seen
        seen.add(pair)
    return found


def near_threshold(copies: ArrayLike) -> float:
    """Return the similarity from which on two pictures pass for copies of each other.

    It is the one that all but 5% of the baseline's pictures have to a copy of themselves that nobody tells from them
    (saved as JPEG of quality 90), so that it is on the encoder's own scale and knows no number of pictures.

    Args:
        copies: cosine similarity of each of the baseline's pictures and its copy [N].

    Examples:
        >>> near_threshold([0.99, 0.98, 0.97, 1.0])
        0.97
        >>> near_threshold([1.0, 1.0])  # copies that are equal: equal pictures still pass
        0.999999
    """
    return min(float(np.quantile(np.asarray(copies, dtype=np.float64), 1 - COPIES, method="lower")), EQUAL)


def near_duplicates(features: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Return which pictures an encoder tells no better from an earlier one than a picture from its copy.

    Pictures that are at least as alike as the threshold are linked; of each group of linked pictures, all but the first
    repeat. So the count does not depend on the order of the pictures.

    Args:
        features: [N, D], one row a picture; normalised here.
        threshold: cosine similarity, as `near_threshold` gives it.

    Returns:
        bool [N].

    Raises:
        UserError: a row is not finite or has no length.

    Examples:
        >>> near_duplicates([[1, 0], [0, 1], [1, 0.01], [1, 0.02]], threshold=0.999).tolist()
        [False, False, True, True]
    """
    from scipy.sparse.csgraph import connected_components

    rows = unit_rows(features)
    _, group = connected_components(_linked(rows, threshold), directed=False)
    repeats = np.ones(len(rows), dtype=np.bool_)
    repeats[np.unique(group, return_index=True)[1]] = False
    return repeats


def compare_duplicates(
    name: str, baseline: ArrayLike, ours: ArrayLike, *, level: float = LEVEL
) -> dict[str, Estimate | int]:
    """Return both counts, and the difference of the shares of pictures that repeat, named as in `duplicate_figures`.

    The interval is Tango's score interval of paired shares: a prompt counts where its picture repeats another in one
    set alone.

    Args:
        name: the count's.
        baseline: which of the baseline's pictures repeat, bool [N].
        ours: which of ours do, same prompts [N].
        level: nominal coverage.

    Raises:
        UserError: the numbers of pictures differ.

    Examples:
        >>> results = compare_duplicates("duplicates", [False] * 20, [True] * 5 + [False] * 15)
        >>> results["duplicates"], results["duplicates_standard"], results["duplicates_difference"].value
        (5, 0, 0.25)
        >>> round(results["duplicates_difference"].low, 3)  # above 0: more than the baseline has by chance
        0.049
    """
    before, after = np.asarray(baseline, dtype=np.bool_), np.asarray(ours, dtype=np.bool_)
    if before.shape != after.shape:
        raise UserError(f"{len(after)} pictures are compared with {len(before)}", "give both sets of the same prompts")
    n = len(after)
    more, fewer = int(np.count_nonzero(after & ~before)), int(np.count_nonzero(before & ~after))
    low, high = tango_interval(more, fewer, n, level=level)
    return {
        name: int(after.sum()),
        f"{name}_standard": int(before.sum()),
        f"{name}_difference": Estimate((more - fewer) / n, low, high, n, "Tango score", level),
    }


def _linked(rows: NDArray[Any], threshold: float) -> "csr_array":
    """Return the graph of the pairs that are at least as alike as the threshold, a block of rows at a time."""
    from scipy.sparse import csr_array

    ends = [np.empty((2, 0), dtype=np.int64)]
    for start in range(0, len(rows), BLOCK):
        first, second = np.nonzero(rows[start : start + BLOCK] @ rows[start:].T >= threshold)
        apart = first < second
        ends.append(start + np.stack([first[apart], second[apart]]))
    pairs = np.concatenate(ends, axis=1)
    return csr_array((np.ones(pairs.shape[1], dtype=np.bool_), (pairs[0], pairs[1])), shape=(len(rows), len(rows)))
