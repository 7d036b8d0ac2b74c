"""What a user writes for an axis."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from sweeps.axes import canonical, items, parse_integers, parse_savings, parse_taus


def taus(text) -> list[str]:
    return [str(tau) for tau in parse_taus(text)]


def test_commas_in_brackets_are_no_separators():
    assert items("a:x=[1,[2,3]],b") == ["a:x=[1,[2,3]]", "b"]
    assert items("a:x=[,b") == ["a:x=[,b"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0..2", ["0", "0.25", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "2"]),
        ("0..0.3:0.1", ["0", "0.1", "0.2", "0.3"]),
        ("0..1:0.4", ["0", "0.4", "0.8"]),
        ("0,0.5,1", ["0", "0.5", "1"]),
        ("1,0.50,.5,5e-1", ["0.5", "1"]),
        ("0..0.5, 2", ["0", "0.25", "0.5", "2"]),
        ("10", ["10"]),
        ("-0", ["0"]),
        ("1..1", ["1"]),
        ([0, 0.1, "0.2"], ["0", "0.1", "0.2"]),
        (["0..1", "3"], ["0", "0.25", "0.5", "0.75", "1", "3"]),
        (1.5, ["1.5"]),
    ],
)
def test_taus_are_decimals_in_order_without_repeats(text, values):
    assert taus(text) == values


@pytest.mark.parametrize(
    "text",
    ["2..0", "-1", "0..-1", "nan", "inf", "1e999", "x", "", "0,,1", "0..1:0", "0..1:-1", "0..1:x", "0..1e9", "..1"],
)
def test_taus_that_make_no_sense_are_refused(text):
    with pytest.raises(UserError) as error:
        parse_taus(text)
    assert error.value.hint


def test_no_tau_is_refused():
    with pytest.raises(UserError, match="no tau"):
        parse_taus([])


@given(st.decimals(0, 10, places=2), st.decimals(0, 10, places=2), st.decimals("0.05", 1, places=2))
def test_a_range_is_an_exact_arithmetic_progression(low, length, step):
    found = parse_taus(f"{low}..{low + length}:{step}")
    assert found[0] == low
    assert found[-1] <= low + length < found[-1] + step
    assert {b - a for a, b in pairwise(found)} <= {step}


@given(st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=4))
def test_one_number_has_one_text(value):
    text = canonical(value)
    assert Decimal(text) == value
    assert canonical(Decimal(f"{value}00") if "." in str(value) else value) == text
    assert "E" not in text


def test_integers_keep_their_order():
    assert parse_integers("40,20,40") == (40, 20)
    assert parse_integers([3, "0..2"]) == (3, 0, 1, 2)


@pytest.mark.parametrize("text", ["1.5", "a", "3..1", "0..5000", "1,,2"])
def test_integers_that_make_no_sense_are_refused(text):
    with pytest.raises(UserError):
        parse_integers(text)


def test_savings_are_shares_in_order():
    assert [str(each) for each in parse_savings(["0.50,0.3", 0.3])] == ["0.3", "0.5"]
    assert parse_savings([]) == ()


@pytest.mark.parametrize("wrong", ["1", "-0.1", "half", "nan", "50%"])
def test_what_is_no_share_is_refused(wrong):
    with pytest.raises(UserError, match="savings"):
        parse_savings(wrong)
