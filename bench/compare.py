"""`bench compare`: which way to cluster prompts is best, at equal savings."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench import options as o
from bench.sweep import begin

EVERY = "all"
SAVINGS = ("0.3", "0.5", "0.7")
TABLES = ("strategies", "strategy_pairs", "strategy_ranking")


@o.spec_options(
    begin,
    changed={
        "strategy": {"names": ("--strategy", "--strategies"), "default": "all that run here"},
        "savings": {
            "help": "Shares of denoiser evaluations to save. Every strategy gets the tau that saves them.",
            "default": ",".join(SAVINGS),
        },
        "tau": {"help": "Instead of --savings: the same taus for all strategies.", "default": "as --savings says"},
    },
)
def compare(**options: Any) -> None:
    """Compare clustering strategies at equal savings, on several prompt sets and seeds at once.

    It is `bench sweep --savings`, so the same command continues it. Schedules, combiners and features with several
    values are compared like strategies.
    """
    if options["strategy"] == [EVERY]:
        options["strategy"] = None
    begin(_at_savings, TABLES, **options)


def _at_savings(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the layers over this command's defaults; taus of a preset or file, in one strategy's units, give way."""
    kept = [{name: value for name, value in layer.items() if value and name != "tau"} for layer in layers]
    return [{"savings": SAVINGS, "strategy": _every()}, *kept]


def _every() -> list[str]:
    """Return the strategies that run here and share something."""
    from generators.strategies.base import strategies

    return [name for name, kind in strategies().items() if name != "none" and kind.unavailable() is None]
