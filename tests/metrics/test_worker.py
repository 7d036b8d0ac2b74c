"""The protocol with workers, and their life and death, on a stand-in written to the same protocol."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from common.errors import UserError
from metrics import worker as module
from metrics.worker import Worker

ROOT = Path(__file__).parents[2]
HANG = 300  # seconds after which a test gives up; nothing else depends on time


@pytest.fixture
def start(stand_in):
    """Start the stand-in, or a script with this text, as the worker t2v; it is ended after the test."""
    started = []

    def begin(text: str | None = None) -> Worker:
        command = [sys.executable, "-I", str(stand_in.script)] if text is None else [sys.executable, "-c", text]
        started.append(Worker("t2v", command))
        return started[-1]

    yield begin
    for worker in started:
        worker.close()


def opened(started: Worker, stand_in) -> Worker:
    started.ask("open", checkpoint=str(stand_in.checkpoint), device="cpu")
    return started


def test_a_worker_greets_answers_and_ends(start, stand_in, pictures):
    started = start()
    assert (started.hello.worker, started.hello.version, started.hello.packages) == ("t2v", 1, {})
    about = opened(started, stand_in).ask("check", prompts=["a"])
    assert about == {}
    scores = started.ask("score", images=[str(path) for path in pictures], prompts=["a"] * 9)["scores"]
    assert len(set(scores)) == 9
    assert started.alive
    started.close()
    assert not started.alive
    assert not psutil.pid_exists(started.pid)
    started.close()


def test_what_a_worker_says_while_it_works_is_heard(start, stand_in):
    heard = []
    opened(start(), stand_in).ask("load", heard.append)
    assert heard == ["loading the stand-in"]


def test_what_libraries_print_is_no_answer(start, stand_in, pictures):
    started = opened(start(), stand_in)
    quiet = started.ask("score", images=[str(pictures[0])], prompts=["a"])
    assert started.ask("score", images=[str(pictures[0])], prompts=["print"]).keys() == quiet.keys()


def test_a_refusal_is_told_with_its_hint_and_the_worker_lives(start, stand_in):
    started = opened(start(), stand_in)
    with pytest.raises(UserError, match="does not take 'refuse me'") as error:
        started.ask("check", prompts=["fine", "refuse me"])
    assert error.value.hint == "take another"
    assert started.ask("check", prompts=["fine"]) == {}


def test_memory_that_runs_out_is_an_error_of_its_own_and_the_worker_lives(start, stand_in, pictures):
    started = opened(start(), stand_in)
    (stand_in.checkpoint / "memory").write_text("2")
    with pytest.raises(MemoryError, match="t2v ran out of memory: RuntimeError: CUDA out of memory"):
        started.ask("score", images=[str(path) for path in pictures[:3]], prompts=["a"] * 3)
    assert (stand_in.checkpoint / "freed").exists(), "what the batch held is given back"
    assert len(started.ask("score", images=[str(path) for path in pictures[:2]], prompts=["a"] * 2)["scores"]) == 2


@pytest.mark.parametrize(
    ("prompt", "says", "hint"),
    [
        ("fail", r"t2v failed to score: ValueError: the stand-in was told to fail", "run the same command again"),
        (
            "crash",
            r"ended early \(exit status 7\): Fatal: the stand-in was told to crash",
            "run the same command again",
        ),
        ("killed", r"ended early \(killed by SIGKILL\)", "memory may have run out"),
    ],
)
def test_a_failure_is_told_and_ends_the_worker(start, stand_in, pictures, prompt, says, hint):
    started = opened(start(), stand_in)
    with pytest.raises(UserError, match=says) as error:
        started.ask("score", images=[str(pictures[0])], prompts=[prompt])
    assert hint in error.value.hint
    assert not started.alive


def test_an_unknown_request_fails(start):
    with pytest.raises(UserError, match="failed to dance: KeyError"):
        start().ask("dance")


HELLO = '{"hello": {"protocol": %s, "worker": "%s", "version": 1, "packages": {}}}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"print('{HELLO % (2, 'hps')}')", "the worker hps speaks protocol version 2, and this reusebench 1"),
        (f"print('{HELLO % (1, 'hps')}')", "the worker t2v was started, and hps greeted"),
        ("print('welcome to Python')", "t2v is none: it does not greet"),
        ("print('[1]')", "t2v is none: it does not greet"),
        ("import no_such_package", r"ended early \(exit status 1\): ModuleNotFoundError: No module"),
    ],
)
def test_what_is_no_worker_of_this_protocol_is_refused_by_name(start, text, says):
    with pytest.raises(UserError, match=says):
        start(text)


def test_silence_is_not_waited_for_forever(start, monkeypatch):
    monkeypatch.setattr(module, "GREETING_SECONDS", 0)
    monkeypatch.setattr(module, "ENDING_SECONDS", 0)
    with pytest.raises(UserError, match="said nothing for 0 s"):
        start("import time; time.sleep(600)")


def test_an_answer_that_is_none_ends_the_worker(start):
    started = start(f"print('{HELLO % (1, 't2v')}', flush=True); input(); print('{{}}', flush=True); input()")
    with pytest.raises(UserError, match="answered 'load' with what is no answer"):
        started.ask("load")
    assert not started.alive


def test_a_program_that_is_not_there_is_one_error():
    with pytest.raises(UserError, match=r"cannot start the worker t2v: .*No such file"):
        Worker("t2v", ["/nowhere/python"])


# --- nothing is left behind ------------------------------------------------------------------------------------

BUSY = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
from metrics.worker import Worker
worker = Worker("t2v", [sys.executable, "-I", sys.argv[1]])
worker.ask("open", checkpoint=sys.argv[2], device="cpu")
if sys.argv[3] == "hang":
    worker.ask("score", images=[__file__], prompts=["hang"])
print(worker.pid, flush=True)
"""


@pytest.fixture
def alive(stand_in):
    """The reading end of the named pipe that the stand-in, and what it starts, hold open while they hang."""
    os.mkfifo(stand_in.checkpoint / "alive")
    reading = os.open(stand_in.checkpoint / "alive", os.O_RDONLY | os.O_NONBLOCK)
    yield reading
    os.close(reading)


def read(pipe: int) -> bytes:
    """Wait for what is written next; nothing, once all who could write have ended."""
    assert select.select([pipe], [], [], HANG)[0], "it hangs"
    return os.read(pipe, 100)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_harness_ends_its_worker_ends_in_the_middle_of_its_work(stand_in, alive, tmp_path, end):
    (tmp_path / "busy.py").write_text(BUSY)
    harness = subprocess.Popen(
        [sys.executable, tmp_path / "busy.py", stand_in.script, stand_in.checkpoint, "hang"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert read(alive) == b"hanging"
    finally:
        harness.send_signal(end)
        harness.wait(HANG)
    assert read(alive) == b"", "the worker is gone, and what it started with it"


def test_a_harness_that_is_done_leaves_no_worker(stand_in, tmp_path):
    (tmp_path / "busy.py").write_text(BUSY)
    command = [sys.executable, tmp_path / "busy.py", stand_in.script, stand_in.checkpoint, "no"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert not psutil.pid_exists(int(done.stdout))
