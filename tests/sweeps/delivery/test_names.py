"""Names of files from a column: what no disk or store would take is refused before anything is made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from sweeps.delivery.names import LONGEST, stems


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("", "line 3 has none"),
        (" \t", "line 3 has none"),
        ("a/b", "with the character '/'"),
        ("a\\b", "U+005C"),
        ("..", "begins or ends with a space or a dot"),
        (".hidden", "begins or ends"),
        ("end.", "begins or ends"),
        (" a", "begins or ends"),
        ("nul", "device"),
        ("COM1.png", "device"),
        ("a\u200bb", "U+200B"),
        ("a\nb", "U+000A"),
        ("a?", "U+003F"),
        ("é" * 101, f"of 202 bytes, and {LONGEST} are the most"),
        ("fox", "and so has line 2"),
        ("FOX", "and so has line 2"),
        ("fox.png", "and so has line 2"),
    ],
)
def test_cells_that_are_no_names_are_refused_with_their_lines(cell, says):
    with pytest.raises(UserError) as told:
        stems(["fox", cell], "sku", ".png", where=["line 2", "line 3"])
    assert says in told.value.message
    assert "'sku'" in told.value.message


def test_equal_letters_in_other_codes_are_equal_names():
    with pytest.raises(UserError, match="so has prompt 1"):
        stems(["caf\u00e9", "cafe\u0301"], "sku", ".png")
    with pytest.raises(UserError, match="so has prompt 1"):
        stems(["straße", "STRASSE"], "sku", ".png")


def test_the_first_faults_are_named_and_the_others_counted():
    with pytest.raises(UserError, match=r"line 2 has none; line 3 has none; line 4 has none; and 2 more"):
        stems([""] * 5, "sku", ".png", where=[f"line {number}" for number in range(2, 7)])


def test_several_pictures_of_a_prompt_are_numbered_and_may_not_clash_with_other_prompts():
    assert stems(["a", "a", "b", "b"], "sku", ".webp", numbers=[0, 1, 0, 1]) == ["a-0", "a-1", "b-0", "b-1"]
    with pytest.raises(UserError, match="prompt 3 has 'A', and so has prompt 2"):
        stems(["a", "a", "A"], "sku", ".webp", numbers=[0, 1, 1])


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_names_that_are_taken_are_one_each_and_stay_in_their_folder(cells):
    try:
        names = stems(cells, "sku", ".jpg")
    except UserError:
        return
    assert len({name.casefold() for name in names}) == len(cells)
    assert all(name and not set(name) & set('/\\:*?"<>|\0') and name not in (".", "..") for name in names)
