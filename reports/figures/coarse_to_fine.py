"""The step at which each frequency of a picture is settled, model by model."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from reports.base import Figure, RunView
from reports.style import FAINT, INK, MUTED, canvas, colours, finish, label_ends, marker, shorten
from reports.tiles import tile
from studies.manifest import CoarseToFine

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
        parts = _rows(CoarseToFine.of(run.path))
        if not parts:
            return None
        names = _names(parts)
        columns = max(len(part.steps) for part in parts) + 1
        strip = (columns * (SIDE + GAP) + GAP) / PIXELS
        width = LEFT + strip + 2 * (BETWEEN + PANEL) + RIGHT
        height = TOP + len(parts) * (ROW + ROW_GAP) + BELOW
        figure = canvas(width, height)

        def place(left: float, down: float, across: float, high: float) -> "Axes":
            axes: Axes = figure.add_axes((left / width, 1 - (down + high) / height, across / width, high / height))
            return axes

        for i, (part, name) in enumerate(zip(parts, names, strict=True)):
            down, last = TOP + i * (ROW + ROW_GAP), i == len(parts) - 1
            curves = part.curves()
            _pictures(place(LEFT, down, strip, ROW), part, name, columns)
            spectra = place(LEFT + strip + BETWEEN, down, PANEL, ROW)
            _spectra(spectra, part, curves, last)
            errors = place(LEFT + strip + 2 * BETWEEN + PANEL, down, PANEL, ROW)
            _errors(errors, part, curves, last)
            if i == 0:
                spectra.set_title("power, predicted to final, dB\n(light: early steps)", fontsize=7.5, loc="left")
                errors.set_title("what still differs (dark: all)\nand when it has settled", fontsize=7.5, loc="left")
        down = height - BELOW + 0.62
        _settled(place(LEFT, down, strip - 1.1, BELOW - 1.15), parts, names)
        _words(place(LEFT + strip + 0.3, down, 2 * (PANEL + BETWEEN) - 0.3, BELOW - 1.15), parts, names)
        return figure


def _rows(parts: list[CoarseToFine]) -> list[CoarseToFine]:
    """Return the parts of the first prompt set, ordered by when the finest band that all have is settled."""
    of_first_set = [part for part in parts if part.dataset == parts[0].dataset][:MOST]
    if not of_first_set:
        return []
    band = min(len(part.bands) for part in of_first_set) - 1
    return sorted(of_first_set, key=lambda part: -part.mean[band].value)


def _names(parts: list[CoarseToFine]) -> list[str]:
    """Return the models' names, with settings that tell two rows of one model apart."""
    models = [part.model.rsplit("/", 1)[-1] for part in parts]
    fields = ("scheduler", "K", "seed")
    names = []
    for part, model in zip(parts, models, strict=True):
        same_model = [other for other, name in zip(parts, models, strict=True) if name == model]
        settings = [
            str(getattr(part, field))
            for field in fields
            if len({getattr(other_part, field) for other_part in same_model}) > 1
        ]
        names.append(", ".join([model, *settings]))
    return names


def _pictures(axes: "Axes", part: CoarseToFine, name: str, columns: int) -> None:
    """Draw a prompt's predicted pictures, early ones first, and apart from them the final one."""
    pictured = part.pictured[0]
    page = np.full((SIDE, columns * (SIDE + GAP) + GAP, 3), 255, np.uint8)
    places = [i * (SIDE + GAP) for i in range(len(pictured.steps))] + [(columns - 1) * (SIDE + GAP) + GAP]
    for x, file in zip(places, [*pictured.steps, pictured.final], strict=True):
        page[:, x : x + SIDE] = tile(part.file(file), SIDE, enlarge="nearest", made_by="study")
    axes.imshow(page, interpolation="none", aspect="auto")
    axes.set_axis_off()
    labels = [*(f"{k + 1}/{part.K}" for k in part.steps), "final"]
    for x, text in zip(places, labels, strict=True):
        axes.text(x + SIDE / 2, -5, text, fontsize=7, ha="center", va="bottom", color=MUTED)
    model, _, settings = name.partition(", ")
    lines = [settings, f"“{shorten(pictured.prompt, 22)}”"]
    lines += [part.scheduler.removesuffix("Scheduler")] if part.scheduler not in settings else []
    if part.conditioned_on:
        lines += ["conditioned on", CONDITIONED[part.conditioned_on]]
    placement: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "ha": "right",
        "annotation_clip": False,
    }
    axes.annotate(model, (0, 0.76), (-8, 0), fontsize=9, va="bottom", **placement)
    distinct = dict.fromkeys(shorten(line, 27) for line in lines if line)
    axes.annotate("\n".join(distinct), (0, 0.72), (-8, 0), fontsize=6.8, color=MUTED, va="top", **placement)


def _spectra(axes: "Axes", part: CoarseToFine, curves: dict[str, Any], last: bool) -> None:
    """Draw the radially averaged power of the pictured steps' predictions, over all prompts, relative to the final."""
    import seaborn

    final = curves["final"].sum(axis=0)
    radii = np.arange(1, len(final) + 1)
    for k, colour in zip(part.steps, seaborn.color_palette("crest", len(part.steps)), strict=True):
        with np.errstate(divide="ignore"):
            ratio = 10 * np.log10(curves["power"][:, k].sum(axis=0) / final)
        axes.plot(radii, np.clip(ratio, FLOOR, CEILING), color=colour, linewidth=1.1)
    axes.axhline(0, color=MUTED, linewidth=0.7, linestyle=":")
    axes.set_ylim(FLOOR - 0.5, CEILING + 0.5)
    axes.set_yticks([-15, -10, -5, 0, 5])
    _frequencies(axes, part, "x")
    finish(axes, "cycles a picture" if last else "", "")
    axes.tick_params(labelsize=7)


def _errors(axes: "Axes", part: CoarseToFine, curves: dict[str, Any], last: bool) -> None:
    """Draw the error by step and band, and the step from which each band is settled."""
    mean = curves["error"].mean(axis=0).T
    lows = [low for low, _ in part.bands]
    edges = [*lows, part.bands[-1][1]]
    steps = np.linspace(0, 100, part.K + 1)
    axes.pcolormesh(steps, edges, np.minimum(mean, 1), cmap="Blues", vmin=0, vmax=1, rasterized=True)
    front = [100 * mean.value for mean in part.mean]
    axes.stairs(front, edges, orientation="horizontal", color=INK, linewidth=1.3, baseline=None)
    _frequencies(axes, part, "y")
    axes.set_xlim(0, 100)
    finish(axes, "steps finished, %" if last else "", "cycles")
    axes.yaxis.labelpad = 1
    axes.yaxis.label.set_fontsize(7)
    axes.tick_params(labelsize=7)


def _frequencies(axes: "Axes", part: CoarseToFine, side: str) -> None:
    axis = getattr(axes, f"{side}axis")
    getattr(axes, f"set_{side}scale")("log", base=2)
    edges = [int(low) for low, _ in part.bands] + [int(part.bands[-1][1])]
    shown = edges if len(edges) < 7 else edges[::2]
    axis.set_ticks(shown, [str(edge) for edge in shown])
    axis.minorticks_off()
    getattr(axes, f"set_{side}lim")(edges[0], edges[-1])


def _settled(axes: "Axes", parts: list[CoarseToFine], names: list[str]) -> None:
    """Draw the share of steps made by the time a band is settled, with 95% intervals over prompts."""
    palette = colours(len(parts))
    widest = max(parts, key=lambda part: len(part.bands))
    ends = []
    for i, (part, name, colour) in enumerate(zip(parts, names, palette, strict=True)):
        places = np.arange(len(part.bands)) + 0.06 * (i - (len(parts) - 1) / 2)
        values = [100 * mean.value for mean in part.mean]
        axes.plot(places, values, color=colour, marker=marker(i), markersize=4.5, linewidth=1.5)
        for place, mean in zip(places, part.mean, strict=True):
            if mean.low is not None and mean.high is not None:
                axes.vlines(place, 100 * mean.low, 100 * mean.high, color=colour, linewidth=1.4, alpha=0.5)
        ends.append((values[-1], name, colour))
    axes.set_xticks(range(len(widest.bands)), [f"{low:g} to {high:g}" for low, high in widest.bands])
    axes.set_ylim(0, 103)
    axes.grid(axis="y", color=FAINT, linewidth=0.5, alpha=0.5)
    tenth = f"{parts[0].tolerance:.0%}"
    finish(axes, "band of frequencies, cycles a picture", "steps finished, %")
    axes.set_title(
        f"Settled: from when on a band differs from the final picture's by less than {tenth} of its power",
        fontsize=9,
        loc="left",
    )
    label_ends(axes, ends, gap=0.09)


def _words(axes: "Axes", parts: list[CoarseToFine], names: list[str]) -> None:
    """Write when the finest band that all models have is settled, and the limits of the comparison."""
    from textwrap import fill

    axes.set_axis_off()
    band = min(len(part.bands) for part in parts) - 1
    low, high = parts[0].bands[band]
    lines = [f"{low:g} to {high:g} cycles a picture are settled after"]
    for part, name in zip(parts, names, strict=True):
        mean = part.mean[band]
        interval = "" if mean.low is None or mean.high is None else f" [{100 * mean.low:.0f}, {100 * mean.high:.0f}]"
        lines.append(f"   {100 * mean.value:.0f}%{interval} of the steps by {name}")
    schedulers = len({part.scheduler for part in parts}) > 1
    note = (
        f"{len(parts[0].settled)} prompts of {parts[0].dataset}; intervals: 95%, over prompts. "
        + ("Schedulers differ, and with them when bands settle: noise drawn at every step delays it. " * schedulers)
        + "Steps are the scheduler's own; their noise levels differ from model to model."
    )
    axes.text(0, 1, "\n".join(lines), fontsize=8, va="top", linespacing=1.5, transform=axes.transAxes)
    axes.text(0, 0, fill(note, 68), fontsize=7, color=MUTED, va="bottom", transform=axes.transAxes)
