"""Something else that is called like one of our packages: named in one line, wherever `bench` starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(folder: Path, *path: Path) -> subprocess.CompletedProcess:
    """`bench --version` in a folder, with a path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-m", "bench.main", "--version"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("hiding", ["metrics.py", "common.py", "reports/__init__.py", "sweeps/__init__.py"])
@pytest.mark.parametrize("in_folder", [True, False], ids=["working folder", "PYTHONPATH"])
def test_a_file_that_hides_a_package_of_ours_is_named(tmp_path: Path, hiding: str, in_folder: bool) -> None:
    file = tmp_path / "theirs" / hiding
    file.parent.mkdir(parents=True)
    file.touch()
    (tmp_path / "elsewhere").mkdir()
    folder, path = (
        (tmp_path / "theirs", (ROOT,)) if in_folder else (tmp_path / "elsewhere", (tmp_path / "theirs", ROOT))
    )
    done = bench(folder, *path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"error: {file} hides reusebench's own package '{hiding.partition('/')[0].removesuffix('.py')}'"
    )
    assert f"take {tmp_path / 'theirs'} off PYTHONPATH" in line


def test_a_folder_of_that_name_with_no_python_in_it_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    done = bench(tmp_path, ROOT)
    assert done.returncode == 0, done.stderr


def test_a_folder_that_python_takes_for_a_package_is_named(tmp_path: Path, capsys, monkeypatch) -> None:
    """As where ours are found by the hook of an editable installation, which is asked after all folders."""
    from importlib.machinery import ModuleSpec

    from bench import shadows

    spec = ModuleSpec("reports", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "reports")]
    monkeypatch.setattr(shadows, "find_spec", lambda name: spec if name == "reports" else None)
    with pytest.raises(SystemExit) as ended:
        shadows.refuse_shadows()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'reports'} hides reusebench's own package 'reports'")
