"""What is shown while a command works."""

import logging

from bench.screen import screen


def test_what_rooms_log_is_shown_as_a_note_while_a_screen_is_there(capsys):
    logger = logging.getLogger("reusebench")
    with screen():
        logger.info("t2v: %s", "fetching weights (1 of 3)")
    logger.info("later")
    assert capsys.readouterr().err == "note: t2v: fetching weights (1 of 3)\n"
