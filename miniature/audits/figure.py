"""One measured result, and what is wanted of it."""

from collections.abc import Callable
from dataclasses import dataclass

HEADER = ["| audit | measured | wanted | met |", "| --- | --- | --- | --- |"]


@dataclass(frozen=True)
class Figure:
    """A row of the model card's table; `wanted` is empty where the result is for information."""

    audit: str
    value: float
    goal: Callable[[float], bool] = lambda value: True
    wanted: str = ""

    @property
    def line(self) -> str:
        met = ("yes" if self.goal(self.value) else "**no**") if self.wanted else ""
        return f"| {self.audit} | {self.value:.3f} | {self.wanted} | {met} |"


def at_least(audit: str, value: float, bound: float) -> Figure:
    return Figure(audit, value, lambda v: v >= bound, f">= {bound:g}")


def at_most(audit: str, value: float, bound: float) -> Figure:
    return Figure(audit, value, lambda v: v <= bound, f"<= {bound:g}")


def below(audit: str, value: float, bound: float) -> Figure:
    return Figure(audit, value, lambda v: v < bound, f"< {bound:g}")


def between(audit: str, value: float, low: float, high: float) -> Figure:
    return Figure(audit, value, lambda v: low <= v <= high, f"{low:g} to {high:g}")


def table(figures: list[Figure]) -> str:
    """Return the model card's table, in the order of the audits' letters."""
    return "\n".join([*HEADER, *(figure.line for figure in sorted(figures, key=lambda f: f.audit[:3]))])
