"""At which step each frequency of a picture is settled, model by model."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from reports.base import Figure, RunView
from reports.style import FAINT, INK, MUTED, canvas, colours, finish, label_ends, marker, shorten
from reports.tiles import tile
from sweeps.studies.manifest import CoarseToFine

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from matplotlib.axes import Axes

MOST = 8  # models
SIDE, GAP = 112, 5  # pixels of a picture
LEFT, PANEL, BETWEEN, RIGHT = 1.5, 1.75, 0.62, 0.25  # inches
TOP, ROW, ROW_GAP, BELOW = 0.5, 0.97, 0.27, 2.85
CONDITIONED = {"image": "an image embedding", "text": "text", "both": "an image embedding and text"}
PIXELS = 122  # of a picture an inch
FLOOR, CEILING = -16, 8  # dB; what is fainter or stronger is drawn there


class CoarseToFineFigure(Figure):
    """Predicted pictures step by step, their spectra, and when each band of frequencies is settled, model by model."""

    name = "coarse_to_fine"
    of_records: ClassVar[bool] = False

    def draw(self, run: RunView) -> "mpl.Figure | None":
        found = _rows(CoarseToFine.of(run.path))
        if not found:
            return None
        names = _names(found)
        columns = max(len(each.steps) for each in found) + 1
        strip = (columns * (SIDE + GAP) + GAP) / PIXELS
        width = LEFT + strip + 2 * (BETWEEN + PANEL) + RIGHT
        height = TOP + len(found) * (ROW + ROW_GAP) + BELOW
        figure = canvas(width, height)

        def place(left: float, down: float, across: float, high: float) -> "Axes":
            axes: Axes = figure.add_axes((left / width, 1 - (down + high) / height, across / width, high / height))
            return axes

        for i, (each, name) in enumerate(zip(found, names, strict=True)):
            down, last = TOP + i * (ROW + ROW_GAP), i == len(found) - 1
            curves = each.curves()
            _pictures(place(LEFT, down, strip, ROW), each, name, columns)
            spectra = place(LEFT + strip + BETWEEN, down, PANEL, ROW)
            _spectra(spectra, each, curves, last)
            errors = place(LEFT + strip + 2 * BETWEEN + PANEL, down, PANEL, ROW)
            _errors(errors, each, curves, last)
            if i == 0:
                spectra.set_title("power, predicted to final, dB\n(light: early steps)", fontsize=7.5, loc="left")
                errors.set_title("what still differs (dark: all)\nand when it has settled", fontsize=7.5, loc="left")
        down = height - BELOW + 0.62
        _settled(place(LEFT, down, strip - 1.1, BELOW - 1.15), found, names)
        _words(place(LEFT + strip + 0.3, down, 2 * (PANEL + BETWEEN) - 0.3, BELOW - 1.15), found, names)
        return figure


def _rows(found: list[CoarseToFine]) -> list[CoarseToFine]:
    """Those of the first prompt set, in the order in which their finest frequency that all have is settled."""
    same = [each for each in found if each.dataset == found[0].dataset][:MOST]
    if not same:
        return []
    band = min(len(each.bands) for each in same) - 1
    return sorted(same, key=lambda each: -each.mean[band].value)


def _names(found: list[CoarseToFine]) -> list[str]:
    """The models, and what else tells two of one model apart."""
    models = [each.model.rsplit("/", 1)[-1] for each in found]
    further = ("scheduler", "K", "seed")
    names = []
    for each, model in zip(found, models, strict=True):
        twins = [other for other, name in zip(found, models, strict=True) if name == model]
        told = [str(getattr(each, what)) for what in further if len({getattr(twin, what) for twin in twins}) > 1]
        names.append(", ".join([model, *told]))
    return names


def _pictures(axes: "Axes", each: CoarseToFine, name: str, columns: int) -> None:
    """A prompt's predicted pictures, early ones first, and apart from them the final one."""
    pictured = each.pictured[0]
    page = np.full((SIDE, columns * (SIDE + GAP) + GAP, 3), 255, np.uint8)
    places = [i * (SIDE + GAP) for i in range(len(pictured.steps))] + [(columns - 1) * (SIDE + GAP) + GAP]
    for x, file in zip(places, [*pictured.steps, pictured.final], strict=True):
        page[:, x : x + SIDE] = tile(each.file(file), SIDE, enlarge="nearest", made_by="study")
    axes.imshow(page, interpolation="none", aspect="auto")
    axes.set_axis_off()
    labels = [*(f"{k + 1}/{each.K}" for k in each.steps), "final"]
    for x, text in zip(places, labels, strict=True):
        axes.text(x + SIDE / 2, -5, text, fontsize=7, ha="center", va="bottom", color=MUTED)
    model, _, told = name.partition(", ")
    beside = [told, f"“{shorten(pictured.prompt, 22)}”"]
    beside += [each.scheduler.removesuffix("Scheduler")] if each.scheduler not in told else []
    if each.conditioned_on:
        beside += ["conditioned on", CONDITIONED[each.conditioned_on]]
    at: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "ha": "right",
        "annotation_clip": False,
    }
    axes.annotate(model, (0, 0.76), (-8, 0), fontsize=9, va="bottom", **at)
    lines = dict.fromkeys(shorten(line, 27) for line in beside if line)
    axes.annotate("\n".join(lines), (0, 0.72), (-8, 0), fontsize=6.8, color=MUTED, va="top", **at)


def _spectra(axes: "Axes", each: CoarseToFine, curves: dict[str, Any], last: bool) -> None:
    """The radially averaged power of the pictured steps' predictions, over all prompts, relative to the final one's."""
    import seaborn

    final = curves["final"].sum(axis=0)
    radii = np.arange(1, len(final) + 1)
    for k, colour in zip(each.steps, seaborn.color_palette("crest", len(each.steps)), strict=True):
        with np.errstate(divide="ignore"):
            ratio = 10 * np.log10(curves["power"][:, k].sum(axis=0) / final)
        axes.plot(radii, np.clip(ratio, FLOOR, CEILING), color=colour, linewidth=1.1)
    axes.axhline(0, color=MUTED, linewidth=0.7, linestyle=":")
    axes.set_ylim(FLOOR - 0.5, CEILING + 0.5)
    axes.set_yticks([-15, -10, -5, 0, 5])
    _frequencies(axes, each, "x")
    finish(axes, "cycles a picture" if last else "", "")
    axes.tick_params(labelsize=7)


def _errors(axes: "Axes", each: CoarseToFine, curves: dict[str, Any], last: bool) -> None:
    """Error by step and band, and the front behind which all is settled."""
    mean = curves["error"].mean(axis=0).T
    lows = [low for low, _ in each.bands]
    edges = [*lows, each.bands[-1][1]]
    steps = np.linspace(0, 100, each.K + 1)
    axes.pcolormesh(steps, edges, np.minimum(mean, 1), cmap="Blues", vmin=0, vmax=1, rasterized=True)
    front = [100 * mean.value for mean in each.mean]
    axes.stairs(front, edges, orientation="horizontal", color=INK, linewidth=1.3, baseline=None)
    _frequencies(axes, each, "y")
    axes.set_xlim(0, 100)
    finish(axes, "steps made, %" if last else "", "cycles")
    axes.yaxis.labelpad = 1
    axes.yaxis.label.set_fontsize(7)
    axes.tick_params(labelsize=7)


def _frequencies(axes: "Axes", each: CoarseToFine, which: str) -> None:
    axis = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}scale")("log", base=2)
    edges = [int(low) for low, _ in each.bands] + [int(each.bands[-1][1])]
    shown = edges if len(edges) < 7 else edges[::2]
    axis.set_ticks(shown, [str(edge) for edge in shown])
    axis.minorticks_off()
    getattr(axes, f"set_{which}lim")(edges[0], edges[-1])


def _settled(axes: "Axes", found: list[CoarseToFine], names: list[str]) -> None:
    """Share of the steps made by the time a band is settled, with 95% intervals over prompts."""
    palette = colours(len(found))
    widest = max(found, key=lambda each: len(each.bands))
    ends = []
    for i, (each, name, colour) in enumerate(zip(found, names, palette, strict=True)):
        places = np.arange(len(each.bands)) + 0.06 * (i - (len(found) - 1) / 2)
        values = [100 * mean.value for mean in each.mean]
        axes.plot(places, values, color=colour, marker=marker(i), markersize=4.5, linewidth=1.5)
        for place, mean in zip(places, each.mean, strict=True):
            if mean.low is not None and mean.high is not None:
                axes.vlines(place, 100 * mean.low, 100 * mean.high, color=colour, linewidth=1.4, alpha=0.5)
        ends.append((values[-1], name, colour))
    axes.set_xticks(range(len(widest.bands)), [f"{low:g} to {high:g}" for low, high in widest.bands])
    axes.set_ylim(0, 103)
    axes.grid(axis="y", color=FAINT, linewidth=0.5, alpha=0.5)
    tenth = f"{found[0].tolerance:.0%}"
    finish(axes, "band of frequencies, cycles a picture", "steps made, %")
    axes.set_title(
        f"Settled: from when on a band differs from the final picture's by less than {tenth} of its power",
        fontsize=9,
        loc="left",
    )
    label_ends(axes, ends, gap=0.09)


def _words(axes: "Axes", found: list[CoarseToFine], names: list[str]) -> None:
    """The finest band that all have, in words; and what to bear in mind."""
    from textwrap import fill

    axes.set_axis_off()
    band = min(len(each.bands) for each in found) - 1
    low, high = found[0].bands[band]
    lines = [f"{low:g} to {high:g} cycles a picture are settled after"]
    for each, name in zip(found, names, strict=True):
        mean = each.mean[band]
        interval = "" if mean.low is None or mean.high is None else f" [{100 * mean.low:.0f}, {100 * mean.high:.0f}]"
        lines.append(f"   {100 * mean.value:.0f}%{interval} of the steps by {name}")
    schedulers = len({each.scheduler for each in found}) > 1
    note = (
        f"{len(found[0].settled)} prompts of {found[0].dataset}; intervals: 95%, over prompts. "
        + (
            "Schedulers differ, and with them when bands settle: noise drawn at every step keeps a picture open. "
            * schedulers
        )
        + "Steps are the scheduler's own, whose noise levels differ from model to model."
    )
    axes.text(0, 1, "\n".join(lines), fontsize=8, va="top", linespacing=1.5, transform=axes.transAxes)
    axes.text(0, 0, fill(note, 68), fontsize=7, color=MUTED, va="bottom", transform=axes.transAxes)
