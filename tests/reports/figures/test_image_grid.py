import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from generators.sharing.tree import Tree
from reports.base import RunView
from reports.figures.image_grid import SIDE, ImageGrid, draw_grid, neighbours
from reports.style import theme


def page(figure) -> np.ndarray:
    return figure.axes[0].images[0].get_array()


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def plain(path, colour, size=(8, 8)):
    Image.new("RGB", size, colour).save(path)
    return path


def test_standard_stands_above_taus_that_say_what_they_save(run_folder) -> None:
    view = RunView.of(run_folder)
    with theme():
        figure = ImageGrid().draw(view.series[0])
    assert [text for text in texts(figure) if text == "baseline" or "τ" in text] == ["baseline", "τ = 0.5", "τ = 1"]
    assert f"{view.records[1].plan.savings:.0%} saved" in texts(figure)
    assert page(figure).shape[0] > 3 * SIDE
    assert page(figure).shape[1] > 8 * SIDE


def test_pictures_stand_in_their_row_and_column(tmp_path) -> None:
    colours = {"baseline": ["red", "lime"], "ours": ["blue", "black"]}
    rows = {
        name: [plain(tmp_path / f"{name}{i}.png", colour) for i, colour in enumerate(row)]
        for name, row in colours.items()
    }
    with theme():
        pixels = page(draw_grid(rows, ["one", "two"]))
    seen = [pixels[y, x].tolist() for y in (-3 * SIDE // 2, -SIDE // 2) for x in (-3 * SIDE // 2, -SIDE // 2)]
    assert seen == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]


def test_every_size_and_shape_fits_one_size_undistorted(tmp_path) -> None:
    wide = plain(tmp_path / "wide.png", "black", (400, 100))
    with theme():
        pixels = page(draw_grid({"a": [wide]}, ["p"]))
    rows, columns = np.nonzero(pixels.sum(axis=2) == 0)
    assert np.ptp(columns) + 1 == SIDE
    assert np.ptp(rows) + 1 == pytest.approx(SIDE / 4, abs=1)


def test_prompts_are_captions_cut_and_free_of_mathematics(tmp_path) -> None:
    picture = plain(tmp_path / "a.png", "red")
    with theme():
        figure = draw_grid({"a": [picture, picture]}, ["costs $x^$", "very long " * 50])
        figure.canvas.draw()
    assert texts(figure)[0] == "costs $x^$"
    assert texts(figure)[1].endswith("…")


def test_columns_are_pairs_of_neighbours_along_the_tree() -> None:
    order = list(range(100))[::-1]
    chosen = neighbours(order, 8)
    assert len(set(chosen)) == 8
    places = [order.index(prompt) for prompt in chosen]
    assert [b - a for a, b in zip(places[::2], places[1::2], strict=True)] == [1] * 4
    gaps = np.diff(places[::2])
    assert gaps.max() - gaps.min() <= 1
    assert neighbours([2, 0, 1], 8) == [2, 0, 1]
    assert len(set(neighbours(range(9), 8))) == 8


def test_a_damaged_picture_is_named(run_folder) -> None:
    view = RunView.of(run_folder)
    for picture in view.records[1].pictures(run_folder):
        picture.write_bytes(b"\x89PNG cut short")
    with theme(), pytest.raises(UserError, match=r"0000\d\.png"):
        ImageGrid().draw(view.series[0])


def test_missing_pictures_are_said(run_folder) -> None:
    view = RunView.of(run_folder)
    for picture in view.records[2].pictures(run_folder)[3:]:
        picture.unlink()
    with theme(), pytest.raises(UserError, match=r"0000\d\.png is missing"):
        ImageGrid().draw(view.series[0])


def test_nothing_to_compare_at_tau_0(new_run) -> None:
    assert ImageGrid().draw(RunView.of(new_run(n=2, taus=["0"]))) is None


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_prompts(new_run, n: int) -> None:
    folder = new_run(n=max(n, 2), taus=["1"])
    if n == 1:
        record = RunView.of(folder).records[0]
        Tree.singletons(1).save(record.folder(folder) / "tree.npz")
    with theme():
        assert ImageGrid().draw(RunView.of(folder)) is not None
