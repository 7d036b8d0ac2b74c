"""Loggers of libraries, kept quiet for a while."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def errors_alone(*loggers: str, least: int = logging.ERROR) -> Iterator[None]:
    """Silence what these loggers say that is less than an error, such as diffusers' prints of all prompts that are cut.

    Args:
        loggers: names; a library that is imported later may set its own level then.
        least: the level of what is heard.
    """
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(least)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
