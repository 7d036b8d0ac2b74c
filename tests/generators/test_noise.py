import numpy as np
import pytest
import torch
from drawn_shapes import drawn_shapes
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from generators.noise import OFFICIAL_BATCH, KeyedNoise, NamespacedNoise, OfficialNoise, in_namespace, node_key, seeded
from generators.sharing.plan import baseline_plan

SHAPE = (4, 8, 8)
KEYS = ["a", "b", "c"]


def test_rows_depend_on_their_own_key_alone():
    noise = KeyedNoise(1)
    assert torch.equal(noise.step(KEYS, 3, SHAPE)[1], noise.step(["b"], 3, SHAPE)[0])
    assert torch.equal(noise.initial(KEYS, SHAPE)[2], noise.initial(["c", "a"], SHAPE)[0])


def test_every_argument_gives_other_noise():
    drawn = [
        KeyedNoise(1).step(["a"], 3, SHAPE),
        KeyedNoise(2).step(["a"], 3, SHAPE),
        KeyedNoise(1).step(["b"], 3, SHAPE),
        KeyedNoise(1).step(["a"], 4, SHAPE),
        KeyedNoise(1).step(["a"], 3, SHAPE, draw=1),
        KeyedNoise(1).initial(["a"], SHAPE),
        # the low 32 bits of the seed are those of seed 1
        KeyedNoise(1 + 2**32).step(["a"], 3, SHAPE),
    ]
    flat = torch.stack(drawn).flatten(1)
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.3
    assert all(row.dtype == torch.float32 and row.device.type == "cpu" for row in drawn)


def test_noise_is_standard_normal():
    drawn = KeyedNoise(5).initial([str(i) for i in range(200)], SHAPE)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


def test_shared_policy_gives_one_initial_latent_and_step_noise_of_ones_own():
    noise = KeyedNoise(1, "shared")
    initial = noise.initial(KEYS, SHAPE)
    assert torch.equal(initial[0], initial[1])
    assert torch.equal(initial[:1], noise.initial(["elsewhere"], SHAPE))
    assert not torch.equal(*noise.step(["a", "b"], 0, SHAPE))


def test_noise_is_pinned():
    """A change of the stream changes every picture: raise the algorithm version with it."""
    drawn = KeyedNoise(42).step([node_key(["x#0"])], 1, (3,))[0]
    assert drawn.tolist() == pytest.approx([0.238646, 0.566191, -0.172310], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True), st.randoms())
def test_node_key_knows_the_set_not_the_order(keys: list[str], random):
    shuffled = list(keys)
    random.shuffle(shuffled)
    assert node_key(keys) == node_key(shuffled)
    assert node_key([*keys, "one more, longer"]) != node_key(keys)


N = OFFICIAL_BATCH + 8
ORDER = np.random.default_rng(0).permutation(N)
PROMPT_KEYS = [f"prompt {i}#0" for i in range(N)]
NODES = [node_key([key]) for key in PROMPT_KEYS]


def official(dtype: torch.dtype = torch.float32) -> OfficialNoise:
    generator = torch.Generator().manual_seed(7)
    return OfficialNoise(generator, dtype, baseline_plan(N, 3), ORDER, PROMPT_KEYS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_official_noise_is_one_stream_in_its_own_order_and_batches(dtype: torch.dtype):
    noise, stream = official(dtype), torch.Generator().manual_seed(7)

    def draw(rows: int) -> torch.Tensor:
        return torch.randn(rows, *SHAPE, generator=stream, dtype=dtype)

    assert torch.equal(noise.initial(NODES[:3], SHAPE), draw(1).expand(3, *SHAPE))
    for k in (0, 1):
        expected = torch.empty(N, *SHAPE, dtype=dtype)
        expected[ORDER] = torch.cat([draw(OFFICIAL_BATCH), draw(8)])
        halves = [noise.step(NODES[start : start + 20], k, SHAPE) for start in (0, 20)]
        assert torch.equal(torch.cat(halves), expected)
        assert torch.equal(noise.step(NODES[5:6], k, SHAPE)[0], expected[5]), "asked again, it is the same"


@pytest.mark.parametrize(
    ("nodes", "batches"), [(1, [1]), (31, [31]), (32, [32]), (33, [32, 1]), (64, [32, 32]), (70, [32, 32, 6])]
)
def test_official_noise_is_drawn_32_nodes_at_a_time(nodes, batches):
    keys = [f"prompt {i}#0" for i in range(nodes)]
    own = [node_key([key]) for key in keys]
    noise = OfficialNoise(torch.Generator(), torch.float32, baseline_plan(nodes, 2), np.arange(nodes), keys)
    with drawn_shapes() as shapes:
        noise.initial(own, SHAPE)
        for k in (0, 1):
            for key in own:
                noise.step([key], k, SHAPE)
    assert shapes == [(rows, *SHAPE) for rows in (1, *batches, *batches)]


def test_official_noise_of_a_run_that_is_taken_up_again_is_that_of_the_whole_run():
    whole, later = official(), official()
    whole.initial(NODES, SHAPE)
    for k in (0, 1):
        expected = whole.step(NODES, k, SHAPE)
    assert torch.equal(later.step(NODES, 1, SHAPE), expected)


def test_official_noise_refuses_what_has_no_place_in_its_stream():
    noise = official()
    noise.step(NODES, 1, SHAPE)
    with pytest.raises(ValueError, match="step 0"):
        noise.step(NODES, 0, SHAPE)
    with pytest.raises(UserError, match="twice a step"):
        noise.step(NODES, 1, SHAPE, draw=1)
    some = np.arange(N) < 5
    with pytest.raises(ValueError, match="every prompt"):
        OfficialNoise(torch.Generator(), torch.float32, baseline_plan(N, 3).restricted(some), ORDER, PROMPT_KEYS)


def test_in_a_realm_noise_is_that_of_its_source_alone():
    sources = {"a": KeyedNoise(1), "b": KeyedNoise(2, "shared")}
    nodes = [("a", "x"), ("b", "xy"), ("a", "yz"), ("b", "x")]
    keys = [node_key([in_namespace(namespace, key) for key in members]) for namespace, members in nodes]
    alone = [node_key(list(members)) for _, members in nodes]
    both = NamespacedNoise(sources)
    for k in (0, 3):
        drawn = both.step(keys, k, (2, 2), draw=1)
        for row, namespace, key in zip(drawn, "abab", alone, strict=True):
            assert torch.equal(row, sources[namespace].step([key], k, (2, 2), draw=1)[0])
    for row, namespace, key in zip(both.initial(keys, (2, 2)), "abab", alone, strict=True):
        assert torch.equal(row, sources[namespace].initial([key], (2, 2))[0])


@pytest.mark.parametrize("policy", ["per-root", "shared"])
def test_prompts_with_seeds_of_their_own_have_the_noise_of_a_run_with_that_seed_also_among_several_sources(policy):
    run = KeyedNoise(42, policy)
    both = NamespacedNoise({"a": run, "b": KeyedNoise(1, policy)})
    members = ["x", "y"]
    cluster = node_key([in_namespace("a", seeded(7, key)) for key in members])
    lone = node_key([in_namespace("a", seeded(8, "x"))])
    of_the_run = node_key([in_namespace("a", "x")])
    keys, own = [cluster, of_the_run, lone], [node_key(members), node_key(["x"]), node_key(["x"])]
    for row, key, seed in zip(both.initial(keys, (3,)), own, (7, 42, 8), strict=True):
        assert torch.equal(row, KeyedNoise(seed, policy).initial([key], (3,))[0])
    for row, key, seed in zip(both.step(keys, 2, (3,)), own, (7, 42, 8), strict=True):
        assert torch.equal(row, KeyedNoise(seed, policy).step([key], 2, (3,))[0])
    plain = [key.removeprefix("a/") for key in keys]
    assert torch.equal(run.step(plain, 2, (3,)), both.step(keys, 2, (3,))), "as in a source by itself"
