"""Numbers with units, for people."""

from collections.abc import Sequence


def si(value: float | None) -> str:
    """Return a count with an SI prefix.

    Examples:
        >>> si(1.25e12), si(None)
        ('1.25 T', '-')
    """
    return "-" if value is None else _scaled(value, ("", "k", "M", "G", "T", "P", "E"))


def size(count: float) -> str:
    """Return a number of bytes with its unit.

    Examples:
        >>> size(1.25e9), size(512)
        ('1.25 GB', '512 B')
    """
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def _scaled(value: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}".rstrip()
        value /= 1000
    return f"{value:.3g} {units[-1]}"
