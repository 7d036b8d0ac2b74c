"""Fixtures of the tests that sweep a tiny model in their own process; conftest modules import them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.events import Event
from sweeps.passes import sweep as run_sweep
from sweeps.record import Record
from sweeps.spec import SweepSpec, make_spec

PROMPTS = ["a red fox", "a red wolf", "a blue car", "a blue van"]

Sweep = Callable[..., list[Record]]


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own; small matrices are slower on several threads."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REUSEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_spec(tiny) -> Callable[..., SweepSpec]:
    """The spec of four prompts, three steps, two taus, unless said otherwise."""
    defaults: dict[str, Any] = {
        "model": str(tiny.model),
        "prompt": PROMPTS,
        "steps": "3",
        "prior_steps": 2,
        "tau": "0,0.6",
        "metric": "none",
        "another_seed": False,
        "audit": False,
    }
    return lambda **settings: make_spec([defaults, settings])


@pytest.fixture(scope="session")
def sweep(tiny_spec) -> Sweep:
    """Run a sweep of the tiny model into a folder; `events` collects what happened."""

    def run(
        folder: Path, *, events: list[Event] | None = None, emit: Any = None, rescore: bool = False, **settings: Any
    ) -> list[Record]:
        spec = tiny_spec(**settings)
        heard = emit or ([] if events is None else events).append
        return run_sweep(spec, folder, device="cpu", emit=heard, rescore=rescore)

    return run
