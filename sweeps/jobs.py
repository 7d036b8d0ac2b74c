"""The jobs of a sweep: a frozen one for every set of pictures that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from generators.families.base import get_family
from generators.renoising import renoised_nodes
from generators.sharing.evaluations import Evaluations, evaluations
from sweeps.delivery.files import PLAIN, PictureFiles
from sweeps.record import EQUAL, CellConfig, Record, Role

if TYPE_CHECKING:
    from generators.denoiser_caches.base import DenoiserCache
    from generators.sharing.plan import SharingPlan
    from generators.sharing.tree import Tree
    from sweeps.grid import Source


@dataclass(frozen=True, eq=False)
class Job:
    """A set of pictures: a cell's, its baseline's, or those of a reference, which are another source's baseline.

    Attributes:
        id: of the record that describes it; a baseline has none, and the key of its source as its id.
        role: what the pictures are for.
        config: its place on the axes of the sweep.
        identity: all that changes the result.
        source: the model, prompts and settings that the pictures are made of.
        plan: which cluster is denoised over which steps; None if planning failed.
        tree: what is drawn beside the plan; None for pictures in which nobody shares.
        run: the run folder.
        folder: where the pictures lie.
        cache: reuse between the steps of each picture.
        baseline: what the pictures are compared with; a cell's own pictures are the baseline's where their paths are.
        control: whether the strategy is there to be beaten.
        strategy_source: where the strategy's code is from, if it is somebody else's (`Plugin.provenance`).
        seconds: what planning took, by stage.
        error: why there is no plan.
        files: what its pictures' files are called and hold, and where they go.
    """

    id: str
    role: Role | Literal["baseline"]
    config: CellConfig
    identity: Mapping[str, Any]
    source: "Source"
    plan: "SharingPlan | None"
    run: Path
    folder: Path
    tree: "Tree | None" = None
    cache: "DenoiserCache | None" = None
    baseline: "Job | None" = None
    control: bool = False
    strategy_source: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: Exception | None = None
    files: PictureFiles = PLAIN

    @property
    def node_steps(self) -> int:
        """Return the denoiser evaluations of the whole plan, in rows."""
        return self.plan.node_steps if self.plan else 0

    def evaluations(self, *, reuse: bool = False, plan: "SharingPlan | None" = None) -> Evaluations:
        """Return what the whole plan, or another of the same prompts, has the denoiser evaluate.

        Args:
            reuse: whether siblings' unconditional rows are evaluated once (`Acceleration.reuse_unconditional`).
            plan: that other plan, or a part of this one.
        """
        plan, settings = plan or self.plan, self.source.settings
        if plan is None:
            return Evaluations()
        family = get_family(self.source.entry.family)
        reuse = reuse and family.one_unconditional(settings)
        renoised = renoised_nodes(plan, self.source.keys) if reuse and settings.renoise else None
        return evaluations(plan, settings.guided(plan.steps), reuse=reuse, renoised=renoised)

    @property
    def baseline_evaluations(self) -> Evaluations:
        """Return what the pictures that it is compared with take, or these prompts' if nobody shared."""
        alone, n = (self.baseline or self).source, len(self.source.prompts)
        guided = n * int(alone.settings.guided(alone.steps).sum())
        return Evaluations(guided, n * alone.steps - guided)

    @property
    def reuses(self) -> "Job | None":
        """Return the baseline whose pictures stand for its own where both are made alike; a reference reuses none."""
        return self.baseline if self.role == "sharing" else None

    @property
    def one_stream(self) -> bool:
        """Return True where all noise is drawn from one generator, as in the released code."""
        return self.source.settings.noise == "official"

    @property
    def alone(self) -> bool:
        """Return True where it can only be denoised by itself.

        What a denoiser cache remembers belongs to one plan, and so do one stream of noise and the finished pictures
        that nodes start from; the seconds of an equal-compute baseline are meant to be compared, and in company they
        would be a share of everybody's.
        """
        return self.cache is not None or self.one_stream or self.role in EQUAL or self.from_pictures

    @property
    def from_pictures(self) -> bool:
        """Return True where nodes of the plan start from finished pictures: it is denoised in rounds, in one place."""
        return self.plan is not None and self.plan.from_pictures

    @cached_property
    def solo(self) -> NDArray[np.bool_]:
        """Return a mask of the prompts that are denoised exactly as in the baseline, bool [N].

        In one stream of noise that holds for all of them or none. The baseline knows no denoiser cache, so under one
        it holds for none.
        """
        assert self.plan
        solo = self.plan.solo & (self.cache is None)
        return solo & solo.all() if self.one_stream else solo

    @cached_property
    def pictured(self) -> NDArray[np.bool_]:
        """Return a mask of the prompts whose pictures are made, bool [N]."""
        assert self.plan
        mask = np.full(self.plan.n_prompts, self.source.sample is None)
        if self.source.sample:
            mask[list(self.source.sample.rows)] = True
        return mask

    def needed(self, *, isolate: bool) -> "SharingPlan":
        """Return the part of the plan that has to be denoised where the baseline's pictures are at hand.

        Args:
            isolate: denoise all pictures that are made, so that the seconds are theirs.
        """
        assert self.plan
        wanted = self.pictured if self.reuses is None or isolate else self.pictured & ~self.solo
        return self.plan if wanted.all() else self.plan.restricted(wanted)

    def place(self) -> dict[str, Any]:
        """Return what the run folder says of it before there is a record: its role, and where it stands on the axes."""
        return {"role": self.role, "config": self.config.model_dump(mode="json")}

    def record(self) -> Record:
        """Return what is known before a picture is there, which `sweeps.describe` completes."""
        assert self.baseline
        return Record(
            id=self.id,
            status="done",
            role="sharing" if self.role == "baseline" else self.role,
            config=self.config,
            conditioned_on=get_family(self.source.entry.family).conditioned_on,
            control=self.control,
            strategy_source=dict(self.strategy_source),
            identity=dict(self.identity),
            baseline=self.baseline.folder.relative_to(self.run).as_posix(),
            images=None if self.role == "sharing" else self.folder.relative_to(self.run).as_posix(),
            sample=self.source.sample,
            per_prompt=per_prompt if (per_prompt := self.source.prompts.per_prompt) > 1 else None,
        )
