"""The stream before a cache: who starts from whom, and what is evicted."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from generators.sharing.plan import baseline_plan, build_plan
from generators.sharing.savings import node_steps, tau_for_savings
from generators.sharing.schedule import get_schedule
from generators.sharing.stream import KNOWN, LatentCache, Neighbours, Stream
from generators.strategies.check_planner import paths

EQ7 = get_schedule("eq7")
DISTANCES, SHARES = (0.5, 0.2, 0.05), (0.2, 0.4, 0.6)


def turned(*degrees: float) -> np.ndarray:
    """Unit rows at these angles: their cosine distances are known."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def stream(
    rows: np.ndarray, size: int | None = None, eviction: Any = "lru", order: Any = None, storing: Any = "all"
) -> Stream:
    return Stream(rows, np.arange(len(rows)) if order is None else order, DISTANCES, SHARES, size, eviction, storing)


@st.composite
def streams(draw: Any, bounded: bool = True, storing: tuple[str, ...] = ("misses", "all")) -> Stream:
    n = draw(st.integers(1, 14))
    rows = turned(*draw(st.lists(st.integers(0, 90), min_size=n, max_size=n)))
    size = draw(st.integers(1, 8) | st.none()) if bounded else None
    order = np.array(draw(st.permutations(range(n))))
    return stream(rows, size, draw(st.sampled_from(["lru", "lcbfu"])), order, draw(st.sampled_from(storing)))


taus = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 7.0, 1e9])


@settings(max_examples=80, deadline=None)
@given(each=streams(), tau=taus, steps=st.integers(1, 12))
def test_every_path_covers_every_step_once_and_costs_what_the_hits_say(each: Stream, tau: float, steps: int) -> None:
    plan = build_plan(each, EQ7, tau, steps)
    covered = np.zeros((each.n_leaves, steps), dtype=int)
    for prompt, output in enumerate(plan.output.tolist()):
        node = output
        while node >= 0:
            covered[prompt, plan.first[node] : plan.stop[node]] += 1
            node = plan.source[node]
    assert (covered == 1).all()
    skipped = {start.prompt: start.latent[1] if start.latent else 0 for start in each.starts(EQ7, tau, steps)}
    assert plan.node_steps == sum(steps - skip for skip in skipped.values()) == node_steps(each, EQ7, tau, steps)


@settings(max_examples=80, deadline=None)
@given(each=streams(), tau=taus, steps=st.integers(1, 12))
def test_what_is_shared_is_the_first_comers_alone(each: Stream, tau: float, steps: int) -> None:
    """Every node is one prompt's; what a prompt did not make itself, one that arrived before it made."""
    plan = build_plan(each, EQ7, tau, steps)
    assert (plan.hi - plan.lo == 1).all()
    arrived = np.argsort(each.arrivals)
    made_by = paths(plan)
    assert (arrived[made_by] <= arrived[:, None]).all()
    for start in each.starts(EQ7, tau, steps):
        own = start.latent[1] if start.latent else 0
        assert (made_by[start.prompt, own:] == start.prompt).all()
        assert (made_by[start.prompt, :own] != start.prompt).all()
        if start.latent:
            lender, step = start.latent
            assert (made_by[start.prompt, :step] == made_by[lender, :step]).all()


@settings(max_examples=40, deadline=None)
@given(each=streams(), steps=st.integers(1, 12))
def test_tau_0_is_standard_generation(each: Stream, steps: int) -> None:
    plan = build_plan(each, EQ7, 0, steps)
    assert plan.solo.all() and plan.savings == 0
    assert np.array_equal(paths(plan), paths(baseline_plan(each.n_leaves, steps)))


@settings(max_examples=60, deadline=None)
@given(each=streams(bounded=False, storing=("all",)), steps=st.integers(1, 12))
def test_savings_never_fall_with_tau_where_all_is_stored_and_nothing_evicted(each: Stream, steps: int) -> None:
    costs = [node_steps(each, EQ7, tau, steps) for tau in (0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 7.0, 1e9)]
    assert costs == sorted(costs, reverse=True)


def test_savings_may_fall_with_tau_where_hits_store_nothing() -> None:
    """At tau 1 the second prompt is far off and lends its 6th; at tau 1.1 it starts from the first and stores none."""
    each = stream(turned(0, 60, 60), storing="misses")
    assert [start.latent for start in each.starts(EQ7, 1, 10)] == [None, None, (1, 6)]
    assert [start.latent for start in each.starts(EQ7, 1.1, 10)] == [None, (0, 2), (0, 2)]


@settings(max_examples=60, deadline=None)
@given(each=streams(storing=("misses",)), tau=taus, steps=st.integers(1, 12))
def test_where_only_misses_are_stored_every_lender_started_from_noise(each: Stream, tau: float, steps: int) -> None:
    starts = {start.prompt: start.latent for start in each.starts(EQ7, tau, steps)}
    assert all(starts[latent[0]] is None for latent in starts.values() if latent)


@settings(max_examples=60, deadline=None)
@given(uses=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4))), size=st.integers(1, 6))
def test_the_cache_never_holds_more_than_its_size(uses: list[tuple[int, int]], size: int) -> None:
    cache = LatentCache(size, "lcbfu")
    for latent in uses:
        if latent in cache:
            cache.use(latent)
        else:
            cache.put(latent)
        assert latent in cache and len(cache) <= size


def test_similarity_sets_the_step() -> None:
    """Cosine distances to the first: 0.5 is not below 0.5, 0.29, 0.06, 0.0038; tables of 10 steps skip 0, 2, 4, 6."""
    rows = turned(0, 60, 45, 20, 5)
    starts = stream(rows[[0, 1]]).starts(EQ7, 1, 10)
    assert starts[1].latent is None
    assert [stream(rows[[0, i]]).starts(EQ7, 1, 10)[1].latent for i in (2, 3, 4)] == [(0, 2), (0, 4), (0, 6)]
    assert stream(rows[[0, 1]]).starts(EQ7, 1.1, 10)[1].latent == (0, 2)  # tau stretches the table


def test_a_prompt_starts_from_the_nearest_one_before_it() -> None:
    starts = stream(turned(0, 90, 85, 5, 85)).starts(EQ7, 1, 10)
    assert [start.latent for start in starts] == [None, None, (1, 6), (0, 6), (1, 6)]


def test_what_a_prompt_started_from_is_found_under_its_name_too() -> None:
    """The third is near the second alone, which has no latent of its own before step 6."""
    starts = stream(turned(0, 10, 35)).starts(EQ7, 1, 10)
    assert [start.latent for start in starts] == [None, (0, 6), (0, 4)]
    plan = build_plan(stream(turned(0, 10, 35)), EQ7, 1, 10)
    assert paths(plan).tolist() == [[0] * 10, [0] * 6 + [1] * 4, [0] * 4 + [2] * 6]
    assert plan.first.tolist() == [0, 4, 6, 6, 4] and plan.stop.tolist() == [4, 6, 10, 10, 10]


def test_lru_lets_go_of_what_was_used_longest_ago() -> None:
    cache = LatentCache(2, "lru")
    assert cache.put((0, 6)) == cache.put((1, 2)) == []
    cache.use((0, 6))
    assert cache.put((2, 2)) == [(1, 2)]
    assert cache.put((3, 2)) == [(0, 6)]


def test_lcbfu_lets_go_of_the_least_uses_times_steps() -> None:
    cache = LatentCache(3, "lcbfu")
    for latent in ((0, 6), (1, 2), (2, 4)):
        cache.put(latent)
    for latent in ((0, 6), (1, 2), (1, 2), (1, 2), (1, 2), (2, 4)):
        cache.use(latent)
    assert cache.put((3, 6)) == [(2, 4)], "1 x 4, less than 1 x 6 and 4 x 2"
    cache.use((3, 6))
    assert cache.put((4, 6)) == [(0, 6)], "(3, 6) is worth as much, and was used later"


def test_making_a_latent_is_no_use_of_it() -> None:
    """Else the cache fills with the furthest steps, which hardly anyone is near enough to start from."""
    cache = LatentCache(2, "lcbfu")
    cache.put((0, 2))
    cache.put((1, 25))
    cache.use((0, 2))
    assert cache.put((2, 2)) == [(1, 25)], "nobody used it, however far it is"
    assert cache.put((3, 25)) == [(2, 2)], "of unused ones the first to come goes, not the one that saves least"


def test_policies_part_on_a_stream_made_by_hand() -> None:
    """Ten steps, three latents. Prompt 1 uses prompt 0's 6th, prompt 2 lies far off and stores its own, 3 is 0 again.

    lru lets go of prompt 0's three; lcbfu keeps the one that was used, for prompt 2's 2nd.
    """
    rows = turned(0, 0, 90, 0)
    assert stream(rows, 3, "lru", storing="misses").starts(EQ7, 1, 10)[3].latent is None
    assert stream(rows, 3, "lcbfu", storing="misses").starts(EQ7, 1, 10)[3].latent == (0, 6)


def test_a_hit_stores_its_own_latents_or_nothing() -> None:
    """The second starts from the first's 2nd step; the third is the second again."""
    rows = turned(0, 45, 45)
    assert stream(rows, storing="all").starts(EQ7, 1, 10)[2].latent == (1, 6)
    assert stream(rows, storing="misses").starts(EQ7, 1, 10)[2].latent == (0, 2)


def test_where_the_step_was_evicted_an_earlier_one_does() -> None:
    rows = turned(0, 0)
    starts = stream(rows, 1, "lru").starts(EQ7, 1, 10)
    assert starts[1].latent == (0, 6)  # of its three, made in turn, the last stayed
    near = stream(turned(0, 20), 2, "lru").starts(EQ7, 1, 10)
    assert near[1].latent == (0, 4)
    assert stream(turned(0, 20), 1, "lru").starts(EQ7, 1, 10)[1].latent is None  # the 6th is too far for it


def test_the_order_of_arrival_decides_who_lends() -> None:
    rows = turned(0, 5)
    assert stream(rows).starts(EQ7, 1, 10)[1].latent == (0, 6)
    assert stream(rows, order=np.array([1, 0])).starts(EQ7, 1, 10)[1].latent == (1, 6)


def test_neighbours_are_those_of_all_inner_products() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[100:150] = rows[:50]  # equal ones: whoever came first
    neighbours = Neighbours(rows)
    for there in (np.ones(300, dtype=bool), rng.random(300) < 0.05):
        for i in range(300):
            before = np.flatnonzero(there[:i])
            found = neighbours.nearest(i, there)
            if not before.size:
                assert found is None
                continue
            similar = np.round(rows[before] @ rows[i], 9)
            assert found == (before[np.argmax(similar)], pytest.approx(similar.max()))
    assert KNOWN < 300  # else the second look was never taken


def test_tau_is_found_for_savings() -> None:
    each = stream(turned(*np.random.default_rng(0).uniform(0, 90, 60)))
    for target in (0.1, 0.3, 0.5):
        found = tau_for_savings(each, EQ7, 10, target)
        assert found.reached and build_plan(each, EQ7, found.tau, 10).savings >= target
        assert build_plan(each, EQ7, found.tau * 0.998, 10).savings < target
    assert tau_for_savings(each, EQ7, 10, 0.9).most == 0.6 * 59 / 60


def test_bad_taus_are_refused() -> None:
    with pytest.raises(UserError, match="tau"):
        build_plan(stream(turned(0, 1)), EQ7, -1, 4)
