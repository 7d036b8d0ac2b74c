"""A browser for the page, and where files that people should look at are kept."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import chromium, visit

__all__ = ["chromium", "visit"]


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], Path]:
    """Where a file that people should look at is kept: ``$REUSEBENCH_ARTIFACTS``."""
    folder = Path(os.environ.get("REUSEBENCH_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: folder / re.sub(r"[^\w.-]", "-", name)
