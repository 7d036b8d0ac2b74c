"""Computation reuse across prompts in text-to-image diffusion: six functions, and what they return.

    import reusebench as rb

    run = rb.sweep(model="mini-kandinsky", prompt=["a red fox", "a red wolf"], tau=1)
    run.frame()     # a pandas row a cell: its config, what was saved, what it cost in quality
    run.images()    # PIL images in prompt order, and run.baseline_images() beside them

A sweep is four passes over a folder, and each can be had alone: `plan` (what it will cost; no picture is made),
`generate`, `score` (with it the records are described), and `report`. `audit` says what scorers can tell. Importing
this loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.errors import UserError as UserError
    from metrics.scorer_audit import ScorerAudit as ScorerAudit
    from reports.render import Report as Report
    from reusebench.api import audit as audit
    from reusebench.api import generate as generate
    from reusebench.api import plan as plan
    from reusebench.api import report as report
    from reusebench.api import score as score
    from reusebench.api import sweep as sweep
    from reusebench.run import Plan as Plan
    from reusebench.run import Run as Run
    from sweeps.record import Record as Record
    from sweeps.spec import SweepSpec as SweepSpec

_PLACES = {
    **dict.fromkeys(("plan", "generate", "score", "audit", "report", "sweep"), "reusebench.api"),
    **dict.fromkeys(("Plan", "Run"), "reusebench.run"),
    "SweepSpec": "sweeps.spec",
    "Record": "sweeps.record",
    "Report": "reports.render",
    "ScorerAudit": "metrics.scorer_audit",
    "UserError": "common.errors",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
