"""Write the table of the catalogue's full-size models to docs/models.md: ``python -m scripts.model_table``, minutes."""

from typing import Any

from bench.models import described
from generators.families.base import resolve_settings
from generators.model_entry import EMBEDDED, ModelEntry, models
from scripts.embed_report import fill
from scripts.pipeline_classes import PAGE, markdown
from sweeps.model_costs import model_costs


def full_size() -> list[ModelEntry]:
    """Return the models of the catalogue whose weights are on the hub."""
    return [
        entry for entry in models().values() if not any(place.startswith(EMBEDDED) for place in entry.sources.values())
    ]


def row(entry: ModelEntry) -> dict[str, Any]:
    """Return a model's line, in the type of numbers that it has on a GPU by default."""
    settings = resolve_settings(entry, device="cuda")
    costs = model_costs(entry, settings)
    about = described(entry, costs)
    return {
        "model": entry.name,
        "class": about["class"],
        "parameters of the denoiser, of all": f"{_billions(costs.denoiser.parameters)}, {_billions(costs.parameters)}",
        "download": "not known" if costs.download is None else _gigabytes(costs.download),
        "memory: encode, denoise, decode": ", ".join(map(_gigabytes, costs.memory.values())),
        "type": settings.dtype,
        "steps": costs.steps,
        "TFLOPs a picture": f"{costs.flops / 1e12:,.0f}",
        "of the denoiser": f"{costs.denoiser.flops / costs.flops:.1%}",
        "licence": about["licence"] or "not known",
        "gated": "yes" if about["gated"] else "no",
    }


def _billions(count: float) -> str:
    return f"{count / 1e9:.3g} B"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB"


def table(_: str = "") -> str:
    """Return the models as a Markdown table."""
    return markdown([row(entry) for entry in full_size()])


if __name__ == "__main__":
    fill(PAGE, "models", table, ["all"])
