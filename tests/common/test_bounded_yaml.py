import time
from itertools import pairwise

import pytest

from common.bounded_yaml import parse_yaml

LETTERS = "abcdefghij"
MULTIPLIED = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise(LETTERS))
MERGED = "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise(LETTERS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, 2, 3]\n" + MULTIPLIED, "its aliases .* multiply it to"),
        ("a: &a {x: 1}\n" + MERGED, "its aliases .* multiply it to"),
        ("a: &a {b: *a}", "an alias is inside of what it stands for"),
        ("[" * 100_000, "nested too deep"),
        ("{a: " * 20_000, "nested too deep"),
        ("- " * 20_000, "nested too deep"),
        ("? " * 20_000, "nested too deep"),
        ("".join(" " * depth + "k:\n" for depth in range(2_000)), "nested too deep"),
        ("a: 1" + ":1" * 100_000, "a number has 200,001 characters"),
        ("a: " + "9" * 100_000, "a number has 100,000 characters"),
        ("a: 2024-13-45", "month must be in"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "expected the node content"),
        ("a: \0", "special characters are not allowed"),
        ("x" * (16 << 20) + "xx", "characters, and 16,777,216 are the most"),
    ],
    ids=lambda text: text[:12],
)
def test_what_would_take_all_time_or_memory_is_refused_at_once_in_one_line(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=message) as refused:
        parse_yaml(text)
    assert time.process_time() - start < 5
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_plain_documents_and_modest_aliases_are_read() -> None:
    assert parse_yaml("") is None
    assert parse_yaml("base: &b {tau: 1}\nother: *b\nthird: {<<: *b, x: 2}") == {
        "base": {"tau": 1},
        "other": {"tau": 1},
        "third": {"tau": 1, "x": 2},
    }
    assert len(parse_yaml("[" + "a, " * 5_000 + "]")) == 5_000
