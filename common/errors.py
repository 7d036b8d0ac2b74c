"""Errors a user can mend, and the names they probably meant."""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong and where, one that says what to do.

    The command line prints both on standard error and exits with code 2; in a sweep the cell fails
    with them and the others go on.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class NoRoomError(UserError):
    """Weights do not fit where they were to go: nothing is gained by loading them again for the next cell."""


class NotHereError(UserError):
    """What is asked for is right, and this machine cannot do it now: an environment, a library or a download lacks."""


def without_frames(error: Exception) -> Exception:
    """Return an error that is to be kept, its frames emptied of what they refer to: models, pictures, latents.

    Files and lines stay, so that its traceback can still be printed.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        one = one.__cause__ or one.__context__
    return error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the sentence that helps after an unknown name: the closest known one, or all of them.

    Examples:
        >>> nearest("ward-cosin", ["ward-cosine", "complete"])
        "did you mean 'ward-cosine'?"
        >>> nearest("x", ["ward-cosine", "complete"])
        'known: complete, ward-cosine'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names) if names else "none are known"
