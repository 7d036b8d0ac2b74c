"""Examples in docstrings, run."""

import doctest
from collections.abc import Iterable
from importlib import import_module


def failed_examples(modules: Iterable[str], at_least: int) -> dict[str, int]:
    """Return how many examples fail by module, after asserting that at least so many examples were found."""
    results = {name: doctest.testmod(import_module(name)) for name in modules}
    assert sum(result.attempted for result in results.values()) >= at_least
    return {name: result.failed for name, result in results.items() if result.failed}
