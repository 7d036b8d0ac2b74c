"""The study of clusters' means, on a tiny model and on random trees."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage

from common.errors import UserError
from generators.conditioning import Conditioning
from generators.noise import KeyedNoise, node_key
from generators.sharing.tree import Tree
from studies.base import get_study
from studies.manifest import MeanEmbedding
from studies.mean_embedding import clusters, means_plan
from sweeps.events import StageStarted
from sweeps.families import Families
from sweeps.grid import sources

STEPS = 3


@pytest.fixture(scope="module")
def study(tiny_spec):
    """Make it into a folder; the stages that had to be run."""

    def make(folder: Path, **settings) -> list[str]:
        events: list = []
        get_study("mean-embedding").make(tiny_spec(**settings), folder, device="cpu", emit=events.append)
        return [event.stage for event in events if isinstance(event, StageStarted)]

    return make


@pytest.fixture(scope="module")
def made(study, tmp_path_factory) -> MeanEmbedding:
    folder = tmp_path_factory.mktemp("made") / "run"
    study(folder, tau="0,0.35,9", batch_size=1)
    (found,) = MeanEmbedding.of(folder)
    return found


@st.composite
def trees(draw) -> tuple[np.ndarray, Tree]:
    n = draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    Z = linkage(rng.normal(size=(n, 3)), "average")
    return Z, Tree.from_linkage(Z)


@given(trees(), st.floats(0.01, 5))
def test_a_cut_leaves_what_scipy_leaves(known, height: float):
    Z, tree = known
    labels = fcluster(Z, height, "distance")
    expected = {tuple(np.flatnonzero(labels == label)) for label in set(labels) if (labels == label).sum() > 1}
    chosen = clusters(tree, [height], most=100)
    assert {tuple(sorted(tree.leaf_order[tree.lo[i] : tree.hi[i]])) for i in chosen} == expected


def test_clusters_are_few_evenly_along_the_leaves_and_named_once():
    pairs = np.array([[2 * i, 2 * i + 1, 0.1 + i / 1000, 2] for i in range(8)])
    chain = [[16, 17, 1, 4]] + [[18 + i, 24 + i, 1 + i, 6 + 2 * i] for i in range(6)]
    tree = Tree.from_linkage(np.vstack([pairs, np.array(chain)]))
    few = clusters(tree, [0.5, 0.2], most=3)
    assert len(few) == 3 + 3
    assert set(few.values()) == {0.2, 0.5}
    first = sorted(tree.lo[node] for node, height in few.items() if height == 0.2)
    assert (first[0], first[-1]) == (0, 14)
    assert clusters(tree, [0.05], most=3) == {}


@given(trees(), st.data())
def test_a_plan_of_means_denoises_each_cluster_once_from_its_own_noise(known, data):
    _, tree = known
    inner = list(range(tree.n_leaves, len(tree.parent)))
    nodes = data.draw(st.lists(st.sampled_from(inner), min_size=1, unique=True))
    plan = means_plan(tree, nodes, STEPS, "mean")
    assert plan.node_steps == STEPS * len(nodes)
    for i, node in enumerate(nodes):
        assert plan.members(i).tolist() == tree.leaf_order[tree.lo[node] : tree.hi[node]].tolist()
        (ends,) = np.flatnonzero(plan.output == i)
        assert ends in plan.members(i)
    assert means_plan(tree, [], STEPS, "mean") is None


def test_a_mean_is_the_mean(made, tiny_spec):
    """The mean by hand, the noise of its members' keys, a loop."""
    (source,) = sources(tiny_spec(tau="0,0.35,9"), "cpu")
    settings, keys, family = source.settings, source.prompts.keys, Families("cpu").get(source.entry, "fp32")
    encoded = Conditioning.load(
        made.folder.parents[2] / "shared" / source.conditioning_key / "conditioning.safetensors"
    )
    assert {len(node.members) for node in made.nodes} >= {2, 4}
    for node in made.nodes:
        rows = {
            name: torch.stack([tensor[i].double() for i in node.members]).mean(0, keepdim=True).float()
            for name, tensor in encoded.tensors.items()
        }
        own, noise = [node_key([keys[i] for i in node.members])], KeyedNoise(settings.seed, settings.noise)
        sampler = family.sampler(settings)
        latents, memory = noise.initial(own, family.latent_shape(settings)) * sampler.init_sigma, ()
        for k in range(sampler.K):
            output = family.predict(latents, k, sampler, rows, settings)
            latents, _, memory = sampler.step(
                output, k, latents, lambda shape, i, k=k, own=own, noise=noise: noise.step(own, k, shape[1:], i), memory
            )
        expected = family.decode(latents, settings, lambda *_: torch.empty(0))[0]
        assert np.array_equal(np.asarray(Image.open(made.file(node.image))), expected)


def test_nodes_are_the_trees_of_a_sweep_and_their_prompts_pictures_are_its_standard_ones(made, sweep):
    run = made.folder.parents[2]
    pictures = sorted((run / made.baseline / "images").glob("*.png"))
    stamps = [path.stat().st_mtime_ns for path in pictures]
    *_, record = sweep(run, tau="0,0.35,9")
    assert record.baseline == made.baseline
    assert len(stamps) == 4
    assert stamps == [path.stat().st_mtime_ns for path in pictures], "made once"
    tree = Tree.load(record.folder(run) / "tree.npz")
    for node in made.nodes:
        assert tree.score[node.node] == pytest.approx(node.score)
        assert tree.leaf_order[tree.lo[node.node] : tree.hi[node.node]].tolist() == node.members
    for axis in ("model", "strategy", "features", "combiner"):
        assert getattr(made, axis) == getattr(record.config, axis)
    assert made.prompts == record.prompts(run)


def test_after_a_sweep_only_the_means_are_denoised(sweep, study, tmp_path):
    sweep(tmp_path / "run")
    stages = study(tmp_path / "run")
    assert stages.count("denoise") == 1
    assert stages.count("encode") == 0
    assert study(tmp_path / "run") == []


def test_the_released_codes_stream_of_noise_is_refused_in_a_line(study, tmp_path):
    with pytest.raises(UserError, match="no place for a cluster's mean"):
        study(tmp_path / "run", noise="official")
    assert not (tmp_path / "run").exists()


def test_no_height_no_means(study, tmp_path):
    study(tmp_path / "run", tau="0")
    (found,) = MeanEmbedding.of(tmp_path / "run")
    assert found.nodes == []


def test_cost_counts_the_standard_images_and_at_most_the_clusters_that_there_can_be(tiny_spec):
    study = get_study("mean-embedding")
    assert study.node_steps(tiny_spec(tau="0,0.35,9")) == STEPS * (4 + 4)
    assert study.node_steps(tiny_spec(tau="0")) == STEPS * 4
