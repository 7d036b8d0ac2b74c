"""The results of the functions: a plan, whose cost is known, and a run, whose pictures and results are there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.pictures import read_picture

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from reports.render import Report
    from sweeps.executors.base import Executor
    from sweeps.generate import Made
    from sweeps.grid import Cell
    from sweeps.jobs import Job
    from sweeps.plan import Plan as JobPlan
    from sweeps.record import CellConfig, Record
    from sweeps.scorers import Scorers
    from sweeps.session import Session
    from sweeps.spec import SweepSpec


@dataclass(frozen=True, eq=False)
class Plan:
    """The jobs of a sweep and what they cost, before any picture is made.

    Attributes:
        spec: the sweep.
        folder: the run folder that they are for, there or not.
        device: a torch device.
    """

    spec: "SweepSpec"
    folder: Path
    device: str
    inner: "JobPlan" = field(repr=False)
    session: "Session" = field(repr=False)
    cells: "Sequence[Cell]" = field(repr=False)
    scorers: "dict[str, Scorers]" = field(repr=False)
    executor: "Executor | None" = field(default=None, repr=False)

    @property
    def jobs(self) -> "tuple[Job, ...]":
        """Return the jobs that will have records, in order."""
        return self.inner.jobs

    def frame(self) -> "pd.DataFrame":
        """Return a row a job: its role and place on the axes, denoiser evaluations (NFE), FLOPs, and what is saved.

        `node_steps` counts nodes of the plan over their steps, and `nfe` rows of the denoiser, two a node-step with
        guidance; `baseline_...` those of the same prompts without sharing. Savings are shares, 0.5 for half.
        """
        import pandas as pd

        rows = []
        for job, cost in self.inner.costs(self.session):
            place = {**job.config.model_dump(mode="json"), "tau": float(job.config.tau)}
            rows.append(
                {
                    "id": job.id,
                    "role": job.role,
                    **place,
                    "prompts": len(job.source.prompts),
                    "node_steps": cost.node_steps,
                    "baseline_node_steps": cost.baseline_node_steps,
                    "savings": cost.savings,
                    "nfe": cost.nfe,
                    "baseline_nfe": cost.baseline_nfe,
                    "nfe_savings": cost.nfe_savings,
                    "flops": cost.flops,
                    "baseline_flops": cost.standard_flops,
                    "flop_savings": cost.flop_savings,
                }
            )
        return pd.DataFrame(rows)


@dataclass(eq=False)
class Run:
    """A run folder: pictures, scores, records, reports.

    Where several cells are in it, say which is meant by where it stands on the axes: ``run.images(tau=1, seed=43)``.

    Attributes:
        folder: where it is.
        report: the tables, figures and page that were written last by this process, if any were.
        failed: records of this process's work that failed, or that could not be scored.
    """

    folder: Path
    report: "Report | None" = field(default=None, repr=False)
    failed: "list[Record]" = field(default_factory=list, repr=False)
    plan: Plan | None = field(default=None, repr=False)
    made: "dict[Path, Made]" = field(default_factory=dict, repr=False)

    @property
    def records(self) -> "list[Record]":
        """Return every record of the run, ordered by the axes.

        Raises:
            UserError: a record is damaged.
        """
        from sweeps.record import load_records

        return load_records(self.folder) if (self.folder / "cells").is_dir() else []

    def frame(self) -> "pd.DataFrame":
        """Return a row a record: its config, savings, FLOPs, every result with its interval, seconds."""
        from reports.frame import frame

        return frame(self.records)

    def images(self, **axes: Any) -> "list[Image]":
        """Return the pictures of one cell as PIL images, in prompt order.

        Raises:
            UserError: no cell stands there, or several do.
        """
        return _opened(self._one([images for _, images, _ in self._places(axes)], axes))

    def baseline_images(self, **axes: Any) -> "list[Image]":
        """Return the pictures that those of `images` are compared with, in the same order.

        Cells of one model, prompt set and seed have one baseline, so tau need not be said.

        Raises:
            UserError: no cell stands there, or cells with several baselines do.
        """
        return _opened(self._one([baseline for *_, baseline in self._places(axes)], axes))

    def scores(self, **axes: Any) -> "pd.DataFrame":
        """Return what the scorers measured of one cell, a row a prompt: ``<scorer>.<column>``, and ``baseline.`` ones.

        Raises:
            UserError: no cell stands there, several do, or nothing was measured.
        """
        import pandas as pd

        from sweeps.record import SCORES
        from sweeps.scores import read_table

        places = self._places(axes)
        ours = self._one([images for _, images, _ in places], axes) / SCORES
        theirs = self._one([baseline for *_, baseline in places], axes) / SCORES
        if not ours.is_file() or not theirs.is_file():
            raise UserError(f"nothing was measured of {ours.parent}", "score the run: reusebench.score(run, ...)")
        frames = [read_table(path).to_pandas() for path in (ours, theirs)]
        beside = frames[1].drop(columns="prompt").add_prefix("baseline.")
        scores: pd.DataFrame = pd.concat([frames[0], beside], axis=1)
        return scores

    def _places(self, axes: dict[str, Any]) -> "list[tuple[CellConfig, Path, Path]]":
        """Return the cells at these axes: of records or, before there are any, of jobs.

        Returns:
            Of each its config, the folder of its pictures and that of its baseline's.
        """
        records = self.records
        role, tau = axes.get("role", "sharing"), {"tau": Decimal(str(axes["tau"]))} if "tau" in axes else {}
        cells = [
            (record.config, record.made(self.folder), record.baseline_folder(self.folder))
            for record in records
            if record.status == "done" and record.role == role
        ]
        if self.plan and not records:
            jobs = [job for job in self.plan.jobs if job.role == role and job.baseline]
            cells = [(job.config, job.folder, job.baseline.folder) for job in jobs if job.baseline]
        wanted = {name: value for name, value in {**axes, **tau}.items() if name != "role"}
        return [cell for cell in cells if all(getattr(cell[0], name, None) == value for name, value in wanted.items())]

    def _one(self, folders: Sequence[Path], axes: dict[str, Any]) -> Path:
        if len(set(folders)) == 1:
            return folders[0]
        said = ", ".join(f"{name}={value}" for name, value in axes.items()) or "no axis"
        if not folders:
            raise UserError(f"no finished cell of {self.folder} stands at {said}", "see the columns of run.frame()")
        configs = [config for config, *_ in self._places(axes)][:3]
        places = "; ".join(f"tau={config.tau:f}, seed={config.seed}" for config in configs)
        raise UserError(f"several cells of {self.folder} stand at {said}", f"say more, for example {places}")


def _opened(folder: Path) -> "list[Image]":
    from sweeps.score import whole_pictures

    return [read_picture(folder / "images" / name) for name in whole_pictures(folder).images]
