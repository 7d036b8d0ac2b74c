import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from common import memory
from common.memory import free_memory

LIMITED = """
import resource
import psutil
from common.memory import free_memory
used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
print(free_memory())
"""


def cgroup(folder: Path, content: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name).write_text(text)


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "own")
    return tmp_path


def test_no_more_is_free_than_the_machine_has(cgroups: Path) -> None:
    assert 0 < free_memory() <= psutil.virtual_memory().total


def test_a_containers_limit_counts_wherever_above_it_is_set(cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/pod/box\n")
    used = {"memory.current": "1000", "memory.stat": "anon 5\ninactive_file 300\n"}
    cgroup(cgroups / "cgroup" / "pod" / "box", {"memory.max": "max\n", **used})
    cgroup(cgroups / "cgroup" / "pod", {"memory.max": "5000\n", **used})
    assert free_memory() == 5000 - 1000 + 300


def test_a_limit_of_the_first_version_counts(cgroups: Path) -> None:
    (cgroups / "own").write_text("9:cpu:/x\n4:cpuset,memory:/box\n")
    content = {"memory.limit_in_bytes": "700", "memory.usage_in_bytes": "900", "memory.stat": "total_inactive_file 0\n"}
    cgroup(cgroups / "cgroup" / "memory" / "box", content)
    assert free_memory() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is Linux's")
def test_the_shells_limit_counts() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 2**28
