"""Large tensors one after the other, in a process of their own: their pages are new once."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from common.allocator import keep_memory
kept = keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(24_000_000), torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(kept, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is of glibc")
@pytest.mark.parametrize("asked", [False, True])
def test_memory_is_kept_unless_the_environment_says_otherwise(asked):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"MALLOC_ARENA_MAX": "2"} if asked else {}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=True)
    kept, faults = done.stdout.split()
    if not asked and kept == "False":
        pytest.skip("another C library")
    assert kept == str(not asked)
    assert int(faults) < 1000 or asked
