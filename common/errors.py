"""Errors a user can mend, and the names they probably meant."""

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
