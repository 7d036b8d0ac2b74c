"""The effect of sharing on the pictures themselves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from common.selection import evenly
from generators.sharing.tree import Tree
from reports.base import Figure, RunView
from reports.style import DPI, MUTED, canvas, wrap
from reports.tiles import tile
from sweeps.record import Record

if TYPE_CHECKING:
    from matplotlib import figure as mpl

COLUMNS = 8
MOST_TAUS = 4
PAIR = 2
SIDE, GAP, GROUP_GAP = 160, 6, 14  # pixels
LETTERS, LINES = 17, 6
LINE_HEIGHT = 20  # pixels


class ImageGrid(Figure):
    """Baseline pictures above those of some taus, for pairs of prompts that are neighbours in the tree."""

    name = "image_grid"
    per_series: ClassVar[bool] = True

    def draw(self, run: RunView) -> "mpl.Figure | None":
        shared = [record for record in run.records if record.config.tau > 0]
        if not shared:
            return None
        shown = [shared[i] for i in evenly(len(shared), MOST_TAUS)]
        first = shown[0]
        prompts = first.prompts(run.path)
        order = Tree.load(first.artifact(run.path, "tree.npz")).leaf_order.tolist()
        if first.sample:
            place = {row: number for number, row in enumerate(first.sample.rows)}
            order = [place[leaf] for leaf in order if leaf in place]
        columns = neighbours(order, COLUMNS)
        rows = {"baseline": first.whole_pictures(run.path, of_baseline=True, rows=columns)}
        rows |= {_row_name(record): record.whole_pictures(run.path, rows=columns) for record in shown}
        return draw_grid(rows, [prompts[column] for column in columns], group=PAIR)


def neighbours(order: Sequence[int], count: int) -> list[int]:
    """Return `count` (even) of the prompts in `order`, as pairs of neighbours there, the pairs evenly far apart."""
    if len(order) <= count:
        return list(order)
    pairs = count // PAIR
    firsts = [int((i + 0.5) * len(order) / pairs - 1) for i in range(pairs)]
    return [order[first + offset] for first in firsts for offset in range(PAIR)]


def draw_grid(rows: Mapping[str, Sequence[Path]], prompts: Sequence[str], group: int = 1) -> "mpl.Figure":
    """Return a drawing of pictures in named rows, one column a prompt, every picture fitted into one size.

    Args:
        rows: pictures [len(prompts)] by the row's name, whose second line is written smaller.
        prompts: the heading of each column; wrapped, cut with an ellipsis.
        group: how many columns stand closer together.

    Raises:
        UserError: a picture is missing or damaged; it is named.
    """
    captions = [wrap(prompt, LETTERS, LINES) for prompt in prompts]
    left = 12 + 10 * max(len(line) for name in rows for line in name.splitlines())
    top = 10 + LINE_HEIGHT * (1 + max(caption.count("\n") for caption in captions))
    across = [left + j * (SIDE + GAP) + j // group * (GROUP_GAP if group > 1 else 0) for j in range(len(prompts))]
    down = [top + i * (SIDE + GAP) for i in range(len(rows))]
    page = np.full((down[-1] + SIDE + GAP, across[-1] + SIDE + GAP, 3), 255, np.uint8)
    for y, pictures in zip(down, rows.values(), strict=True):
        for x, picture in zip(across, pictures, strict=True):
            page[y : y + SIDE, x : x + SIDE] = tile(picture, SIDE)
    figure = canvas(page.shape[1] / DPI, page.shape[0] / DPI)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.imshow(page, interpolation="none", aspect="auto")
    axes.set_axis_off()
    for x, caption in zip(across, captions, strict=True):
        axes.text(x + SIDE / 2, top - 8, caption, fontsize=7.2, ha="center", va="bottom", linespacing=1.15)
    for y, name in zip(down, rows, strict=True):
        headline, _, rest = name.partition("\n")
        axes.text(4, y + SIDE / 2, headline, fontsize=8, va="bottom" if rest else "center")
        axes.text(4, y + SIDE / 2 + 4, rest, fontsize=7, va="top", color=MUTED)
    return figure


def _row_name(record: Record) -> str:
    saved = f"{record.plan.savings:.0%} saved" if record.plan else ""
    return f"τ = {float(record.config.tau):g}\n{saved}"
