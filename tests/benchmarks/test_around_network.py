"""What is around a network is told apart from the network itself."""

import time

import pytest
from torch import nn

from benchmarks.around_network import around


def spend(seconds: float) -> None:
    """Keep this thread busy for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Network(nn.Module):
    def forward(self) -> None:
        spend(0.03)


def test_the_networks_own_time_is_left_out_and_calls_of_a_step_are_added():
    network = Network()

    def work() -> None:
        for _ in range(3):
            network()
            spend(0.001)
            network()
            spend(0.002)

    assert 3 <= around(work, network, 3) < 15, "milliseconds, of 63 in all"


def test_steps_that_call_it_unequally_often_are_no_measurement():
    network = Network()
    with pytest.raises(ValueError, match="1 calls of the network in 2 steps"):
        around(lambda: network(), network, 2)
