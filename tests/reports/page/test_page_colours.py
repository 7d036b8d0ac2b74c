"""The palette's contrast, as WCAG 2.2 computes it: 4.5 for text (1.4.3), 3 for what graphics are read by (1.4.11)."""

import re
from pathlib import Path

import pytest

import reports.page

CSS = (Path(reports.page.__file__).parent / "page.css").read_text()
PALETTE = {name: both for name, *both in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", CSS)}
TEXT = [(ink, ground) for ink in ("ink", "muted", "accent", "good", "bad") for ground in ("page", "card")]
TEXT += [("ink", "band"), ("muted", "band"), ("on-accent", "accent")]
SERIES = [f"s{i}" for i in range(6)]
GRAPHICS = [(mark, ground) for mark in (*SERIES, "apart", "together", "edge", "accent") for ground in ("page", "card")]
GRAPHICS += [(mark, "band") for mark in SERIES]


def luminance(colour: tuple[float, ...]) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (each / 255 for each in colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def rgb(name: str, theme: int) -> tuple[float, ...]:
    return tuple(bytes.fromhex(PALETTE[name][theme][1:]))


def test_the_formula_gives_known_ratios() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT)
def test_text_can_be_read(ink: str, ground: str, theme: int) -> None:
    assert contrast(rgb(ink, theme), rgb(ground, theme)) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("mark", "ground"), GRAPHICS)
def test_marks_can_be_told_from_their_ground(mark: str, ground: str, theme: int) -> None:
    assert contrast(rgb(mark, theme), rgb(ground, theme)) >= 3


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_the_trees_scale_can_be_told_from_the_page(theme: int) -> None:
    ends = rgb("apart", theme), rgb("together", theme)
    for share in (0.25, 0.5, 0.75):
        mixed = tuple(a + (b - a) * share for a, b in zip(*ends, strict=True))
        assert contrast(mixed, rgb("page", theme)) >= 3


def test_every_colour_is_named_in_the_palette() -> None:
    rules = CSS.partition("}")[2]
    assert re.findall(r"#[0-9a-f]{3,8}\b(?!-)", rules) == []
    assert set(re.findall(r"var\(--([\w-]+)", rules)) - {"thumb"} <= PALETTE.keys()
