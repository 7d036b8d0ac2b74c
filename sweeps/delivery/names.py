"""Names of pictures' files from a column of the prompts' file: such as any disk and any store takes, one a picture."""

import unicodedata
from collections.abc import Sequence

from common.errors import UserError
from generators.prompts import short

LONGEST = 200  # bytes of a name: disks take 255, and what is being written has a longer one
FORBIDDEN = set('/\\:*?"<>|#%[]{}^`~')  # in names on Windows, in addresses, or in what matches names
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
NAMED = 3  # that an error names


def stems(
    ids: Sequence[str], column: str, suffix: str, numbers: Sequence[int] = (), where: Sequence[str] = ()
) -> list[str]:
    """Return the name of each picture's file without its suffix, N of them.

    Args:
        ids: cells of a column, N; one that ends in the suffix already is not given it twice.
        column: its name, for errors.
        suffix: of the files.
        numbers: of each picture among those of its prompt, from 0 on; (): a prompt has one picture.
        where: of each, its place in the prompts' file, for errors; (): its number.

    Raises:
        UserError: cells are empty, equal (capitals aside, as some disks have it), too long, or no names of files; the
            first of them are named.

    Examples:
        >>> stems(["F-1", "F-2.png"], "sku", ".png")
        ['F-1', 'F-2']
        >>> stems(["F-1", "F-1"], "sku", ".png", numbers=[0, 1])
        ['F-1-0', 'F-1-1']
        >>> stems(["F-1", "f-1"], "sku", ".png")
        Traceback (most recent call last):
        common.errors.UserError: the column 'sku' cannot name pictures: prompt 2 has 'f-1', and so has prompt 1 (give \
every prompt a name of its own there, or leave --name-by out)
    """
    places = where if len(where) == len(ids) else [f"prompt {number}" for number in range(1, len(ids) + 1)]
    bare = [cell[: -len(suffix)] if cell.lower().endswith(suffix) else cell for cell in ids]
    names = [f"{name}-{number}" for name, number in zip(bare, numbers, strict=True)] if numbers else bare
    faults, first = [], dict[str, str]()
    for cell, own, name, place in zip(ids, bare, names, places, strict=True):
        if reason := _refused(own, name):
            faults.append(f"{place} has {short(cell)!r}, {reason}" if cell.strip() else f"{place} has none")
            continue
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if (before := first.setdefault(folded, place)) != place:
            faults.append(f"{place} has {short(cell)!r}, and so has {before}")
    if faults:
        more = f"; and {len(faults) - NAMED:,} more" if len(faults) > NAMED else ""
        raise UserError(
            f"the column {column!r} cannot name pictures: {'; '.join(faults[:NAMED])}{more}",
            "give every prompt a name of its own there, or leave --name-by out",
        )
    return names


def _refused(own: str, name: str) -> str | None:
    """Return why a cell is no name of a file; None where it is one."""
    if not own.strip():
        return "which is empty"
    if wrong := next((letter for letter in own if letter in FORBIDDEN or _unprinted(letter)), None):
        return f"with the character {wrong!r} (U+{ord(wrong):04X})"
    if own != own.strip() or own.startswith(".") or own.endswith("."):
        return "which begins or ends with a space or a dot"
    if own.split(".")[0].strip().lower() in DEVICES:
        return "which is the name of a device on Windows"
    if (size := len(name.encode())) > LONGEST:
        return f"of {size:,} bytes, and {LONGEST} are the most"
    return None


def _unprinted(letter: str) -> bool:
    return unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
