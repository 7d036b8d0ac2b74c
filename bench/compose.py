"""`bench compose`: which other ways to save may be stacked with sharing, and which cost more together than apart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench import options as o
from bench.sweep import begin
from common.errors import UserError

if TYPE_CHECKING:
    from sweeps.spec import SweepSpec

SAVINGS = ("0.3", "0.5")
TABLES = ("composition",)


@o.spec_options(
    begin,
    changed={
        "variations": {
            "help": "What to stack with sharing: settings, NAME=VALUE, each changed alone against the others. "
            "steps=10,scheduler=DDIMScheduler,denoiser-cache=first-block:threshold=0.1 are three."
        },
        "savings": {
            "help": "Shares of denoiser evaluations that sharing saves, of the base's and of each variation's.",
            "default": ",".join(SAVINGS),
        },
        "tau": {"help": "Instead of --savings: the same taus for all.", "default": "as --savings says"},
        "seed_control": {"default": "off"},
    },
)
def compose(**options: Any) -> None:
    """Measure what sharing and another way to save cost alone, and together, and whether they may be stacked.

    For each --with it makes standard and shared pictures without it and with it, of the same prompts and seeds. All are
    compared with the standard pictures without it; what both lose beyond the sum of each is their interaction. It is
    `bench sweep --with`, so the same command continues it.
    """
    begin(_defaults, TABLES, _with_standard, **options)


def _defaults(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [{"savings": SAVINGS, "seed_control": False}, *layers]


def _with_standard(asked: "SweepSpec") -> "SweepSpec":
    """Return the spec with the cells at tau 0, which have the variations alone.

    Raises:
        UserError: there is no variation.
    """
    from decimal import Decimal

    if not asked.variations:
        raise UserError("nothing to stack with sharing was given", "add for example --with steps=10,dtype=bf16")
    how = "savings" if asked.savings else "tau"
    return asked.model_copy(update={how: tuple(sorted({Decimal(0), *getattr(asked, how)}))})
