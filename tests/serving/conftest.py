"""A server in this process, and the command line to compare it with."""

from collections.abc import Callable, Iterator

import pytest
from sweeping import surroundings  # noqa: F401 - a fixture
from typer.testing import CliRunner, Result

from bench.main import app


@pytest.fixture
def bench() -> Callable[..., Result]:
    """Run `bench` with these arguments in this process."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture
def ended() -> Iterator[list]:
    """Takes engines, which are closed after the test."""
    engines: list = []
    yield engines
    for engine in engines:
        engine.close()
        engine.join(60)
