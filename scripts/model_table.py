"""Write the table of the catalogue's full-size models to docs/models.md: ``python -m scripts.model_table``, minutes."""

from typing import Any

from generators.checkpoints import packaged
from generators.families.base import resolve_settings
from generators.model_entry import EMBEDDED, ModelEntry, models
from scripts.embed_report import fill
from scripts.pipeline_classes import PAGE, markdown
from sweeps.model_costs import model_costs

UNKNOWN = "not known"
COUNTED = (
    "model",
    "class",
    "parameters of the denoiser, of all",
    "download",
    "memory: encode, denoise, decode",
    "type",
    "steps",
    "TFLOPs a picture",
    "of the denoiser",
)


def full_size() -> list[ModelEntry]:
    """Return the models of the catalogue whose weights are on the hub."""
    return [
        entry for entry in models().values() if not any(place.startswith(EMBEDDED) for place in entry.sources.values())
    ]


def row(entry: ModelEntry) -> dict[str, Any]:
    """Return a model's line, in the type of numbers that it has on a GPU by default.

    Of one whose configurations do not come with this package, no more than the catalogue says.
    """
    told = {"licence": entry.licence or UNKNOWN, "gated": "yes" if entry.gated else "no"}
    settings = resolve_settings(entry, device="cuda")
    if not all(packaged(source).is_dir() for source in entry.sources.values()):
        return dict.fromkeys(COUNTED, UNKNOWN) | {"model": entry.name, "type": settings.dtype} | told
    costs = model_costs(entry, settings)
    counted = {
        "model": entry.name,
        "class": costs.pipeline,
        "parameters of the denoiser, of all": f"{_billions(costs.denoiser.parameters)}, {_billions(costs.parameters)}",
        "download": UNKNOWN if costs.download is None else _gigabytes(costs.download),
        "memory: encode, denoise, decode": ", ".join(map(_gigabytes, costs.memory.values())),
        "type": settings.dtype,
        "steps": costs.steps,
        "TFLOPs a picture": f"{costs.flops / 1e12:,.0f}",
        "of the denoiser": f"{costs.denoiser.flops / costs.flops:.1%}",
    }
    return counted | told


def _billions(count: float) -> str:
    return f"{count / 1e9:.3g} B"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB"


def table(_: str = "") -> str:
    """Return the models as a Markdown table."""
    return markdown([row(entry) for entry in full_size()])


if __name__ == "__main__":
    fill(PAGE, "models", table, ["all"])
