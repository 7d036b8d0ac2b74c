"""A few of many, chosen the same way everywhere."""


def evenly(n: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0..n-1, evenly from the first to the last; the last if only one.

    Examples:
        >>> evenly(9, 3), evenly(2, 3), evenly(9, 1)
        ([0, 4, 8], [0, 1], [8])
    """
    count = min(n, most)
    return [n - 1] if count == 1 else [round(i * (n - 1) / (count - 1)) for i in range(count)]
