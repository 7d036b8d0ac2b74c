"""Baselines made again with fewer steps: what keeps one from being made is said, and no missing picture is read."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from common.errors import UserError
from sweeps import fewer_steps as module
from sweeps.generate import Made


def test_pictures_that_cannot_be_made_are_told_by_their_own_reason(tiny_spec, whole, monkeypatch):
    folder = Path("anywhere")
    job = SimpleNamespace(error=None, baseline=SimpleNamespace(folder=folder), config=SimpleNamespace(steps=1))
    made = {folder: Made(UserError("numbers overflow", "use fp32"), kept=False)}
    monkeypatch.setattr("sweeps.plan.check", lambda *_: ([], {}))
    monkeypatch.setattr("sweeps.passes.generated", lambda *_: (SimpleNamespace(jobs=[job]), made))
    making = module.fewer_steps(tiny_spec(), whole.records[0], ["a fox"], [0], "cpu", lambda _: None)
    with pytest.raises(UserError, match="numbers overflow"), making:
        pass
