from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from miniature.training.loop import Recipe, fit

SIZE = 20


def linear() -> nn.Linear:
    """A matrix, which one optimiser trains, and a bias, which the other does."""
    torch.manual_seed(0)
    return nn.Linear(SIZE, SIZE)


def loss_of(model: nn.Linear, stop_at: int | None = None):  # type: ignore[no-untyped-def]
    def loss(rng: np.random.Generator, step: int):  # type: ignore[no-untyped-def]
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.normal(size=(8, SIZE))).float() + 0.1 * torch.randn(8, SIZE)
        return (model(x) - x - 1).square().mean(), {}

    return loss


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_training_ends_with_the_weights_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    monkeypatch.setattr("miniature.training.loop.SAVE_EVERY", 0.0)
    recipe = Recipe(steps=30, batch=8, learning_rate=0.05, ema=ema, bf16=False)
    unbroken = linear()
    fit("unbroken", unbroken, loss_of(unbroken), recipe, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit("broken", model := linear(), loss_of(model, stop_at=17), recipe, tmp_path)
    resumed = linear()
    fit("broken", resumed, loss_of(resumed), recipe, tmp_path)
    assert torch.equal(unbroken.weight, resumed.weight)
    assert torch.equal(unbroken.bias, resumed.bias)
    start, goal = linear(), torch.eye(SIZE)
    assert (unbroken.weight - goal).norm() < 0.7 * (start.weight - goal).norm()
    assert (unbroken.bias - 1).norm() < 0.9 * (start.bias - 1).norm()
