"""Clusters' mean conditioning made into pictures, beside the pictures of their prompts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from common.selection import evenly
from reports.base import Figure, RunView
from reports.style import DPI, MUTED, canvas, wrap
from reports.tiles import tile
from studies.manifest import MeanEmbedding, MeanNode

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib import figure as mpl
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST = 4  # trees
MEMBERS = 8
BIG, GAP, FRAME = 168, 6, 4  # pixels
SMALL = (BIG - GAP) // 2
BLOCK_GAP, WIDTH = 34, 1560
HEADING, HEIGHT, CAPTION = 40, 30, 62
GOLD = (222, 143, 5)  # the palette's


@dataclass(frozen=True)
class Block:
    """A cluster and its place on the page."""

    node: MeanNode
    x: int
    y: int
    across: int


class MeanEmbeddingFigure(Figure):
    """Clusters' means, denoised to the end (framed), beside their prompts' own pictures; a row a height of the tree."""

    name = "mean_embedding"
    of_records: ClassVar[bool] = False

    def draw(self, run: RunView) -> "mpl.Figure | None":
        parts = [part for part in MeanEmbedding.of(run.path) if part.nodes][:MOST]
        if not parts:
            return None
        headings: list[tuple[int, str, bool]] = []
        blocks: list[tuple[MeanEmbedding, Block]] = []
        y = 14
        for part in parts:
            headings.append((y, _name(part, parts), True))
            y += HEADING
            for height in sorted({node.height for node in part.nodes}):
                headings.append((y, f"clusters at height {height:g}", False))
                placed = _line([node for node in part.nodes if node.height == height], y + HEIGHT)
                blocks += [(part, block) for block in placed]
                y += HEIGHT + BIG + CAPTION
        page = np.full((y, WIDTH, 3), 255, np.uint8)
        figure = canvas(WIDTH / DPI, y / DPI)
        axes = figure.add_axes((0, 0, 1, 1), frameon=False)
        for part, block in blocks:
            _paint(page, axes, part, block, run.path)
        axes.imshow(page, interpolation="none", aspect="auto")
        axes.set_axis_off()
        for down, text, large in headings:
            style = {"fontsize": 9.5} if large else {"fontsize": 7.8, "color": MUTED}
            axes.text(10, down + 12, text, va="center", **style)  # type: ignore[arg-type]
        return figure


def _name(part: MeanEmbedding, parts: list[MeanEmbedding]) -> str:
    fields = ("strategy", "features", "combiner", "seed")
    settings = [str(getattr(part, field)) for field in fields if len({getattr(other, field) for other in parts}) > 1]
    return ", ".join([f"{part.model} on {part.dataset}", *settings])


def _line(nodes: list[MeanNode], y: int) -> list[Block]:
    """Return as many of the clusters as one line holds, evenly chosen, with their places."""
    for count in range(len(nodes), 0, -1):
        chosen = [nodes[i] for i in evenly(len(nodes), count)]
        widths = [_across(node) for node in chosen]
        if sum(widths) + BLOCK_GAP * (count - 1) <= WIDTH - 20 or count == 1:
            lefts = np.cumsum([10, *(width + BLOCK_GAP for width in widths[:-1])]).tolist()
            return [Block(node, x, y, width) for node, x, width in zip(chosen, lefts, widths, strict=True)]
    return []


def _across(node: MeanNode) -> int:
    columns = (min(len(node.members), MEMBERS) + 1) // 2
    return BIG + GAP + FRAME + columns * (SMALL + GAP)


def _paint(page: "NDArray[np.uint8]", axes: "Axes", part: MeanEmbedding, block: Block, run: "Path") -> None:
    """Paint the mean, large and framed, the members in two lines beside it, and a caption below."""
    node, x, y = block.node, block.x, block.y
    page[y : y + BIG, x : x + BIG] = GOLD
    inner = BIG - 2 * FRAME
    page[y + FRAME : y + FRAME + inner, x + FRAME : x + FRAME + inner] = tile(
        part.file(node.image), inner, enlarge="bicubic", made_by="study"
    )
    shown = [node.members[i] for i in evenly(len(node.members), MEMBERS)]
    columns = (len(shown) + 1) // 2
    for i, member in enumerate(shown):
        left = x + BIG + GAP + FRAME + (i % columns) * (SMALL + GAP)
        down = y + (i // columns) * (SMALL + GAP)
        picture = tile(run / part.baseline / "images" / f"{member:05d}.png", SMALL, enlarge="bicubic", made_by="study")
        page[down : down + SMALL, left : left + SMALL] = picture
    names = ", ".join(part.prompts[member] for member in shown)
    more = f" and {len(node.members) - len(shown)} more" if len(node.members) > len(shown) else ""
    caption = wrap(f"{names}{more}", max(18, int(block.across / 8.6)), 2)
    axes.text(x, y + BIG + 5, f"mean of {len(node.members)}, merged at {node.score:.2f}", fontsize=6.6, va="top")
    axes.text(x, y + BIG + 20, caption, fontsize=6.2, va="top", color=MUTED, linespacing=1.1)
