from pathlib import Path

import pytest
from tiny_kandinsky import save_tiny_kandinsky


@pytest.fixture(scope="session")
def tiny_kandinsky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prior/ and decoder/ of a random-weight Kandinsky 2.2 whose scheduler learns its variance."""
    return save_tiny_kandinsky(
        tmp_path_factory.mktemp("tiny"), levels=1, variance_type="learned_range", clip_sample=False
    )


@pytest.fixture(scope="session")
def tiny_fixed_variance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, whose scheduler does not use the variance that the UNet predicts."""
    return save_tiny_kandinsky(
        tmp_path_factory.mktemp("tiny"), levels=1, variance_type="fixed_small", clip_sample=False
    )
