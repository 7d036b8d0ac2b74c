import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import UserError
from generators.sharing.schedule import Schedule, get_schedule, schedules

NAMES = st.sampled_from(["eq7", "official"])
TAUS = st.one_of(st.sampled_from([0.0, 0.25, 1.0, 2.0]), st.floats(0, 1e6))
STEPS = st.integers(1, 60)


def test_equation_7() -> None:
    assert get_schedule("eq7").thresholds(1.0, 4).tolist() == [0.75, 0.5, 0.25, 0.0]
    assert get_schedule("eq7").thresholds(2.0, 1).tolist() == [0.0]


def test_official_code() -> None:
    assert get_schedule("official").thresholds(1.0, 5).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert get_schedule("official").thresholds(2.0, 1).tolist() == [0.0]
    for tau, steps in [(1.0, 40), (0.7, 37), (1.9, 1000)]:
        assert (get_schedule("official").thresholds(tau, steps) == np.linspace(0, tau, steps)[::-1]).all()


@given(NAMES, TAUS, STEPS)
def test_thresholds_fall_to_nothing(name: str, tau: float, steps: int) -> None:
    phi = get_schedule(name).thresholds(tau, steps)
    assert phi.shape == (steps,)
    assert phi[-1] == 0
    assert (np.diff(phi) <= 0).all()
    assert phi[0] <= tau


@given(NAMES, TAUS, STEPS, st.data())
def test_a_cluster_is_whole_while_the_threshold_is_above_it(
    name: str, tau: float, steps: int, data: st.DataObject
) -> None:
    schedule = get_schedule(name)
    phi = schedule.thresholds(tau, steps)
    heights = st.one_of(st.sampled_from([0.0, 0.5, *phi.tolist()]), st.floats(0, 4))
    scores = data.draw(st.lists(heights, max_size=5))
    whole = [[score < p or (name == "official" and score == p) for p in phi if p > 0] for score in scores]
    assert schedule.split_steps(np.array(scores, dtype=float), tau, steps).tolist() == [sum(row) for row in whole]


@pytest.mark.parametrize("tau", [-0.1, float("nan"), float("inf")])
def test_a_tau_that_is_none_is_refused(tau: float) -> None:
    with pytest.raises(UserError, match="tau must be a number from 0 up"):
        get_schedule("eq7").thresholds(tau, 10)


def test_no_steps_are_refused() -> None:
    with pytest.raises(UserError, match="steps must be at least 1, not 0"):
        get_schedule("official").thresholds(1.0, 0)


@pytest.mark.parametrize("phi", [[1.0, 0.5], [0.5, 1.0, 0.0], [1.0, 0.0], [np.nan, 0.5, 0.0], [-1.0, -1.0, 0.0]])
def test_a_plug_in_that_breaks_its_promise_is_refused(phi: list[float]) -> None:
    class Broken(Schedule):
        name = "broken"
        ties = "smaller"

        def phi(self, tau: float, steps: int) -> NDArray[np.float64]:
            return np.array(phi)

    with pytest.raises(UserError, match="schedule 'broken' gave thresholds that do not fall to 0"):
        Broken().thresholds(1.0, 3)


def test_schedules_are_found_by_name() -> None:
    assert {"eq7", "official"} <= set(schedules())
    assert all(schedule.summary() for schedule in schedules().values())
    with pytest.raises(UserError, match="did you mean 'official'"):
        get_schedule("oficial")


def test_the_sharing_core_needs_numpy_alone() -> None:
    probe = (
        "import sys; import generators.sharing.plan, generators.sharing.savings, generators.sharing.schedule as s; "
        "s.schedules(); print(sorted({'torch', 'scipy', 'pandas', 'pydantic', 'diffusers'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    result = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
