"""The examples in docstrings of sweeps, studies and what they choose by give what they say."""

from docstrings import failed_examples

MODULES = (
    "common.addresses",
    "common.bounded_yaml",
    "common.files",
    "common.selection",
    "reports.logged",
    "reports.mlflow_database",
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
    assert not failed_examples(MODULES, AT_LEAST)
