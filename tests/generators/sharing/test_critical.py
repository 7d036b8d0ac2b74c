"""How long plans take on many workers: against schedules worked out a step at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.sharing.critical import active_counts, handed_out, least_time, spread
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule

K = 5


def worked_out(plan: SharingPlan, workers: int) -> int:
    """Hu's schedule, node-step by node-step: read backwards, the highest free level first."""
    tasks = [(node, k) for node in range(len(plan.first)) for k in range(plan.first[node], plan.stop[node])]

    def after(node: int, k: int) -> list[tuple[int, int]]:
        if k + 1 < plan.stop[node]:
            return [(node, k + 1)]
        return [(int(child), k + 1) for child in np.flatnonzero(plan.source == node)]

    done: set[tuple[int, int]] = set()
    time = 0
    while len(done) < len(tasks):
        free = [task for task in tasks if task not in done and all(each in done for each in after(*task))]
        done |= set(sorted(free, key=lambda task: -task[1])[:workers])
        time += 1
    return time


@given(data=st.data(), workers=st.integers(1, 6))
def test_the_least_time_is_that_of_the_best_schedule(forests, taus, data, workers):
    plan = build_plan(data.draw(forests(max_leaves=7)), get_schedule("eq7"), data.draw(taus), K)
    assert least_time(plan, workers) == worked_out(plan, workers)
    assert least_time(plan, 1) == plan.node_steps
    assert least_time(plan, 10**6) == K
    assert active_counts(plan).tolist() == [len(plan.active(k)) for k in range(K)]


@given(data=st.data(), workers=st.integers(1, 6))
def test_no_division_beats_the_bound(forests, taus, data, workers):
    plan = build_plan(data.draw(forests(max_leaves=12)), get_schedule("eq7"), data.draw(taus), K)
    found = spread(plan, workers)
    assert found.critical_path == K
    assert K <= found.least_time <= found.time <= plan.node_steps
    assert 1 <= found.speed_up <= found.speed_up_bound <= workers
    assert found.speed_up_bound <= plan.node_steps / K


def test_parts_are_handed_to_whoever_is_free_and_wait_for_the_one_that_they_begin_from():
    assert handed_out([4, 3, 3], [-1, -1, -1], 2) == 6
    assert handed_out([5, 4, 3, 3], [-1, 0, -1, 0], 2) == 9
    assert handed_out([5, 1, 2, 6], [-1, 0, -1, 2], 2) == 8
    assert handed_out([5], [-1], 3) == 5
    assert handed_out([2] * 10, [-1] * 10, 5) == 4
    assert handed_out([9, 1, 1, 1], [-1, -1, 1, 2], 1) == 12
    assert handed_out([2, 2, 1, 1, 1, 1], [-1, -1, -1, 2, 3, 4], 2) == 4, "what most depends on goes first"


def test_nobody_sharing_divides_evenly():
    found = spread(baseline_plan(80, K), 10)
    assert (found.trunk, found.subtrees, found.time) == (0, 40, 40)
    assert found.speed_up == found.speed_up_bound == 10
    with pytest.raises(ValueError, match="workers"):
        least_time(baseline_plan(2, K), 0)
