"""Plans against what they must equal: a literal Algorithm 1 (eq7) and SciPy's fcluster (official)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.strategies.contents import content_order
from generators.strategies.ward_cosine import WardCosine

Forests = Callable[..., st.SearchStrategy[Tree]]


def algorithm_1(tree: Tree, phi: float) -> set[int]:
    """The active nodes: for every prompt the lowest-scored node holding it whose parent's score is >= phi.

    A virtual parent stands above every root; where phi is 0 it is the leaf.
    """
    parent, score = tree.parent.tolist(), tree.score.tolist()
    active = set()
    for prompt in range(tree.n_leaves):
        holding, node = [], prompt
        while node >= 0:
            holding.append(node)
            node = parent[node]
        candidates = [c for c in holding if parent[c] < 0 or score[parent[c]] >= phi]
        active.add(prompt if phi == 0 else min(candidates, key=score.__getitem__))
    return active


def check_algorithm_1(tree: Tree, tau: float, steps: int) -> None:
    plan = build_plan(tree, get_schedule("eq7"), tau, steps)
    for k in range(1, steps + 1):
        expected = {
            frozenset(tree.leaf_order[tree.lo[c] : tree.hi[c]].tolist())
            for c in algorithm_1(tree, tau * (1 - k / steps))
        }
        assert {frozenset(plan.members(i).tolist()) for i in plan.active(k - 1)} == expected


@given(st.data())
def test_eq7_is_algorithm_1(forests: Forests, taus: st.SearchStrategy[float], data: st.DataObject) -> None:
    check_algorithm_1(data.draw(forests()), data.draw(taus), data.draw(st.integers(1, 8)))


def check_fcluster(Z: Any, tau: float, steps: int) -> None:
    assert Z[:, 2].min() > 0
    plan = build_plan(Tree.from_linkage(Z), get_schedule("official"), tau, steps)
    for k, phi in enumerate(np.linspace(0, tau, steps)[::-1]):
        labels = fcluster(Z, phi, "distance")
        nodes = np.empty(plan.n_prompts, dtype=int)
        for i in plan.active(k):
            nodes[plan.members(i)] = i
        pairs = np.unique(np.column_stack([labels, nodes]), axis=0)
        assert len(pairs) == len(np.unique(labels)) == len(plan.active(k))


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 8), st.data())
def test_official_is_fcluster_on_random_matrices(seed: int, n: int, d: int, data: st.DataObject) -> None:
    Z = linkage(pdist(np.random.default_rng(seed).normal(size=(n, d)), "cosine"), "ward")
    tau = data.draw(st.one_of(st.floats(0, 3), st.sampled_from(Z[:, 2].tolist())))
    check_fcluster(Z, tau, data.draw(st.integers(1, 12)))


def text_features(texts: list[str]) -> np.ndarray:
    """Counts of hashed character 3- and 6-grams, float64 [N, 256]: features with no model."""
    rows = np.zeros((len(texts), 256))
    for row, text in zip(rows, texts, strict=True):
        padded = f"  {text} "
        for size in (3, 6):
            for at in range(len(padded) - size + 1):
                row[crc32(padded[at : at + size].encode()) % 256] += 1
    return rows


@pytest.fixture(scope="module", params=["animals", "genai_bench", "prompt_templates", "style_variations"])
def paper_linkage(request: pytest.FixtureRequest, paper_datasets: Path) -> Any:
    features = text_features(np.load(paper_datasets / f"{request.param}.npy", allow_pickle=False).tolist())
    Z = linkage(pdist(features, "cosine"), "ward")
    order = content_order(features)  # in which the strategy clusters, so that ties fall the same way in any order
    in_order = linkage(pdist(features[order], "cosine"), "ward")
    assert np.allclose(WardCosine().tree(features).to_linkage()[:, 2], in_order[:, 2], rtol=1e-9)
    return Z


def test_official_is_fcluster_on_the_papers_prompts(paper_linkage: Any) -> None:
    for tau in (0.3, 1.0, 2.0, float(paper_linkage[len(paper_linkage) // 2, 2])):
        check_fcluster(paper_linkage, tau, 40)


def test_eq7_is_algorithm_1_on_the_papers_prompts(paper_linkage: Any) -> None:
    for tau in (1.0, 4 * float(paper_linkage[len(paper_linkage) // 2, 2])):  # the second's third threshold is a height
        check_algorithm_1(Tree.from_linkage(paper_linkage), tau, 4)
