import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_kandinsky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prior/ and decoder/ of a random-weight Kandinsky 2.2 whose scheduler learns its variance."""
    return _tiny().save_tiny_kandinsky(
        tmp_path_factory.mktemp("tiny"), variance_type="learned_range", clip_sample=False
    )


@pytest.fixture(scope="session")
def tiny_fixed_variance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, whose scheduler does not use the variance that the UNet predicts."""
    return _tiny().save_tiny_kandinsky(tmp_path_factory.mktemp("tiny"), variance_type="fixed_small", clip_sample=False)


def _tiny():
    path = Path(__file__).parent / "families" / "tiny.py"
    spec = importlib.util.spec_from_file_location("tiny_kandinsky", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
