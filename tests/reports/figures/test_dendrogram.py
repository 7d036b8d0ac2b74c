import numpy as np
from scipy.cluster.hierarchy import dendrogram, linkage

from generators.sharing.tree import Tree
from reports.base import RunView
from reports.figures.dendrogram import Dendrogram, draw_tree, places
from reports.style import theme


def branches(axes) -> np.ndarray:
    (collection,) = axes.collections
    return np.array(collection.get_segments())


def test_merges_stand_at_the_heights_that_scipy_draws(tmp_path) -> None:
    Z = linkage(np.random.default_rng(3).normal(size=(9, 2)), "ward")
    tree = Tree.from_linkage(Z)
    with theme():
        (axes,) = draw_tree(tree, [f"prompt {i}" for i in range(9)], {}).axes
    tops = sorted(set(np.round(branches(axes)[:, 1, 0], 9)))
    assert tops == sorted(round(max(heights), 9) for heights in dendrogram(Z, no_plot=True)["dcoord"])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"prompt {leaf}" for leaf in tree.leaf_order]


def test_a_merge_stands_in_the_middle_of_its_children_and_branches_do_not_cross() -> None:
    tree = Tree(np.array([5, 6, 5, -1, 6, 6, -1]), np.array([0, 0, 0, 0, 0, 0.2, 0.9]), 5)
    place = places(tree)
    assert sorted(place[:5]) == [0, 1, 2, 3, 4]
    assert abs(place[0] - place[2]) == 1
    assert place[5] == (place[0] + place[2]) / 2
    assert place[6] == (place[[1, 4, 5]].min() + place[[1, 4, 5]].max()) / 2
    assert place[3] in (0, 4)


def test_taus_stand_where_phi_starts_with_what_they_save(run_folder) -> None:
    view = RunView.of(run_folder)
    with theme():
        (axes,) = Dendrogram().draw(view.series[0]).axes
    saved = view.records[1].plan.savings
    assert f"τ = 0.5\n{saved:.0%} saved" in [text.get_text() for text in axes.texts]
    assert 0.5 in [line.get_xdata()[0] for line in axes.lines]
    tree = Tree.load(view.records[0].folder(run_folder) / "tree.npz")
    assert axes.get_xlim()[0] >= tree.score.max()
    assert axes.get_xlim()[1] == 0


def test_lines_whose_labels_would_touch_are_left_out() -> None:
    tree = Tree(np.array([2, 2, -1]), np.array([0, 0, 1.0]), 2)
    with theme():
        (axes,) = draw_tree(tree, ["a", "b"], {0.0: 0.0, 0.5: 0.1, 0.51: 0.1, 1.0: 0.2, 5.0: 0.5}).axes
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5, 1.0]


def test_many_prompts_have_no_labels_and_a_forest_can_be_drawn() -> None:
    n = 201
    parent = np.concatenate([np.full(n - 1, n), [-1, -1]])  # one merge of 200 prompts, one prompt alone
    tree = Tree(parent, np.array([0.0] * n + [0.4]), n)
    with theme():
        (axes,) = draw_tree(tree, ["x"] * n, {0.2: 0.3}).axes
    assert len(branches(axes)) == n - 1
    assert [label.get_text() for label in axes.get_yticklabels()] == []


def test_prompts_are_data(tmp_path) -> None:
    tree = Tree(np.array([2, 2, -1]), np.array([0, 0, 1.0]), 2)
    with theme():
        figure = draw_tree(tree, ["costs $x^$", "long " * 50], {})
        figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "costs $x^$"
    assert labels[1].endswith("…")


def test_nothing_is_drawn_where_nothing_merges() -> None:
    assert draw_tree(Tree.singletons(2), ["a", "b"], {}) is None
