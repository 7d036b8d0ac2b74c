"""A command that is ended from outside ends with one line and the exit code that shells expect."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# What `bench sweep` is for these tests: it works, says so, and takes a while to put things in order when it is ended.
COMMAND = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
from bench import main, sweep
def work():
    '''Work.'''
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("in order", flush=True)
        time.sleep({slow})
main.COMMANDS["sweep"] = (main.RUN, work, "")
sys.argv = ["bench", "sweep"]
main.main()
"""


def started(slow: float = 0.0, **more: object) -> subprocess.Popen:
    command = [sys.executable, "-c", COMMAND.format(slow=slow)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "its terminal was closed")],
)
def test_a_signal_ends_it_in_order(number, says):
    process = started(preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # ignored where tests run under nohup
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err == f"{says}: run the same command again to continue\n"
    assert out == "in order\n", "what was held is let go"


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_ends_it_at_once(numbers):
    process = started(slow=60)
    process.send_signal(numbers[0])
    assert process.stdout.readline() == "in order\n"
    process.send_signal(numbers[1])
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + numbers[1]
    assert err == "interrupted: run the same command again to continue\n"


def test_what_is_ignored_stays_ignored():
    process = started(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.partition(":")[0]) == (143, "terminated"), "as under nohup"


@pytest.mark.parametrize("how", [["-m", "bench.main"], ["-c", "from bench.start import main; main()"]])
def test_it_is_interrupted_in_a_line_while_it_is_still_being_imported(how, tmp_path):
    """A `typer` that never finishes being imported stands for the moment."""
    (tmp_path / "typer.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, *how, "sweep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "interrupted\n")


def shell(redirected: str, *arguments: str) -> subprocess.CompletedProcess:
    command = f'"{sys.executable}" -m bench.main {" ".join(arguments)} {redirected}'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True)


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@pytest.mark.parametrize("redirected", [">&-", ">&- <&-", pytest.param("> /dev/full", marks=FULL)])
@pytest.mark.parametrize("arguments", [("--version",), ("datasets", "list")])
def test_what_nobody_could_be_told_is_an_error_in_a_line(redirected, arguments):
    done = shell(redirected, *arguments)
    assert done.returncode in (1, 2)
    first, *rest = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith("hint: ") for line in rest)


def test_where_standard_error_is_closed_nothing_is_said_where_tables_go():
    done = shell("2>&-", "show", "no-such-run")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [("datasets", "list"), ("generate", "--help")])
def test_whoever_stops_reading_is_not_told(arguments):
    done = shell("| head -2", *arguments)
    assert done.stdout.strip()
    assert done.stderr == ""


def test_a_file_that_is_opened_is_not_printed_into_where_standard_output_is_closed(tmp_path):
    code = "from bench.endings import open_closed_streams; open_closed_streams(); import os; "
    code += f"file = open({str(tmp_path / 'file')!r}, 'w'); os.write(1, b'printed'); assert file.fileno() > 2"
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" -c "{code}" >&-'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == ""
