"""What is shown while a command works."""

import logging
import re
import threading
import time
import warnings

import pytest
from rich.progress import Progress

from bench.heartbeat import EVERY
from bench.screen import Screen, _DoneColumn, screen
from common.progress import current_listener
from sweeps.events import StageAdvanced, StageFinished, StageStarted


def test_what_rooms_log_is_shown_as_a_note_while_a_screen_is_there(capsys):
    logger = logging.getLogger("reusebench")
    with screen():
        logger.info("t2v: %s", "fetching weights (1 of 3)")
    logger.info("later")
    assert capsys.readouterr().err == "note: t2v: fetching weights (1 of 3)\n"


def test_what_libraries_tell_programmers_stays_off_the_screen(caplog, recwarn):
    with screen():
        logging.getLogger("transformers.tokenization_utils_base").warning("Token indices sequence length is longer")
        logging.getLogger("diffusers.pipelines").warning("LOAD REPORT")
        logging.getLogger("transformers.tokenization_utils_base").error("it broke")
        warnings.warn_explicit("use weights_only", FutureWarning, "x.py", 1, module="torch.serialization")
        warnings.warn_explicit("mine", UserWarning, "x.py", 1, module="mine")
    assert [str(warning.message) for warning in recwarn] == ["mine"]
    assert caplog.messages == ["it broke"]


def test_parts_of_a_stage_come_and_go():
    seen = Screen(Progress(disable=True))
    for done in (1, 2):
        seen.heard("reading", done, 3, "")
    assert [(task.description, task.completed, task.total) for task in seen.progress.tasks] == [("reading", 2, 3)]
    seen.heard("finding parts", 5, 9, "")
    assert [task.description for task in seen.progress.tasks] == ["finding parts"]
    seen.heard("finding parts", 9, 9, "")
    assert seen.progress.tasks == []


def test_a_download_is_shown_in_bytes_and_its_speed_wherever_it_happens():
    column, seen = _DoneColumn(), Screen(Progress(disable=True))
    seen.heard("clustering", 1, 4, "")
    assert column.render(seen.progress.tasks[0]).plain.strip() == "1/4"
    seen.heard("downloading me/model", 500_000, 2_000_000, "B")
    shown = column.render(seen.progress.tasks[0]).plain
    assert shown.startswith("0.5/2.0 MB")
    with screen() as there:
        assert current_listener() == there.heard


def test_how_far_a_command_is_says_the_stage_and_the_whole():
    seen = Screen(Progress(disable=True))
    assert seen.so_far().startswith("at work; in all 0 s so far")
    seen.expect(node_steps=400, pictures=10)
    seen(StageStarted("denoise", 200))
    seen(StageAdvanced(50))
    text = seen.so_far()
    assert text.startswith("denoising 50 of 200, ")
    assert " left; in all " in text
    assert "; in all 50 of 400 node-steps, " in text
    seen(StageFinished())
    seen(StageStarted("decode", 4))
    seen(StageAdvanced(3))
    seen(StageFinished())
    seen(StageStarted("identify", 1))
    assert seen.so_far().startswith("reading checkpoints for 0 s; in all 3 of 10 pictures, 50 of 400 node-steps")


def test_what_was_done_before_an_interruption_is_done_and_says_nothing_of_the_rate():
    seen = Screen(Progress(disable=True))
    seen.expect(node_steps=1000, pictures=10)
    seen(StageStarted("denoise", 1000, before=900))
    assert seen.so_far().startswith("denoising 900 of 1,000 for 0 s; in all 900 of 1,000 node-steps")


def beats(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("progress: ")]


@pytest.mark.parametrize(("every", "least"), [("0.05", 2), ("3600", 0), ("0", 0)])
def test_without_a_terminal_a_line_tells_of_one_long_call(capsys, monkeypatch, every, least):
    monkeypatch.setenv(EVERY, every)
    with screen() as seen, seen.stage("identify"):
        capsys.readouterr()  # what was said while libraries were imported, before the stage
        time.sleep(0.3)  # one call, in which nothing is told
        before = capsys.readouterr()
    assert len(beats(before.err)) >= least
    assert bool(least) == bool(beats(before.err))
    assert all("reading checkpoints" in line for line in beats(before.err))
    assert before.out == ""
    capsys.readouterr()
    time.sleep(0.15)
    assert capsys.readouterr().err == "", "it is over"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_lines_of_progress_end_with_what_they_tell_of(monkeypatch, error):
    monkeypatch.setenv(EVERY, "0.01")
    with pytest.raises(error), screen():
        raise error
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


@pytest.mark.parametrize("text", ["often", "-1", "nan", "inf"])
def test_an_interval_that_is_none_is_refused(bench, monkeypatch, tiny_sweep, text):
    monkeypatch.setenv(EVERY, text)
    result = bench(*tiny_sweep, "--tau", 1, "--dry-run")
    assert result.exit_code == 2
    assert f"{EVERY}={text}" in result.stderr


@pytest.mark.parametrize("place", [0, None])
def test_quiet_says_results_and_errors_alone_wherever_it_stands(bench, tiny_sweep, monkeypatch, place):
    monkeypatch.setenv(EVERY, "0.01")
    loud = bench(*tiny_sweep, "--tau", "0.8", "--name", "loud")
    assert "cost: " in loud.stderr
    assert beats(loud.stderr)
    arguments = [*tiny_sweep, "--tau", "0.8", "--name", "quiet"]
    arguments.insert(len(arguments) if place is None else place, "--quiet")
    quiet = bench(*arguments)
    assert quiet.exit_code == 0
    assert quiet.stderr == ""
    assert "results  runs/quiet/" in quiet.stdout
    refused = bench("--quiet", *tiny_sweep, "--tau", "x")
    assert refused.stderr.startswith("error: ")


def test_a_log_file_has_all_that_quiet_hides_with_the_time_and_no_password(bench, tiny_sweep, tmp_path):
    secret = "http://me:hunter22@127.0.0.1:9"
    arguments = ["track", "nowhere", "--tracking-uri", secret]
    log = tmp_path / "logs" / "bench.log"
    for name in ("one", "two"):
        assert bench(*tiny_sweep, "--tau", "0.8", "--name", name, "--quiet", "--log-file", log).exit_code == 0
    assert bench("--log-file", log, *arguments).exit_code == 2
    assert bench("--log-file", log, "datasets", "show", f"{secret}/x").exit_code == 2
    text = log.read_text()
    assert "hunter22" not in text
    lines = text.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00  ", line) for line in lines if line)
    said = [line.split("  ", 1)[1] for line in lines]
    assert said.count("ends") == 4, "appended"
    for words in ("cost: ", "done: ", "on python", "error: ", "Traceback", "denoising"):
        assert any(words in line for line in said), words
    assert "\x1b" not in text


def test_quiet_and_verbose_and_a_log_that_cannot_be_are_refused(bench, tmp_path):
    both = bench("--quiet", "datasets", "list", "--verbose")
    assert both.exit_code == 2
    assert "opposite" in both.stderr
    assert bench("-q", "-v", "datasets", "list").exit_code == 2
    (tmp_path / "file").write_text("")
    for arguments in (
        ["--log-file", "file/x.log", "datasets", "list"],
        ["datasets", "list", "--log-file", "file/x.log"],
    ):
        refused = bench(*arguments)
        assert refused.exit_code == 2
        assert refused.stderr.startswith("error: ")


def test_verbose_says_what_libraries_say_and_why_a_cell_failed(bench, tiny_sweep, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        logging.getLogger("diffusers.pipelines").warning("LOAD REPORT")
        raise RuntimeError("no such luck")

    monkeypatch.setattr("sweeps.session.Session.family", broken)
    usual = bench(*tiny_sweep, "--tau", "0.8")
    assert usual.exit_code == 1
    assert "failed: " in usual.stderr
    assert "Traceback" not in usual.stderr
    told = bench(*tiny_sweep, "--tau", "0.8", "--name", "again", "-v")
    assert "Traceback" in told.stderr
    assert "on python 3." in told.stderr
