"""`pip install .` elsewhere: what is installed finds its checkpoints, prompt sets and presets."""

import json
import os
import site
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has the built package, and this environment's libraries behind it."""
    home = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    python = home / "venv" / "bin" / "python"
    library = Path(
        subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    )
    (library / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", home, ROOT], check=True, cwd=home)
    wheel = next(home.glob("*.whl"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--ignore-installed", wheel], check=True)
    return home


# In one process: each loads the libraries anew.
SEVERAL = """
import sys
from typer.testing import CliRunner
from bench.main import app

for line in sys.argv[1:]:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
    print(result.stdout)
"""


def run(home: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONSAFEPATH": "1", "REUSEBENCH_CACHE": str(home / "cache")}
    done = subprocess.run(
        [home / "venv" / "bin" / command[0], *command[1:]], cwd=home, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_what_the_default_sweep_needs(installed: Path) -> None:
    found = "import generators, sweeps.delivery.table as s; print(generators.__file__, s.__file__, sep='\\n')"
    assert all(Path(place).is_relative_to(installed) for place in run(installed, "python", "-c", found).splitlines())
    run(installed, "bench", "sweep", "--tau", "0,1", "--limit", "4", "--steps", "4", "--name", "small")
    records = [json.loads(path.read_text()) for path in (installed / "runs" / "small").glob("cells/*/record.json")]
    assert {record["status"] for record in records} == {"done"}
    commands = ("datasets list", "presets list", "flops --model sd15", "vqa-backends list --json")
    said = run(installed, "python", "-c", SEVERAL, *commands)
    for words in ("mini_scenes", "smoke", "denoiser", "bench setup vqa"):
        assert words in said


def test_the_wheel_has_our_packages_and_no_others(installed: Path) -> None:
    with ZipFile(next(installed.glob("*.whl"))) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    rooms = {"bench", "common", "generators", "metrics", "miniature", "reports", "reusebench", "serving", "studies"}
    rooms |= {"sweeps", "tasks"}
    assert packages == rooms


def test_the_wheel_stays_under_a_hundred_megabytes(installed: Path) -> None:
    assert next(installed.glob("*.whl")).stat().st_size < 100e6
