"""The examples in docstrings of sweeps, studies and what they choose by give what they say."""

import doctest
from importlib import import_module

MODULES = (
    "common.selection",
    "studies.coarse_to_fine",
    "studies.spectra",
    "sweeps.accelerators",
    "sweeps.axes",
    "sweeps.cost",
    "sweeps.grid",
    "sweeps.machine",
    "sweeps.pictures",
    "sweeps.scorers",
    "sweeps.scores",
    "sweeps.spec",
    "sweeps.store",
    "sweeps.timeline",
)
AT_LEAST = 45


def test_every_example_gives_what_it_says_and_there_are_many() -> None:
    attempted, failed = 0, {}
    for name in MODULES:
        result = doctest.testmod(import_module(name))
        attempted += result.attempted
        if result.failed:
            failed[name] = result.failed
    assert not failed
    assert attempted >= AT_LEAST
