import pytest

from reports.base import RunView
from reports.parity import parity_curves
from reports.tables.image_against_text import ImageAgainstText

KANDINSKY, SD = ("mini-kandinsky", "kandinsky", "image"), ("mini-sd", "stable-diffusion", "text")


def test_the_difference_stands_with_its_interval_and_with_what_it_cannot_prove(grid) -> None:
    view = RunView.of(grid())
    sheet = ImageAgainstText().sheet(view)
    assert [str(row[0]) for row in sheet.rows] == ["mini_styles", "mini_templates", "all"]
    (contrast,) = view.once(parity_curves).contrasts()
    found = contrast.difference()
    assert found.low > 0, "the fixture's image-conditioned models are better"
    number = f"{100 * found.value:+.1f}"
    interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    assert str(sheet.rows[-1][-1]) == f"{number} {interval}"
    assert sheet.notes[0] == (
        f"image-conditioned less text-conditioned: {number} points, 95% interval {interval}; "
        "two families against two cannot prove a general law"
    )
    assert "image-conditioned: mini-kandinsky, mini-karlo; text-conditioned: mini-flux, mini-sd" in sheet.notes
    assert "delta = 5 points" in sheet.caption


def test_all_is_the_mean_over_prompt_sets_and_rows_add_up(grid) -> None:
    data = ImageAgainstText().sheet(RunView.of(grid())).data.set_index("dataset")
    assert data.difference.tolist() == pytest.approx((data.image - data.text).tolist())
    parts = data.drop(index="all")
    for column in ("image", "text", "difference"):
        assert data.loc["all", column] == pytest.approx(parts[column].mean())
    assert (data.difference_high - data.difference_low)["all"] < (parts.difference_high - parts.difference_low).max()


def test_one_prompt_set_needs_no_row_for_all(grid) -> None:
    sheet = ImageAgainstText().sheet(RunView.of(grid(datasets={"mini_styles": 40})))
    assert [str(row[0]) for row in sheet.rows] == ["mini_styles"]


def test_curves_that_were_not_followed_to_their_fall_are_counted(grid) -> None:
    sheet = ImageAgainstText().sheet(RunView.of(grid(models={KANDINSKY: -0.3, SD: 0.1})))
    assert any("curves are not below the line at the highest savings measured" in note for note in sheet.notes)


def test_several_ways_of_sharing_are_told_apart(grid) -> None:
    for schedule in ("eq7", "official"):
        run = grid(models={KANDINSKY: 0.0, SD: 0.1}, datasets={"mini_styles": 40}, schedule=schedule)
    sheet = ImageAgainstText().sheet(RunView.of(run))
    assert [[str(entry) for entry in row[:2]] for row in sheet.rows] == [
        ["eq7", "mini_styles"],
        ["official", "mini_styles"],
    ]
    assert sum("less text-conditioned (official):" in note for note in sheet.notes) == 1


def test_nothing_to_tell_of_one_group(grid) -> None:
    assert ImageAgainstText().sheet(RunView.of(grid(models={SD: 0.1}))) is None
