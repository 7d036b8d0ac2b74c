"""The label of a result, and how its numbers are written.

Metrics declare both: a record's ``scorers[<metric>]["figures"][<result>]`` holds ``label``, ``unit`` (``fraction``,
``score`` or ``count``) and ``higher_is_better``. Anything that a record leaves out follows from the result's name, so
that a new metric shows up without a line changed here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from metrics.duplicates import RESULTS, SOURCE
from sweeps.record import Record, Result

if TYPE_CHECKING:
    from metrics.statistics import Estimate

ACRONYMS = {"clip", "dino", "fid", "kid", "lpips", "psnr", "ssim", "vqa"}
FRACTIONS = {"rate", "savings"}
COUNTS = ("wins", "ties", "losses")
MISSING = "-"
UNSCORED = {name: asdict(info) for name, info in RESULTS.items()}
# A reference stands on the axis of strategies by its role, whose name in files is older than these words.
ROLES = {
    "another-seed": "seed control (A/A)",
    "fewer-steps": "equal-compute baseline",
    "less-guidance": "equal rows: less guidance",
    "less-guidance-and-steps": "equal rows: less guidance, fewer steps",
}


@dataclass(frozen=True)
class Label:
    """A result's heading, its unit as in `metrics.base.ResultInfo`, and which way is better (None: neither)."""

    text: str
    unit: str = "score"
    higher_is_better: bool | None = None
    signed: bool = False

    @property
    def scale(self) -> float:
        """The factor by which a value is multiplied where it is shown: fractions are in percent."""
        return 100.0 if self.unit == "fraction" else 1.0

    @property
    def heading(self) -> str:
        return f"{self.text}, %" if self.unit == "fraction" else self.text

    @property
    def axis(self) -> str:
        """The heading of a figure's axis, with the direction that is better."""
        if self.higher_is_better is None:
            return self.heading
        return f"{self.heading} ({'higher' if self.higher_is_better else 'lower'} is better)"

    def number(self, value: float | None, digits: int = 4) -> str:
        """Return ``51.2`` of a fraction, ``0.6521`` of a score, ``97`` of a count; a dash where there is none.

        Args:
            value: not scaled.
            digits: of a score.
        """
        if value is None or not isfinite(value):
            return MISSING
        digits = {"fraction": 1, "count": 0}.get(self.unit, digits)
        text = f"{value * self.scale:{'+' if self.signed else ''}.{digits}f}"
        return text.lstrip("+-") if float(text) == 0 else text

    def interval(self, figure: "Result | Estimate", digits: int = 4) -> str:
        """Return ``[43.1, 56.9]``, or nothing where there is no interval; `digits` as in `number`."""
        if figure.low is None or figure.high is None:
            return ""
        return f"[{self.number(figure.low, digits)}, {self.number(figure.high, digits)}]"


def label(name: str, records: Iterable[Record]) -> Label:
    """Return the label of the result ``<metric>.<result>``, from the first of these records that describes it."""
    return scorer_label(name, (record.scorers for record in records))


def scorer_label(name: str, scorers: Iterable[Mapping[str, Any]]) -> Label:
    """Return the label of a result, from the first of these records' scorers that describe it."""
    metric, _, figure = name.partition(".")
    signed = "difference" in figure
    for by_name in scorers:
        if info := _described(by_name, metric, figure):
            return Label(info["label"], info.get("unit", "score"), info.get("higher_is_better"), signed)
    text = " ".join(words for words in (title(metric), figure.replace("_", " ")) if words)
    return Label(text, _guessed_unit(figure or metric), signed=signed)


def axis_text(value: str | float) -> str:
    """Return a cell's value on an axis as a reader meets it."""
    return ROLES.get(value, value) if isinstance(value, str) else f"{value:g}"


def p_value(p: float | None) -> str:
    """Return ``0.012`` or ``<0.001``; a dash where nothing was tested."""
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def title(scorer: str) -> str:
    """Return a scorer's name as words: ``clip_diversity`` is ``CLIP diversity``, ``vqa@blip`` is ``VQA (blip)``."""
    metric, at, tag = scorer.partition("@")
    words = metric.replace("_", " ").replace("-", " ").split()
    text = " ".join(word.upper() if word.lower() in ACRONYMS else word for word in words)
    return f"{text} ({tag})" if at else text


def is_detail(name: str, records: Iterable[Record]) -> bool:
    """Return True for a result that is left out of summaries, for a table of its own shows it."""
    metric, _, figure = name.partition(".")
    info = next(filter(None, (_described(record.scorers, metric, figure) for record in records)), None)
    return bool(info and info.get("detail"))


def _described(scorers: Mapping[str, Any], metric: str, figure: str) -> dict[str, Any] | None:
    figures = UNSCORED if metric == SOURCE else scorers.get(metric, {}).get("figures")
    info = figures.get(figure) if isinstance(figures, dict) else None
    return info if isinstance(info, dict) and isinstance(info.get("label"), str) else None


def _guessed_unit(name: str) -> str:
    if FRACTIONS & set(name.split("_")):
        return "fraction"
    return "count" if name in COUNTS else "score"
