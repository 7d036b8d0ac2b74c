"""The command line itself: quick to start, one line for a mistake, a traceback only when asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "diffusers", "transformers", "open_clip", "numpy", "pandas", "scipy", "mlflow", "matplotlib"}
HEAVY |= {"fastapi", "uvicorn", "starlette"}
REPORT = """
import json, sys
sys.argv = %r
from bench.main import main
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def imported_by(*arguments: str) -> set[str]:
    """The packages that a `bench` process has imported when it ends."""
    process = subprocess.run(
        [sys.executable, "-c", REPORT % ["bench", *arguments]],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["sweep", "--help"], ["serve", "--help"], ["drive", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(arguments):
    assert HEAVY & imported_by(*arguments) == set()


def test_every_command_has_a_line_of_help(bench):
    result = bench("--help")
    assert result.exit_code == 0
    commands = "sweep plan generate serve report flops power doctor setup models datasets strategies"
    for command in commands.split():
        assert command in result.stdout
        assert bench(command, "--help").exit_code == 0


def test_version(bench):
    assert bench("--version").stdout.startswith("reusebench 0.")


@pytest.mark.parametrize("place", [0, 3])
def test_debug_shows_the_traceback_wherever_it_stands(bench, place):
    arguments = ["datasets", "show", "nothing_such"]
    assert "Traceback" not in bench(*arguments).stderr
    result = bench(*arguments[:place], "--debug", *arguments[place:])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "error: unknown prompt set 'nothing_such'" in result.stderr


def test_a_value_beyond_all_bounds_is_one_line(bench):
    for flag, value in (("--strategy", "hdbscan:min_samples=" + "[" * 20_000), ("--set", "arguments=" + "[" * 100_000)):
        result = bench("sweep", flag, value, "--dry-run")
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 2
        assert len(result.stderr) < 5_000


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError("Unable to allocate 149. GiB."), "error: memory ran out (Unable to allocate 149. GiB)"),
        (RecursionError("maximum recursion depth exceeded"), "error: a file or a setting is nested too deep"),
    ],
)
def test_what_no_library_bounds_is_one_line_all_the_same(bench, monkeypatch, error, line):
    def raised(path):
        raise error

    monkeypatch.setattr("sweeps.spec.read_yaml", raised)
    result = bench("sweep", "--spec", "mine.yaml")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == line
    assert len(result.stderr.splitlines()) == 2


def test_an_unknown_option_is_exit_code_2(bench):
    assert bench("sweep", "--tua", "0").exit_code == 2


def test_a_folder_that_cannot_be_written_is_one_line(bench, tiny_sweep, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = bench(*tiny_sweep, "--tau", "0", "--out", "file")
    assert result.exit_code == 2
    assert (
        result.stderr.splitlines()[0]
        == "error: Not a directory: file/" + result.stderr.split("file/")[1].splitlines()[0]
    )
    assert len(result.stderr.splitlines()) == 2


def test_what_libraries_load_is_not_walked_for_garbage():
    """Neither while they are imported, nor when the interpreter ends: two seconds each time."""
    said = "atexit.register(lambda: print(gc.get_threshold()[2]))"
    script = f"import atexit, gc; from bench import main; main.app = lambda: {said}; main.main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["1000"], "later exit handlers run, and what they print is seen"
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("ends", "status"), [("sys.exit(2)", 2), ("sys.exit()", 0), ("sys.exit('why')", 1), ("1 / 0", 1)]
)
def test_its_status_is_what_it_ended_with(ends, status):
    script = f"import sys; from bench import main; main.app = lambda: {ends}; main.main()"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == status
