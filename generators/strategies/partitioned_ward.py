"""Ward for sets whose pairwise distances fit nowhere."""

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from common.progress import progress
from generators.sharing.tree import Tree
from generators.strategies.base import CHUNK, Strategy, checked
from generators.strategies.contents import unit, with_copies
from generators.strategies.ward_cosine import WardCosine

Rows = NDArray[np.float32]
Integers = NDArray[np.int64]

ITERATIONS = 10
CELL, MOST_CELLS = 125, 2048  # prompts a cell, and cells in all
SAMPLED = 64  # rows a cell to learn it from
FULL = 2  # a part of more than so many times the parts' size is cut again


class PartitionedWard(Strategy):
    """Ward on cosine distances within parts of the set, which never join.

    Parts are branches of the Ward tree of a spherical k-means' many small cells. At the heights at which prompts share,
    clusters are far smaller than a part, so little is lost but the pairs that a border divides. Features may be a
    memory map: they are read in chunks, never whole. A set that is one part is clustered as by ward-cosine; in larger
    ones equal prompts join at height 0 and weigh as one above it.

    Attributes:
        part: about how many prompts a part has.
    """

    name = "partitioned-ward"
    complexity = "O(N D) for at most 2,048 cells, O(N part D) for the parts"
    memory = "O(N) + at most 96 part^2 bytes, and 131,072 D floats to learn the cells from"
    source = "faiss's k-means (Douze et al. 2024, arXiv 2401.08281); SciPy's linkage"

    part: int = Field(default=5000, ge=2, description="about how many prompts a part has")

    def peak_bytes(self, n: int, d: int) -> float:
        if n <= self.part:
            return WardCosine().peak_bytes(n, d)
        # a part's distances, and its rows; of every prompt its digest and places; what the cells are learnt from
        most = min(n, FULL * self.part)
        return 24 * most**2 + 12 * most * d + 256 * n + 4 * SAMPLED * MOST_CELLS * d

    @classmethod
    def unavailable(cls) -> str | None:
        return None if find_spec("faiss") else "it needs faiss: pip install 'reusebench[scale]'"

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        if len(features) <= self.part:
            return WardCosine().tree(np.asarray(features, dtype=np.float64), seed=seed)
        order, kind = _distinct(features)
        parts = _Parts(features, order, self.part, seed)
        links, score, nodes = [], [np.zeros(len(order))], len(order)
        for done, part in enumerate(parts, 1):
            Z = _linkage(parts.rows(part))
            names = np.concatenate([part, nodes + np.arange(len(Z))])
            links.append(np.column_stack([names[Z[:, :2].astype(np.int64)].ravel(), np.repeat(names[len(part) :], 2)]))
            score.append(Z[:, 2])
            nodes += len(Z)
            progress("clustering parts", done, max(done, parts.about))
        parent = np.full(nodes, -1)
        for link in links:
            parent[link[:, 0]] = link[:, 1]
        return with_copies(Tree(parent, np.concatenate(score), len(order)), kind)


class _Parts:
    """The parts of the distinct rows, as places among them, each of at most FULL times `size`."""

    def __init__(self, features: NDArray[np.floating], order: Integers, size: int, seed: int) -> None:
        self._features, self._order, self._size, self._seed = features, order, size, seed
        self.about = -(-len(order) // size)

    def rows(self, places: Integers) -> Rows:
        """Return the rows at these places, float32 [n, D], at length 1."""
        wanted = self._order[places]
        sequence = np.argsort(wanted)  # a memory map is read forwards
        unit_rows = np.empty((len(wanted), self._features.shape[1]), dtype=np.float32)
        for start in range(0, len(wanted), CHUNK):
            chunk = sequence[start : start + CHUNK]
            rows = np.asarray(self._features[wanted[chunk]], dtype=np.float64)
            unit_rows[chunk] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit_rows

    def __iter__(self) -> Iterator[Integers]:
        waiting = [np.arange(len(self._order))]
        while waiting:
            places = waiting.pop()
            if len(places) <= FULL * self._size:
                yield places
                continue
            pieces = self._cut(places)
            if len(pieces) == 1:  # k-means finds nothing to tell them apart: by content, then
                pieces = np.array_split(places, -(-len(places) // self._size))
            waiting += reversed(pieces)

    def _cut(self, places: Integers) -> list[Integers]:
        """Cut into small cells by k-means; return whole branches of their Ward tree, of at most a part's size."""
        cells = self._cells(places)
        if len(cells) == 1:
            return cells
        means = np.stack([self.rows(cell[:: max(1, len(cell) // SAMPLED)]).mean(axis=0) for cell in cells])
        branches = _branches(
            _linkage(unit(means).astype(np.float32)), np.array([len(cell) for cell in cells]), self._size
        )
        return [np.sort(np.concatenate([cells[i] for i in branch])) for branch in branches]

    def _cells(self, places: Integers) -> list[Integers]:
        """Return the cells of the nearest centroids of a spherical k-means on a sample."""
        import faiss

        count = min(MOST_CELLS, -(-len(places) // min(CELL, self._size)))
        rng = np.random.default_rng(self._seed)
        sample = np.sort(rng.choice(len(places), min(len(places), SAMPLED * count), replace=False))
        kmeans = faiss.Kmeans(
            self._features.shape[1], count, niter=ITERATIONS, spherical=True, seed=self._seed,
            min_points_per_centroid=1, max_points_per_centroid=SAMPLED,
        )  # fmt: skip
        kmeans.train(self.rows(places[sample]))
        labels = np.empty(len(places), dtype=np.int64)
        for start in range(0, len(places), CHUNK):
            labels[start : start + CHUNK] = kmeans.index.search(self.rows(places[start : start + CHUNK]), 1)[1][:, 0]
            progress("finding parts", min(start + CHUNK, len(places)), len(places))
        by_label = np.argsort(labels, kind="stable")
        return list(np.split(places[by_label], np.flatnonzero(np.diff(labels[by_label])) + 1))


def _branches(Z: NDArray[np.float64], sizes: Integers, most: int) -> list[list[int]]:
    """Return the largest branches of a linkage, over leaves of these sizes, of at most `most`, or single leaves."""
    below = [[i] for i in range(len(sizes))]
    total = sizes.tolist()
    parts: list[list[int]] = []
    for a, b in Z[:, :2].astype(np.int64).tolist():
        joined = total[a] + total[b]
        if joined > most:  # what cannot join is a part, and takes no further part in the tree
            parts += [below[node] for node in (a, b) if below[node]]
            below.append([])
            total.append(most + 1)
        else:
            below.append(below[a] + below[b])
            total.append(joined)
    return [*parts, below[-1]] if below[-1] else parts


def _distinct(features: NDArray[np.floating]) -> tuple[Integers, Integers]:
    """Return the first place of each distinct row, in the order of their content, and of every row the one that it is.

    Raises:
        UserError: the features have no directions to compare.
    """
    from hashlib import blake2b

    digests, features = bytearray(), checked(features)
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK] + np.float64(0)  # -0.0 equals 0.0, so its bytes must too
        digests += b"".join(blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
        progress("reading", min(start + CHUNK, len(features)), len(features))
    _, first, kind = np.unique(np.frombuffer(digests, dtype="V16"), return_index=True, return_inverse=True)
    return first, kind


def _linkage(rows: Rows) -> NDArray[np.float64]:
    """Return SciPy's Ward linkage [n-1, 4] of unit rows by their cosine distances."""
    from scipy.cluster.hierarchy import linkage

    if len(rows) == 1:
        return np.empty((0, 4))
    distances = 1 - rows @ rows.T
    condensed = distances[np.triu_indices(len(rows), 1)].astype(np.float64)
    matrix: NDArray[np.float64] = linkage(np.maximum(condensed, 0), "ward")
    return matrix
