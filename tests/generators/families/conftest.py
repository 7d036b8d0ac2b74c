from collections.abc import Callable, Iterator
from functools import cache

import diffusers
import pytest
from stock_pipelines import Case
from tiny_pipelines import SMALLER, shrink


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Case]]:
    """A small pipeline of a class and ours; a test of a class that this diffusers lacks is skipped."""

    def made(name: str) -> Case:
        if not hasattr(diffusers, name):
            pytest.skip(f"diffusers {diffusers.__version__} has no {name}")
        return Case.tiny(name, tmp_path_factory.mktemp(name))

    with pytest.MonkeyPatch.context() as patch:
        for name in SMALLER:
            if hasattr(diffusers, name):
                shrink(patch, name)
        yield cache(made)
