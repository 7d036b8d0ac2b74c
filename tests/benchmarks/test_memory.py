"""The benchmark of memory measures what it says."""

import pytest
import torch

from benchmarks import memory
from benchmarks.models import embedded
from generators.sharing.plan import baseline_plan


def test_allocated_is_the_worst_moment_not_the_sum():
    def work() -> None:
        for _ in range(3):
            torch.zeros(1 << 20)  # let go at once

    assert memory.allocated(work) == pytest.approx(4 << 20, rel=0.01)


def test_what_is_predicted_of_an_embedded_model_is_what_it_takes():
    model = embedded("mini-sd", 6, steps=1)
    found = list(memory.measured(model, "baseline", baseline_plan(6, model.steps), 4, memory.allocated))
    assert [case.phase for case in found] == ["denoise", "decode"]
    for case in found:
        assert abs(case.error) < 0.05
        assert case.weights < case.measured, "what is computed counts too"
