"""The look of figures: seaborn's theme, colours that colour-blind readers tell apart, labels beside the lines."""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import atomic_path

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

DPI = 160
TITLE = 0.25  # inches that a figure's title takes
INK, MUTED, FAINT = "#222222", "#666666", "#b8b8b8"
MARKERS = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖"}


# Fonts with letters that DejaVu Sans lacks, by the names that systems have them under: of Chinese, Japanese and Korean,
# of India and Thailand, emoji.
OTHERS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Malgun Gothic"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Nirmala UI", "Arial Unicode MS"),
    *("Noto Emoji", "Symbola", "Segoe UI Emoji", "Segoe UI Symbol"),
)
LACKING = re.compile(r"Glyph (\d+) .* missing from font")


@cache
def _others() -> tuple[str, ...]:
    """Return those of the other fonts that are here: matplotlib would warn of each that is not.

    It remembers which fonts there were when it first ran; those that were installed since are found now.
    """
    from matplotlib import font_manager

    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            with suppress(Exception):  # of a kind that it cannot read, such as coloured emoji
                font_manager.fontManager.addfont(path)
    here = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in OTHERS if name in here)


def lacking_note(letters: Iterable[str]) -> str:
    """Return the sentence for a page whose figures have boxes in place of these letters.

    Examples:
        >>> lacking_note("画水").partition(" that ")[0]
        'figures show boxes in place of 2 letters (水 画)'
    """
    some = sorted(set(letters))
    shown = " ".join(some[:8]) + (" ..." if len(some) > 8 else "")
    return (
        f"figures show boxes in place of {len(some)} letters ({shown}) that no font here has: install one, for example "
        "fonts-noto-cjk"
    )


@contextmanager
def theme() -> Iterator[None]:
    """Let matplotlib draw in this project's style within the block, and in the caller's before and after."""
    import matplotlib as mpl
    import seaborn

    sizes = {"axes.labelsize": 9.5, "axes.titlesize": 10.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5}
    settings = {
        **seaborn.axes_style("ticks"),
        **seaborn.plotting_context("paper", rc=sizes),
        # by their own names: of a generic family matplotlib takes one font for all letters
        "font.family": ["DejaVu Sans", *_others(), "sans-serif"],
        "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.parse_math": False,  # prompts and names are data: a dollar is a dollar
        "svg.fonttype": "none",
        "svg.hashsalt": "reusebench",
        "pdf.fonttype": 42,  # whole letters, as many conferences ask for
    }
    with mpl.rc_context(settings):
        yield


def canvas(width: float, height: float, **options: Any) -> "mpl.Figure":
    """Return an empty figure of this size in inches, unknown to pyplot's global state."""
    from matplotlib import figure as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = mpl.Figure(figsize=(width, height), dpi=DPI, **options)
    FigureCanvasAgg(figure)
    return figure


def colours(n: int) -> list[tuple[float, float, float]]:
    """Return the colours of n series; past ten they repeat, with other markers (`marker`)."""
    import seaborn

    palette = seaborn.color_palette("colorblind", 10)
    return [palette[i % len(palette)] for i in range(n)]


def marker(i: int) -> str:
    """Return the marker of series `i`."""
    return list(MARKERS)[i // 10 % len(MARKERS)]


def finish(axes: "Axes", x: str, y: str) -> None:
    """Name the axes and remove the frame's upper and right side."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def label_ends(axes: "Axes", ends: Sequence[tuple[float, str, Any]], gap: float = 0.055) -> None:
    """Write (height, text, colour) at the right edge of the axes, moved apart where they would touch.

    Args:
        axes: axes with their final limits.
        ends: the labels, height in data units.
        gap: least distance between two labels, as a share of the axes' height.
    """
    low, high = axes.get_ylim()
    wanted = sorted(((height - low) / (high - low), text, colour) for height, text, colour in ends)
    at = spread([height for height, _, _ in wanted], min(gap, 1 / max(1, len(wanted))))
    for height, (_, text, colour) in zip(at, wanted, strict=True):
        axes.annotate(
            text, (1.02, height), xycoords="axes fraction", color=colour, fontsize=8, va="center", annotation_clip=False
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights moved as little as keeps them `gap` apart, from 0 to 1 where they fit."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    ceiling = 1.0
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def shorten(text: str, length: int) -> str:
    """Return `text` on one line, cut with an ellipsis where it is longer."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def wrap(text: str, width: int, lines: int) -> str:
    """Return `text` on at most so many lines of at most so many letters, cut with an ellipsis where it is longer."""
    from textwrap import wrap as textwrap

    return "\n".join(textwrap(text, width, max_lines=lines, placeholder="…"))


def entitle(figure: "mpl.Figure", title: str) -> None:
    """Write `title` above the figure, in inches of its own; an empty title changes nothing."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not title:
        return
    width, height = figure.get_size_inches()
    share = height / (height + TITLE)
    figure.set_size_inches(width, height + TITLE)
    figure.text(0.5, (1 + share) / 2, title, fontsize=8.5, color=MUTED, ha="center", va="center")
    below = share
    for legend in figure.legends:  # outside the axes: the layout keeps the larger of both rooms, not their sum
        legend.set_bbox_to_anchor((0, 0, 1, share), figure.transFigure)
        below = share - legend.get_window_extent().height / figure.bbox.height
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(rect=(0, 0, 1, below))
        return
    for axes in figure.axes:  # nothing else makes room
        x, y, w, h = axes.get_position().bounds
        axes.set_position((x, y * share, w, h * share))


def save(figure: "mpl.Figure", stem: Path, lacking: set[str] | None = None) -> list[Path]:
    """Write ``<stem>.png``, ``.svg`` (text as text) and ``.pdf``, for papers; the same bytes for the same figure.

    Letters that no font here has become boxes, and are added to `lacking`.
    """
    written = []
    with warnings.catch_warnings(record=True) as told:
        warnings.filterwarnings("always", LACKING.pattern)  # a prompt in a script that no font here has
        for suffix, metadata in (
            (".png", {"Software": None}),
            (".svg", {"Date": None}),
            (".pdf", {"CreationDate": None}),
        ):
            path = stem.with_name(stem.name + suffix)
            with atomic_path(path) as beside:
                figure.savefig(beside, dpi=DPI, metadata=metadata)
            written.append(path)
            figure.set_layout_engine("none")  # the next file has its parts where this one has them
    for warning in told:
        if match := LACKING.match(str(warning.message)):
            if lacking is not None:
                lacking.add(chr(int(match[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return written
