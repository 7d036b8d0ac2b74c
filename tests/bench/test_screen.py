"""What is shown while a command works."""

import logging
import warnings

from rich.progress import Progress

from bench.screen import Screen, _DoneColumn, screen
from common.progress import current_listener


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
