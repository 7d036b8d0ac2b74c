"""Trees of clusters as arrays: the cluster that each one merges into, and the height of the merge."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from generators.sharing.arrays import read_npz, read_only, write_npz

KIND = "reusebench tree 1"
Repair = Literal["monotone"]


@dataclass(frozen=True, eq=False)
class Tree:
    """A forest of clusters over N prompts, of any arity.

    Attributes:
        parent: int64 [M]; the cluster that each one merges into, -1 at roots; ``parent[i] > i``.
        score: float64 [M]; the merge height (the paper's c^score); 0 at leaves, never falling towards the root.
        n_leaves: N; the leaves are nodes 0..N-1, in prompt order.

    Raises:
        UserError: the arrays are no such forest.

    Examples:
        >>> pair_and_one = Tree([3, 3, -1, -1], [0.0, 0.0, 0.0, 0.4], n_leaves=3)
        >>> pair_and_one.n_children.tolist(), pair_and_one.leaf_order.tolist()
        ([0, 0, 0, 2], [2, 0, 1])
    """

    parent: NDArray[np.int64]
    score: NDArray[np.float64]
    n_leaves: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "parent", read_only(self.parent, np.int64, "a tree's parents"))
        object.__setattr__(self, "score", read_only(self.score, np.float64, "a tree's scores"))
        _check_structure(self.parent, self.score, self.n_leaves)
        below = np.flatnonzero((self.parent >= 0) & (self.parent <= np.arange(len(self.parent))))
        if below.size:
            raise UserError(f"node {below[0]} comes after its parent {self.parent[below[0]]}", "use Tree.from_parents")
        child = np.flatnonzero(self.parent >= 0)
        falling = child[self.score[self.parent[child]] < self.score[child]]
        if falling.size:
            node = falling[0]
            raise UserError(
                f"heights fall towards the root: node {node} has {self.score[node]:.6g}, "
                f"its parent {self.parent[node]} has {self.score[self.parent[node]]:.6g}",
                "use a monotone linkage (Ward, average, complete, single), or repair='monotone'",
            )

    @classmethod
    def from_linkage(cls, Z: ArrayLike, repair: Repair | None = None) -> Self:
        """Return the tree of a SciPy linkage matrix.

        Args:
            Z: [N-1, 4]; row i merges nodes ``Z[i, 0]`` and ``Z[i, 1]`` into node N+i at height ``Z[i, 2]``.
            repair: None refuses heights that fall towards the root; ``"monotone"`` raises them to their running
                maximum from the leaves, as SciPy's ``fcluster`` does.

        Raises:
            UserError: Z is no linkage matrix, or its heights fall and no repair was asked for.

        Examples:
            >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
            >>> tree.parent.tolist(), tree.score.tolist()
            ([3, 3, 4, 4, -1], [0.0, 0.0, 0.0, 0.2, 0.5])
        """
        matrix = np.asarray(Z, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != 4:
            raise UserError(f"a linkage matrix is [N-1, 4], not {list(matrix.shape)}")
        merges, n_leaves = len(matrix), len(matrix) + 1
        merged = np.repeat(np.arange(n_leaves, n_leaves + merges), 2)
        children = matrix[:, :2].ravel()
        if not (np.sort(children) == np.arange(2 * merges)).all() or (children >= merged).any():
            raise UserError("no linkage matrix: every node but the last must merge once, into a later one")
        parent = np.full(n_leaves + merges, -1)
        parent[children.astype(np.int64)] = merged
        return cls.from_parents(parent, np.concatenate([np.zeros(n_leaves), matrix[:, 2]]), n_leaves, repair)

    @classmethod
    def from_parents(cls, parent: ArrayLike, score: ArrayLike, n_leaves: int, repair: Repair | None = None) -> Self:
        """Return the tree of these parents, whose inner nodes may be numbered in any way.

        Inner nodes are renumbered, deepest first, only where a parent comes before its child. Arguments and errors
        are those of `Tree` and `from_linkage`.

        Examples:
            >>> Tree.from_parents([4, 4, 3, -1, 3], [0, 0, 0, 0.5, 0.2], n_leaves=3).parent.tolist()
            [3, 3, 4, 4, -1]
        """
        parents = read_only(parent, np.int64, "a tree's parents")
        scores = read_only(score, np.float64, "a tree's scores")
        _check_structure(parents, scores, n_leaves)
        if ((parents >= 0) & (parents <= np.arange(len(parents)))).any():
            parents, scores = _children_first(parents, scores, n_leaves)
        if repair == "monotone":
            scores = _running_maximum(parents, scores)
        elif repair is not None:
            raise UserError(f"unknown repair {repair!r}", "known: monotone")
        return cls(parents, scores, n_leaves)

    @classmethod
    def forest(cls, trees: Sequence["Tree"], prompts: Sequence[NDArray[np.int64]]) -> Self:
        """Return the trees of several parts of a set as one forest.

        Args:
            trees: one a part.
            prompts: int64 [leaves] of each: which prompts its leaves are; together 0..N-1.

        Examples:
            >>> pair = Tree([2, 2, -1], [0, 0, 0.5], n_leaves=2)
            >>> forest = Tree.forest([pair, Tree.singletons(1), pair], [np.array(p) for p in ([0, 3], [1], [4, 2])])
            >>> forest.parent.tolist(), forest.score.tolist()
            ([5, -1, 6, 5, 6, -1, -1], [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5])
        """
        n = sum(tree.n_leaves for tree in trees)
        nodes = sum(len(tree.parent) for tree in trees)
        parent, score, inner = np.full(nodes, -1), np.zeros(nodes), n
        for tree, leaves in zip(trees, prompts, strict=True):
            more = len(tree.parent) - tree.n_leaves
            number = np.concatenate([leaves, np.arange(inner, inner + more), [-1]])
            parent[number[:-1]], score[number[:-1]] = number[tree.parent], tree.score
            inner += more
        return cls(parent, score, n)

    @classmethod
    def singletons(cls, n: int) -> Self:
        """Return the forest of `n` prompts in which nobody shares.

        Examples:
            >>> Tree.singletons(2).parent.tolist()
            [-1, -1]
        """
        return cls(np.full(n, -1), np.zeros(n), n)

    @cached_property
    def n_children(self) -> NDArray[np.int64]:
        """int64 [M]: the number of clusters that each one splits into; 0 at leaves."""
        return np.bincount(self.parent[self.parent >= 0], minlength=len(self.parent))

    @property
    def leaf_order(self) -> NDArray[np.int64]:
        """int64 [N]: the prompts, ordered so that every cluster is ``leaf_order[lo[i]:hi[i]]``."""
        order = np.empty(self.n_leaves, dtype=np.int64)
        order[self.lo[: self.n_leaves]] = np.arange(self.n_leaves)
        return order

    @property
    def lo(self) -> NDArray[np.int64]:
        """int64 [M]: the place in `leaf_order` where each cluster's members begin."""
        return self._spans[0]

    @property
    def hi(self) -> NDArray[np.int64]:
        """int64 [M]: the place in `leaf_order` after each cluster's last member."""
        return self._spans[1]

    @cached_property
    def _spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`lo` and `hi`: sizes are summed towards the roots, then nodes hand their spans to their children.

        A loop over plain integers: levels cannot be vectorised, as a chain of N merges has N of them.
        """
        parents = self.parent.tolist()
        size = [1] * self.n_leaves + [0] * (len(parents) - self.n_leaves)
        for node, up in enumerate(parents):
            if up >= 0:
                size[up] += size[node]
        end = [0] * len(parents)
        free = [*end, self.n_leaves]  # the last, which -1 finds, is above the roots
        for node in range(len(parents) - 1, -1, -1):
            up = parents[node]
            end[node] = free[node] = free[up]
            free[up] -= size[node]
        hi = np.array(end, dtype=np.int64)
        return hi - np.array(size, dtype=np.int64), hi

    def with_copies(self, n: int, height: float) -> "Tree":
        """Return the tree of `n` copies of each prompt, those of prompt i being leaves ``n * i`` to ``n * i + n - 1``.

        Each leaf becomes a cluster of its copies, which part at `height`. Heights do not fall towards the root, so
        clusters of prompts that are more alike than that split there too: how long copies share does not depend on
        which other prompts there are.

        Args:
            n: 1 or more; of 1 the tree is itself.
            height: as merge heights; 0 or more.

        Raises:
            UserError: n or the height is out of range.

        Examples:
            >>> pair = Tree([2, 2, -1], [0, 0, 0.5], n_leaves=2)
            >>> apart = pair.with_copies(2, height=0.2)
            >>> apart.parent.tolist(), apart.score.tolist()
            ([4, 4, 5, 5, 6, 6, -1], [0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.5])
            >>> pair.with_copies(2, height=0.8).score.tolist()
            [0.0, 0.0, 0.0, 0.0, 0.8, 0.8, 0.8]
        """
        if n < 1 or not (np.isfinite(height) and height >= 0):
            raise UserError(f"{n} copies that part at {height}", "1 or more copies part at a height from 0 up")
        if n == 1:
            return self
        leaves, copies = self.n_leaves, n * self.n_leaves
        parents = np.where(self.parent < 0, -1, self.parent + copies)
        return Tree(
            np.concatenate([copies + np.repeat(np.arange(leaves), n), parents]),
            np.concatenate([np.zeros(copies), np.full(leaves, height), np.maximum(height, self.score[leaves:])]),
            copies,
        )

    def to_linkage(self) -> NDArray[np.float64]:
        """Return this tree as a SciPy linkage matrix [N-1, 4], for dendrograms.

        Raises:
            UserError: it has several roots, or a node with other than two children.

        Examples:
            >>> Tree([2, 2, -1], [0, 0, 0.5], n_leaves=2).to_linkage().tolist()
            [[0.0, 1.0, 0.5, 2.0]]
        """
        if len(self.parent) != 2 * self.n_leaves - 1 or (self.n_children[self.n_leaves :] != 2).any():
            raise UserError("only a binary tree with one root has a linkage matrix")
        children = np.argsort(self.parent[:-1], kind="stable").reshape(-1, 2)
        size = (self.hi - self.lo)[self.n_leaves :]
        return np.column_stack([children, self.score[self.n_leaves :], size])

    def save(self, path: Path) -> None:
        """Write the tree to an .npz file."""
        write_npz(path, KIND, {"parent": self.parent, "score": self.score, "n_leaves": self.n_leaves})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, damaged or no tree.
        """
        stored = read_npz(path, KIND)
        try:
            return cls(stored["parent"], stored["score"], int(stored["n_leaves"]))
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{path} holds no whole tree: {error}", "remove it and run again to make it anew"
            ) from error


def _check_structure(parent: NDArray[np.int64], score: NDArray[np.float64], n_leaves: int) -> None:
    if n_leaves < 1 or len(parent) < n_leaves or len(score) != len(parent):
        raise UserError(f"no tree: {n_leaves} leaves, {len(parent)} parents, {len(score)} scores")
    if ((parent < -1) | (parent >= len(parent)) | ((parent >= 0) & (parent < n_leaves))).any():
        raise UserError("a parent is neither -1 nor an inner node")
    if not np.isin(np.arange(n_leaves, len(parent)), parent).all():
        raise UserError("an inner node has no children")
    if not np.isfinite(score).all() or (score < 0).any():
        raise UserError("scores must be finite and not negative")
    if score[:n_leaves].any():
        raise UserError("a leaf's score must be 0")


def _children_first(
    parent: NDArray[np.int64], score: NDArray[np.float64], n_leaves: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the same tree with its inner nodes numbered from the deepest to the roots."""
    depth = _depths(parent)
    old = np.concatenate([np.arange(n_leaves), n_leaves + np.argsort(-depth[n_leaves:], kind="stable")])
    new = np.append(np.argsort(old), -1)
    return new[parent[old]], score[old]


def _depths(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the steps from each node to its root, by pointer jumping: O(M log M) however deep the tree."""
    up = np.append(parent, -1)  # its own last entry stands above the roots, and -1 finds it
    depth = (up >= 0).astype(np.int64)
    for _ in range(len(parent).bit_length()):
        depth += depth[up]
        up = up[up]
    if (up >= 0).any():
        raise UserError("the parents form a cycle")
    return depth[:-1]


def _running_maximum(parent: NDArray[np.int64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    heights = score.tolist()
    for node, up in enumerate(parent.tolist()):
        if up >= 0 and heights[up] < heights[node]:
            heights[up] = heights[node]
    return np.array(heights)
