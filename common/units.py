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


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Examples:
        >>> duration(0.054), duration(12), duration(61), duration(210), duration(9000)
        ('0.054 s', '12 s', '1 min', '3.5 min', '2.5 h')
    """
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.3g} s"


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending whole numbers as text, neighbours together.

    Examples:
        >>> ranges([2, 4, 5, 6, 9, 10])
        '2, 4-6, 9, 10'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _scaled(value: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}".rstrip()
        value /= 1000
    return f"{value:.3g} {units[-1]}"
