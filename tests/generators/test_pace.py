"""The first denoiser call apart from the others."""

import pytest
import torch

from common.loading import loading
from generators.pace import Pace


def test_the_first_call_is_told_from_the_mean_of_the_others(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr("generators.pace.time.perf_counter", lambda: next(clock))
    pace = Pace(torch.device("cpu"))
    assert pace.first is pace.steady is None
    assert [pace.call(rows, lambda: "done") for rows in (1, 2, 4)] == ["done"] * 3
    pace.settle()
    assert (pace.first, pace.steady) == (5.0, (1 + 2) / (2 + 4))


def test_weights_that_the_first_call_loads_are_not_its_own(clock):
    @loading()
    def loaded():
        clock.later += 1000

    pace = Pace(torch.device("cpu"))
    pace.call(1, loaded)
    assert 0 <= pace.first < 1000


def test_a_call_that_fails_is_not_measured():
    pace = Pace(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError):
        pace.call(8, lambda: 1 / 0)
    assert pace.first is pace.steady is None


def test_an_accelerator_is_waited_for_after_the_first_call_and_where_steps_end(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(device))
    pace = Pace(device := torch.device("cuda", 0))
    for expected in (1, 1, 1):
        pace.call(4, lambda: None)
        assert waited == [device] * expected
    pace.settle()
    assert waited == [device] * 2
