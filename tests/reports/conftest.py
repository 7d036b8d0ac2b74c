"""Run folders to report on, as fixtures."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import (
    STEPS,
    asked,
    failed,
    figures_at,
    make_run,
    outcomes_at,
    record_at,
    save_embeddings,
    save_record,
    save_scores,
)

from generators.sharing.parting import shared_steps
from generators.sharing.plan import SharingPlan
from sweeps.record import Record


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Three taus of one series, 12 prompts."""
    return make_run(tmp_path / "run")


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder to measure: see `make_run`."""
    return lambda name="run", **options: make_run(tmp_path / name, **options)


@pytest.fixture
def parted(new_run: Callable[..., Path]) -> Callable[..., Path]:
    """Make a run of 60 prompts whose pictures are embedded, ours the more alike the longer their prompts shared."""

    def made(**options: Any) -> Path:
        run = new_run(**{"name": "parted", "n": 60, "side": 2, **options})
        rng = np.random.default_rng(4)
        standard, common = rng.normal(0.3, 1, (60, 8)), rng.normal(size=(60, 8))
        for path in run.glob("shared/*/scores.parquet"):
            save_embeddings(path, standard)
        for path in run.glob("cells/*/scores.parquet"):
            together = shared_steps(SharingPlan.load(path.with_name("plan.npz"))) / STEPS
            save_embeddings(path, standard + np.where(together > 0.3, together, 0) @ common)
        return run

    return made


@pytest.fixture
def new_record() -> Callable[..., Record]:
    """A finished record: its tau, then axes that differ from the usual ones."""
    return lambda tau="0.5", n=100, **axes: record_at(asked(tau, **axes), n)


@pytest.fixture
def failed_record() -> Record:
    return failed(asked("0.75"))


GRID = {
    ("mini-kandinsky", "kandinsky", "image"): 0.0,
    ("mini-karlo", "karlo", "image"): 0.02,
    ("mini-sd", "stable-diffusion", "text"): 0.12,
    ("mini-flux", "flux", "text"): 0.08,
}


@pytest.fixture
def grid(tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder of several models on several prompt sets over seeds, without pictures.

    `models` are (model, family, conditioned on) -> how much worse they are than the best.
    """

    def made(
        models: Mapping[tuple[str, str, str | None], float] = GRID,
        datasets: Mapping[str, int] = {"mini_templates": 240, "mini_styles": 120},
        taus: Sequence[str] = ("0", "0.25", "0.5", "1", "2"),
        seeds: Sequence[int] = (1, 2, 3),
        **axes: object,
    ) -> Path:
        run = tmp_path / "grid"
        (run / "cells").mkdir(parents=True, exist_ok=True)
        for ((model, family, conditioned_on), worse), (dataset, n) in product(models.items(), datasets.items()):
            for tau, seed in product(taus, seeds):
                where = asked(tau, model=model, dataset=dataset, seed=seed, **axes)
                save_record(run, record := record_at(where, n, worse, family, conditioned_on))
                save_scores(run, record, outcomes_at(float(tau), n, worse, seed), embedded=False)
        return run

    return made


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Path]:
    """Make, or add to, a run folder of several strategies on two prompt sets over three seeds, without pictures.

    `rivals` are strategy -> how much worse it is than the best.
    """

    def made(
        rivals: Mapping[str, float], taus: Sequence[str] = ("0.5", "1"), controls: Sequence[str] = (), **axes: object
    ) -> Path:
        run = tmp_path / "compared"
        (run / "cells").mkdir(parents=True, exist_ok=True)
        if not (run / "sweep.yaml").exists():
            (run / "sweep.yaml").write_text("schema_version: 1\n")
        sets = {"mini_styles": 60, "mini_templates": 100}
        for (strategy, worse), (dataset, n), tau, seed in product(rivals.items(), sets.items(), taus, (1, 2, 3)):
            where = asked(tau, strategy=strategy, dataset=dataset, seed=seed, **axes)
            record = record_at(where, n, worse).model_copy(update={"control": strategy in controls})
            outcomes = outcomes_at(float(tau), n, worse, seed)
            save_record(run, record.model_copy(update={"results": figures_at(outcomes, float(tau))}))
            save_scores(run, record, outcomes)
        return run

    return made
