"""One strategy shown and checked: in the box, in a module of one's own, and in a package that pip installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
MODULE = '''
"""Strategies of somebody else."""

import numpy as np
from pydantic import Field

from generators.sharing.tree import Tree
from generators.strategies.base import Strategy
from generators.strategies.contents import by_distinct_content


class AllAtOnce(Strategy):
    """All prompts share until one step."""

    name = "all-at-once"
    complexity = "O(N D)"
    memory = "O(N D)"
    source = "tests"

    height: float = Field(1.0, gt=0, description="where they part")

    def tree(self, features, *, seed=0):
        return by_distinct_content(features, lambda rows, copies: self._together(len(rows)))

    def _together(self, n):
        return Tree(np.append(np.full(n, n), -1), np.append(np.zeros(n), self.height), n)


class Careless(AllAtOnce):
    """The same, whatever it is given."""

    name = "careless"

    def tree(self, features, *, seed=0):
        return self._together(len(features))


class Nameless(AllAtOnce):
    name = ""


class Usurper(AllAtOnce):
    name = "ward-cosine"
'''
PACKAGE = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "somebody-elses-strategies"
version = "1.0"

[project.entry-points."reusebench.strategies"]
all-at-once = "somebody_else:AllAtOnce"

[tool.setuptools]
py-modules = ["somebody_else"]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working folder."""
    (tmp_path / "somebody_else.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "somebody_else"
    sys.modules.pop("somebody_else", None)


def test_show_says_all_there_is(bench):
    shown = bench("strategies", "show", "hdbscan").stdout
    assert "condensed tree" in shown
    assert "complexity: O(N^2 D)" in shown
    assert "memory:     20 N^2 bytes" in shown
    assert "source:     Campello" in shown
    assert "min_samples: int = 5  the neighbour" in shown
    about = json.loads(bench("strategies", "show", "flat-threshold", "--json").stdout)
    assert about["parameters"]["similarity"] == {
        "type": "float",
        "default": 0.5,
        "description": "the least cosine similarity of two prompts of a group",
    }
    assert "parameters: none" in bench("strategies", "show", "ward-cosine").stdout
    unknown = bench("strategies", "show", "ward-cosin")
    assert unknown.exit_code == 2
    assert "did you mean 'ward-cosine'" in unknown.output


def test_a_good_strategy_passes_and_its_growth_is_told(bench):
    result = bench("strategies", "check", "random-balanced", "--size", 60, "--size", 120, "--size", 240, "--json")
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == 0, result.output
    assert all(finding["passed"] for finding in findings.values())
    assert "240 prompts; declared: O(N log N)" in findings["time grows as declared"]["reason"]


def test_parameters_are_checked_as_they_are_given(bench):
    assert bench("strategies", "check", "hdbscan:min_samples=2", "--no-growth").exit_code == 0
    assert bench("strategies", "check", "hdbscan:min_samples=0", "--no-growth").exit_code == 2


def test_a_class_of_ones_own_is_checked_and_failures_exit_1(bench, module):
    assert bench("strategies", "check", f"{module}:AllAtOnce", "--no-growth").exit_code == 0
    result = bench("strategies", "check", f"{module}:Careless", "--no-growth")
    assert result.exit_code == 1
    lines = {line[:32].strip(): line for line in result.stdout.splitlines()}
    assert "FAIL" in lines["bad features are refused"]
    assert "accepted: NaN" in lines["bad features are refused"]
    assert "pass" in lines["tree is valid"]


def test_a_class_of_ones_own_is_planned_with_generated_with_and_swept_by(bench, module, tiny, tiny_sweep):
    np.save("embeddings.npy", np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32))
    plan = ("plan", "--embeddings", "embeddings.npy", "--steps", 20, "--tau", 2, "--json", "--strategy")
    (row,) = json.loads(bench(*plan, f"{module}:AllAtOnce:height=1.5").stdout)
    assert row["savings"] == pytest.approx(0.18), "as for the same class of an installed package"
    own = ("--strategy", f"{module}:AllAtOnce")
    generated = bench("generate", *tiny_sweep[1:-3], "--tau", 1, *own)
    assert generated.exit_code == 0, generated.output
    swept = bench(*tiny_sweep, *own, "--tau", 2, "--no-another-seed", "--name", "own")
    assert swept.exit_code == 0, swept.output
    (cell,) = [json.loads(path.read_text()) for path in Path("runs/own/cells").glob("*/record.json")]
    assert cell["identity"]["strategy"]["name"] == "all-at-once"
    assert cell["plan"]["savings"] > 0


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("somebody_else:Nobody", "has no attribute 'Nobody'"),
        ("not_there:Strategy", "No module named 'not_there'"),
        ("somebody_else:Tree", "is no Strategy class"),
        ("somebody_else:Nameless", "has no name"),
        ("somebody_else:Usurper", "calls itself 'ward-cosine', as another strategy does"),
        ("ward-cosin", "did you mean 'ward-cosine'"),
    ],
)
def test_what_is_no_strategy_is_named(bench, module, which, message):
    result = bench("strategies", "check", which, "--no-growth")
    assert result.exit_code == 2
    assert message in result.output


def test_growth_takes_three_sizes(bench):
    assert bench("strategies", "check", "none", "--size", 10, "--size", 20).exit_code == 2


@pytest.fixture
def dangling(tmp_path: Path) -> Path:
    """A folder with what is left of packages whose modules are gone: entry points of several kinds."""
    kinds = ("strategies", "datasets", "workers", "figures")
    told = tmp_path / "site" / "gone-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: gone\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("".join(f"[reusebench.{kind}]\nlost = gone:LOST\n" for kind in kinds))
    return told.parent


def test_a_dangling_entry_point_is_one_line_and_stops_nobody(dangling):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(dangling)))}
    command = [sys.executable, "-m", "bench.main", "strategies"]

    def bench(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)

    listed = bench("list", "--json")
    assert "ward-cosine" in {row["name"] for row in json.loads(listed.stdout)}
    told = "the plug-in gone:LOST (reusebench.strategies) is skipped: ModuleNotFoundError: No module named 'gone'"
    assert listed.stderr.splitlines() == [told]
    asked_for = bench("show", "lost")
    assert asked_for.returncode == 2
    assert "error: the strategy 'lost' (gone:LOST) cannot be loaded: ModuleNotFoundError" in asked_for.stderr


def test_doctor_lists_every_plugin_that_is_skipped(bench, dangling, monkeypatch):
    from common import plugins
    from generators import prompts

    monkeypatch.setattr("generators.model_entry.ModelEntry.unavailable", lambda _: None)
    monkeypatch.setattr(plugins, "_skipped", {})
    monkeypatch.syspath_prepend(dangling)
    known = (plugins._discover, prompts._known)
    for function in known:
        function.cache_clear()
    lines = [line for line in bench("doctor").stdout.splitlines() if "plug-in lost" in line]
    for function in known:
        function.cache_clear()
    assert {line.partition("(")[2].partition(")")[0] for line in lines} == {
        f"reusebench.{kind}" for kind in ("strategies", "datasets", "workers", "figures")
    }
    assert all("No module named 'gone'  -> update or uninstall its package" in line for line in lines)


def test_a_strategy_of_an_installed_package_is_listed_checked_planned_with_and_compared(bench, tmp_path, monkeypatch):
    """Listed by a process of its own, the rest in this one, which then has the package on its path."""
    from common import plugins

    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "somebody_else.py").write_text(MODULE)
    (source / "pyproject.toml").write_text(PACKAGE)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    np.save(tmp_path / "embeddings.npy", np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.main", "strategies", "list", "--json"]
    alone = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    listed = {row["name"]: row for row in json.loads(alone)}
    assert listed["all-at-once"]["description"] == "All prompts share until one step."
    assert listed["all-at-once"]["complexity"] == "O(N D)"

    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "somebody_else", raising=False)
    plugins._discover.cache_clear()

    def said(*arguments: str) -> str:
        result = bench(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    try:
        assert "height: float = 1.0" in said("strategies", "show", "all-at-once")
        assert "pass" in said("strategies", "check", "all-at-once", "--no-growth")
        plan = ("plan", "--embeddings", "embeddings.npy", "--steps", "20", "--tau", "2", "--json", "--strategy")
        (row,) = json.loads(said(*plan, "all-at-once"))
        assert row["savings"] == pytest.approx(0.405), "nine of ten prompts, over nine of 20 steps"
        (row,) = json.loads(said(*plan, "all-at-once:height=1.5"))
        assert row["savings"] == pytest.approx(0.18)
        # 11 of 12 prompts, over 9 of 20 steps
        few = ("--model", "mini-sd", "--limit", "12", "--metric", "vqa", "--no-mlflow", "--savings", "0.4125")
        told = said("compare", "--strategies", "ward-cosine,all-at-once", "--name", "rivals", *few)
    finally:
        plugins._discover.cache_clear()
        sys.modules.pop("somebody_else", None)
    assert "ranking of strategies" in told
    ranked = pd.read_csv(tmp_path / "runs/rivals/report/tables/strategy_ranking.csv")
    assert set(ranked.strategy) == {"ward-cosine", "all-at-once"}


def test_strategies_and_combiners_are_axes_of_a_sweep(bench, tiny_sweep):
    axes = (
        "--strategy",
        "complete,hdbscan:min_samples=2:min_cluster_size=2",
        "--combiner",
        "mean,restored-mean,medoid",
    )
    result = bench(*tiny_sweep, *axes, "--tau", "1", "--no-seed-control", "--no-equal-compute", "--name", "axes")
    assert result.exit_code == 0, result.output
    cells = [json.loads(path.read_text()) for path in Path("runs/axes/cells").glob("*/record.json")]
    asked = {(cell["asked"]["strategy"], cell["asked"]["combiner"]) for cell in cells if cell["error"] is None}
    assert len(asked) == 6
    assert len({cell["plan"]["node_steps"] for cell in cells if cell["asked"]["strategy"] == "complete"}) == 1
