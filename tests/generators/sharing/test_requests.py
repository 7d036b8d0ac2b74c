"""Streams before caches of whole requests: who starts from whom, from a latent or from a picture."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.sharing.plan import build_plan
from generators.sharing.requests import Pictures, Requests
from generators.sharing.savings import node_steps
from generators.sharing.schedule import get_schedule
from generators.sharing.stream import stepped

EQ7 = get_schedule("eq7")
DISTANCES, SHARES = (0.5, 0.2, 0.05), (0.2, 0.4, 0.6)


def turned(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def table(steps: int) -> list[tuple[int, float]]:
    return stepped(DISTANCES, SHARES, steps)


def stream(kind: str, rows: np.ndarray, size: int | None = None, eviction: Any = "fifo", order: Any = None) -> Requests:
    asked = rows, np.arange(len(rows)) if order is None else order, table, size, eviction
    return Requests(*asked) if kind == "requests" else Pictures(*asked, "all" if kind == "pictures" else "misses")


@st.composite
def streams(draw: Any) -> Requests:
    n = draw(st.integers(1, 14))
    rows = turned(*draw(st.lists(st.integers(0, 90), min_size=n, max_size=n)))
    kind, eviction = draw(st.sampled_from(["requests", "pictures", "misses"])), draw(st.sampled_from(["lru", "fifo"]))
    return stream(kind, rows, draw(st.integers(1, 8) | st.none()), eviction, np.array(draw(st.permutations(range(n)))))


taus = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 7.0, 1e9])


@settings(max_examples=100, deadline=None)
@given(each=streams(), tau=taus, steps=st.integers(1, 12))
def test_a_plan_does_what_the_starts_say(each: Requests, tau: float, steps: int) -> None:
    plan = build_plan(each, EQ7, tau, steps)
    starts = {start.prompt: start.latent for start in each.starts(EQ7, tau, steps)}
    arrived = np.argsort(each.arrivals)
    skipped = {prompt: latent[1] if latent else 0 for prompt, latent in starts.items()}
    assert plan.node_steps == sum(steps - skip for skip in skipped.values()) == node_steps(each, EQ7, tau, steps)
    assert plan.from_pictures == (isinstance(each, Pictures) and any(starts.values()))
    for prompt, latent in starts.items():
        if latent:
            assert arrived[latent[0]] < arrived[prompt] and 0 < latent[1] < steps
        if latent and plan.from_pictures:
            assert plan.picture[plan.output[prompt]] == plan.output[latent[0]]
            assert plan.first[plan.output[prompt]] == latent[1]


@settings(max_examples=40, deadline=None)
@given(each=streams(), steps=st.integers(1, 12))
def test_tau_0_is_standard_generation(each: Requests, steps: int) -> None:
    plan = build_plan(each, EQ7, 0, steps)
    assert plan.solo.all() and plan.savings == 0 and not plan.from_pictures


@settings(max_examples=60, deadline=None)
@given(degrees=st.lists(st.integers(0, 90), min_size=1, max_size=12), steps=st.integers(1, 12))
def test_savings_never_fall_with_tau_where_all_pictures_are_stored_and_none_goes(degrees: Any, steps: int) -> None:
    each = stream("pictures", turned(*degrees))
    costs = [node_steps(each, EQ7, tau, steps) for tau in (0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 7.0, 1e9)]
    assert costs == sorted(costs, reverse=True)


def starts(each: Requests) -> list[Any]:
    return [start.latent for start in each.starts(EQ7, 1, 10)]


def test_pictures_of_hits_are_started_from_and_latents_of_hits_are_not() -> None:
    """The second hits the first; the third is near the second alone: 30 degrees are a distance of 0.134, 60 of 0.5."""
    rows = turned(0, 30, 60)
    assert starts(stream("pictures", rows)) == [None, (0, 4), (1, 4)]
    assert starts(stream("requests", rows)) == starts(stream("misses", rows)) == [None, (0, 4), None]
    plan = build_plan(stream("pictures", rows), EQ7, 1, 10)
    assert plan.rounds.tolist() == [0, 1, 2] and plan.first.tolist() == [0, 4, 4]
    assert plan.picture.tolist() == [-1, 0, 1]


@pytest.mark.parametrize(("eviction", "last"), [("lru", (0, 6)), ("fifo", None)])
def test_who_goes_from_a_full_cache(eviction: str, last: Any) -> None:
    """Two places: the first is used before the third comes, which takes the place of the second or of the first."""
    rows = turned(0, 89, 2, 179, 1)
    each = Requests(rows, np.arange(5), table, 2, eviction)
    assert starts(each) == [None, None, (0, 6), None, last]
