from itertools import pairwise

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import style
from reports.style import DPI, canvas, colours, lacking_note, save, shorten, spread, theme, wrap


@given(st.lists(st.floats(0, 1), max_size=15).map(sorted))
def test_labels_keep_their_order_and_their_distance(heights: list[float]) -> None:
    placed = spread(heights, 0.05)
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(placed))
    assert all(height <= 1 for height in placed)


def test_labels_that_do_not_touch_stay_where_they_are() -> None:
    assert spread([0.1, 0.5, 0.9], 0.05) == [0.1, 0.5, 0.9]


def test_long_prompts_are_cut_with_an_ellipsis() -> None:
    assert shorten("a  short\none", 60) == "a short one"
    assert shorten("x" * 100, 10) == "x" * 9 + "…"
    lines = wrap("a very long prompt " * 20, 17, 3).splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(len(line) <= 17 for line in lines)


def test_the_theme_leaves_the_caller_s_settings_alone() -> None:
    before = dict(mpl.rcParams)
    with theme():
        assert mpl.rcParams["text.parse_math"] is False
    assert dict(mpl.rcParams) == before


def test_colours_repeat_only_past_ten() -> None:
    assert len(set(colours(10))) == 10
    assert colours(11)[10] == colours(1)[0]


@pytest.mark.filterwarnings("error")
def test_a_figure_is_the_same_bytes_twice_with_text_as_text(tmp_path) -> None:
    pictures = []
    for name in ("a", "b"):
        with theme():
            figure = canvas(2, 1)
            figure.text(0.1, 0.5, "costs $5 and $6, 猫")
            pictures.append([path.read_bytes() for path in save(figure, tmp_path / name)])
    assert pictures[0] == pictures[1]
    assert "costs $5 and $6, 猫" in pictures[0][1].decode()


def test_both_files_have_everything_in_the_same_place(tmp_path) -> None:
    """The layout is made once: made again for SVG, whose letters are a little wider or not, it would move."""

    def drawn() -> tuple[Figure, Axes]:
        figure = canvas(3, 2, layout="constrained")
        axes = figure.subplots()
        axes.set_ylabel("a label that takes room")
        axes.set_yticks([0.1, 1000.25])
        return figure, axes

    with theme():
        alone, expected = drawn()
        alone.savefig(tmp_path / "alone.png", dpi=DPI)
        figure, axes = drawn()
        save(figure, tmp_path / "a")
    assert axes.get_position().bounds == expected.get_position().bounds


def test_no_figure_stays_open_in_pyplot(tmp_path) -> None:
    from matplotlib import pyplot

    with theme():
        save(canvas(1, 1), tmp_path / "a")
    assert pyplot.get_fignums() == []


def drawn(text: str, stem) -> set[str]:
    lacking: set[str] = set()
    with theme():
        figure = canvas(2, 2)
        figure.text(0.5, 0.5, text)
        assert [path.suffix for path in save(figure, stem, lacking)] == [".png", ".svg", ".pdf"]
    return lacking


def test_letters_that_no_font_has_are_told(tmp_path) -> None:
    assert drawn("a fox", tmp_path / "plain") == set()
    private = "\ue123"  # of no font, by definition
    assert drawn(f"a {private}fox", tmp_path / "private") == {private}
    assert "boxes in place of 1 letters" in lacking_note({private})


def test_chinese_and_emoji_are_drawn_where_a_font_has_them(tmp_path) -> None:
    style._others.cache_clear()
    style._others()
    known = {font.name for font in mpl.font_manager.fontManager.ttflist}
    assert set(style._others()) == known & set(style.OTHERS), "and none that matplotlib would warn of"
    if any("CJK" in name for name in known):
        assert drawn("水彩画", tmp_path / "chinese") == set()
    else:
        assert drawn("水彩画", tmp_path / "chinese") == {*"水彩画"}, "the page says it"
