"""The parameters, metrics, tags, tables and pictures that MLflow gets of a run folder's records."""

import re
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Param
from PIL import Image

from common.errors import UserError
from common.files import canonical_json, sha256_text
from common.pictures import read_picture
from reports.base import RunView
from reports.frame import AXES, row
from sweeps.record import Record
from sweeps.scores import read_table

STEP = 1000
LONGEST = 500
LONGEST_KEY, HASH = 250, 8
CURVES = ("savings", "flop_savings")
PAIRS = 4
SIDE = 512
GAP = 8
COMMIT, DIRTY = "mlflow.source.git.commit", "-dirty"


def key(name: str, meant: str | None = None) -> str:
    """Return a name as MLflow allows one for a parameter or a metric; `meant` as in `plain`."""
    return plain(name, r"[^\w\-. :/]", LONGEST_KEY, meant)


def plain(name: str, refused: str = r"[^\w\-.]", longest: int = 100, meant: str | None = None) -> str:
    """Return a name without characters that match `refused`, cut at `longest`.

    Where something is lost to that, a hash of the name that is `meant` (itself) tells it from those that lose the same.

    Examples:
        >>> plain("mini_templates"), plain("模型"), plain("a/b")
        ('mini_templates', '__-c98e118e', 'a_b-c14cddc0')
    """
    cleaned = re.sub(refused, "_", name, flags=re.ASCII)
    if cleaned == (meant or name) and len(cleaned) <= longest:
        return cleaned
    return f"{cleaned[: longest - HASH - 1]}-{sha256_text(meant or name)[:HASH]}"


def param(name: str, value: Any) -> Param:
    """Return a parameter; a list becomes its items, other values JSON, and long text is cut."""
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    text = value if isinstance(value, str) else canonical_json(value)
    return Param(key(name), text[:LONGEST])


def numbers(record: Record) -> dict[str, float]:
    """Return every finite number of a cell but its axes; results and savings first, by which MLflow compares."""
    cells = {name: value for name, value in row(record).items() if name not in (*AXES, "tau")}
    names = sorted(cells, key=lambda name: (name not in record.results, name not in CURVES))
    ordered = {name: cells[name] for name in names}
    return {name: float(value) for name, value in ordered.items() if isinstance(value, int | float) and isfinite(value)}


def curves(view: RunView) -> list[tuple[str, float, int]]:
    """Return savings and results of every cell as (name, value, step); for several series, ``<name>/<series>``."""
    points = []
    for series in view.series:
        meant = f"/{series.name.replace(', ', ' ')}" if series.name else ""
        suffix = meant[:1] + re.sub("[/,]", "_", meant[1:])
        for record in series.records:
            step = round(STEP * record.config.tau)
            named = {
                name: value for name, value in numbers(record).items() if name.startswith((*CURVES, *record.results))
            }
            points += [(key(f"{name}{suffix}", f"{name}{meant}"), value, step) for name, value in named.items()]
    return points


def identity(record: Record) -> dict[str, str]:
    """Return a cell's identity as tags: as parameters it would repeat the axes."""
    return {f"identity.{name}": param(name, value).value for name, value in record.identity.items()}


def environment(records: Sequence[Record]) -> dict[str, str]:
    """Return tags for versions, machine and git commit; where records differ, every value there is.

    MLflow's own tag for a git commit holds the one that made the pictures, where that is one.
    """
    values_by_name: dict[str, dict[str, None]] = {}
    for record in records:
        versions = {f"version.{name}": version for name, version in record.versions.items()}
        machine = {f"machine.{name}": value for name, value in record.machine.items()}
        for name, value in {**versions, **machine}.items():
            values_by_name.setdefault(name, {})[str(value)] = None
    tags = {key(name): ", ".join(values)[:LONGEST] for name, values in values_by_name.items()}
    commits = {version.removesuffix(DIRTY) for version in values_by_name.get("version.commit", ())}
    return tags | ({COMMIT: commits.pop()} if len(commits) == 1 else {})


def pairs(run: Path, record: Record) -> Iterator[tuple[str, Image.Image]]:
    """Yield at most `PAIRS` prompts, evenly spaced: a name that is the same in all cells, and baseline | this cell.

    Sides longer than `SIDE` pixels are made smaller; a prompt that lacks a picture is left out.
    """
    if record.baseline is None:
        return
    n = len(record.baseline_pictures(run))
    for i in sorted({n * part // PAIRS for part in range(PAIRS)} if n else ()):
        try:
            (baseline,), (shared,) = (
                record.whole_pictures(run, of_baseline=True, rows=[i]),
                record.whole_pictures(run, rows=[i]),
            )
            both = _beside(baseline, shared)
        except (UserError, OSError, ValueError, SyntaxError):  # which the report says
            continue
        yield f"{plain(record.config.dataset)} {baseline.stem}", both


def scores(run: Path, record: Record) -> pd.DataFrame | None:
    """Return the metrics' scores, a row a prompt: this cell's picture and the baseline's; None without scores."""
    try:
        shared, baseline = (read_table(path).to_pandas() for path in (record.scores(run), record.baseline_scores(run)))
        prompts = record.prompts(run)
    except (OSError, ValueError, UserError):  # it failed, has no scores, or they are damaged, which the report says
        return None
    measured = [name for name in shared.select_dtypes("number") if name in baseline]
    if not measured or not len(prompts) == len(shared) == len(baseline):
        return None
    table = pd.DataFrame({"prompt": prompts})
    for name in measured:
        table[name], table[f"{name}, baseline"] = shared[name].to_numpy(), baseline[name].to_numpy()
    return table


def report_table(path: Path) -> pd.DataFrame:
    """Return a table that the report wrote; what is not known is an empty cell, and NA is a prompt set's name."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as MLflow's pages can show it: they read a dot in a column's name as a path."""
    return table.rename(columns=lambda name: name.replace(".", "/"))


def _beside(left: Path, right: Path) -> Image.Image:
    images = []
    for path in (left, right):
        image = read_picture(path)
        image.thumbnail((SIDE, SIDE))
        images.append(image)
    width = sum(image.width for image in images) + GAP
    both = Image.new("RGB", (width, max(image.height for image in images)), "white")
    both.paste(images[0], (0, 0))
    both.paste(images[1], (width - images[1].width, 0))
    return both
