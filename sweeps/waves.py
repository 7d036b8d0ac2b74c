"""A group's plan in waves: parts of it that are denoised one after another, each in a bounded part of memory.

A wave ends with its pictures in their places, or with what other waves begin from on disk; then it is noted as done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from generators.sharing.parts import Part, Parts, exported_nodes, parts
from metrics.memory import held_bytes, wave_rows
from sweeps.record import ExecutionStats
from sweeps.unfinished import Wave

if TYPE_CHECKING:
    from pathlib import Path

    from generators.conditioning import Conditioning
    from generators.node_states import NodeState, NodeStates
    from generators.noise import NoiseSource
    from generators.settings import GenerationSettings
    from generators.sharing.plan import SharingPlan
    from generators.sharing.union import Union
    from sweeps.grid import Source
    from sweeps.jobs import Job
    from sweeps.session import Session
    from sweeps.unfinished import Unfinished
    from sweeps.writer import Place

Integers = NDArray[np.int64]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, eq=False)
class Work:
    """What is denoised: a forest of plans, what it is denoised from, and which folders want its pictures."""

    union: "Union"
    conditioning: "Conditioning"
    keys: Sequence[str]
    noise: "NoiseSource"
    places: "list[list[Place]]"

    def of(self, part: Part) -> tuple["Work", Integers]:
        """Return the work of a part of its plan, and int64 [r], which of its rows those of the part are."""
        place = np.searchsorted(part.nodes, self.union.ends)
        inside = (place < len(part.nodes)) & (part.nodes[np.minimum(place, len(part.nodes) - 1)] == self.union.ends)
        rows = np.flatnonzero(inside)
        prompts = np.searchsorted(part.prompts, self.union.prompts[rows])
        union = replace(self.union, plan=part.plan, ends=place[rows], prompts=prompts, rows=())
        keys = [self.keys[prompt] for prompt in part.prompts.tolist()]
        places = [self.places[row] for row in rows.tolist()]
        return Work(union, self.conditioning.taken(part.prompts), keys, self.noise, places), rows


class Waves:
    """The waves of a group: how its plan is cut, and which of them are still to be denoised.

    Args:
        work: of the group.
        rows: of a wave, at most.
        group: what it noted.
        states: where trunks leave what others begin from; None: nowhere that outlives the process.
        cut: whether trees are cut too, or only between trees, or (None) nothing is.
        of: as in `Wave`.

    Attributes:
        cut: the plan's parts, in the order in which they are denoised.
    """

    def __init__(
        self,
        work: Work,
        rows: int,
        group: "Unfinished",
        states: "NodeStates | None",
        cut: Literal["nodes", "trees"] | None = "nodes",
        of: int = 0,
    ) -> None:
        self.work, self.rows, self.group, self.states, self.of = work, rows, group, states, of
        self.plan: SharingPlan = work.union.plan
        self._between = cut
        most = self.plan.leaves if cut is None else rows
        self.cut: Parts = parts(self.plan, most, whole_trees=cut == "trees")
        self._exported = exported_nodes(self.plan, self.cut)
        self._steps = self.plan.stop - self.plan.first
        self._known = {wave.key: wave for wave in group.waves() if wave.of == of}

    def __len__(self) -> int:
        return len(self.cut.nodes)

    @property
    def wave_of(self) -> Integers:
        """int64 [R]; of each row of the work, the wave that makes it."""
        of = np.empty(len(self.plan.first), dtype=np.int64)
        for number, nodes in enumerate(self.cut.nodes):
            of[nodes] = number
        wave: Integers = of[self.work.union.ends]
        return wave

    def renoised(self, settings: "GenerationSettings") -> NDArray[np.bool_] | None:
        """Return bool [n], the plan's nodes that begin with fresh noise; None where the settings have none."""
        from generators.renoising import renoised_nodes

        return renoised_nodes(self.plan, self.work.keys) if settings.renoise else None

    def noted(self, wave: int) -> bool:
        """Return whether a wave was done, whatever has become of its files since."""
        return (self.of, self.rows, wave) in self._known

    @property
    def known(self) -> list[Wave]:
        """What all waves took that were denoised, in this cut of the plan or in one before."""
        return list(self._known.values())

    def left(self, missing: NDArray[np.bool_], wanted: NDArray[np.bool_] | None = None) -> list[int]:
        """Return the waves that are still to be denoised, in order, and forget states that none of them begins from.

        Args:
            missing: bool [R], the rows of the work whose pictures are not there.
            wanted: bool [R], those whose pictures the group makes; None: all.
        """
        wave_of = self.wave_of
        lacking = np.bincount(wave_of[missing], minlength=len(self)) > 0
        asked = np.bincount(wave_of if wanted is None else wave_of[wanted], minlength=len(self)) > 0
        todo: set[int] = set()
        needed: set[int] = set()
        for wave, heirs in reversed(list(enumerate(self.cut.heirs))):
            if not heirs:
                if lacking[wave] or (asked[wave] and not self.noted(wave)):  # what it took is to be known
                    todo.add(wave)
            elif todo & set(heirs):
                if self.states and self.noted(wave) and self.states.whole(wave, self._left_at(wave)):
                    needed.add(wave)
                else:
                    todo.add(wave)
        if self.states:
            self.states.delete_others(needed)
        return sorted(todo)

    def node_steps(self, waves: Sequence[int]) -> int:
        """Return what these waves denoise."""
        return sum(int(self._steps[self.cut.nodes[wave]].sum()) for wave in waves)

    def part(self, wave: int) -> Part:
        """Return a wave as a plan of its own."""
        return Part.of(self.plan, self.cut.nodes[wave])

    def initial_states(self, wave: int, part: Part) -> "Sequence[NodeState]":
        """Return what a wave begins from."""
        from generators.node_states import inherited

        if (trunk := int(self.cut.waits[wave])) < 0:
            return ()
        assert self.states
        states = self.states
        return inherited(lambda k: states.load(trunk, k), *part.inherits(self.cut.nodes[trunk]))

    def keep(self, wave: int, state: "NodeState") -> None:
        """Write what a trunk exports at a step, as far as another wave begins from it."""
        import torch

        assert self.states
        exported = np.searchsorted(self.cut.nodes[wave], self._exported[wave])
        here = torch.from_numpy(np.flatnonzero(np.isin(state.nodes.numpy(), exported)))
        if len(here):
            self.states.save(wave, state.taken(here, state.nodes[here]))

    def took(self, wave: Wave, left: Sequence[int], *, noted: bool = True) -> None:
        """Take in what a wave took, and forget what it began from if none of those that are left does.

        Args:
            wave: that was denoised.
            left: the waves that come after it.
            noted: it is done, and the next process shall know.
        """
        self._known[wave.key] = wave
        if not noted:
            return
        self.group.done(wave)
        trunk = int(self.cut.waits[wave.wave])
        if self.states and trunk >= 0 and not {*self.cut.heirs[trunk]} & {*left}:
            self.states.delete(trunk)

    def notes(self) -> list[str]:
        """Return for records that there are several waves, or that one is wider than it was to be."""
        notes = []
        if len(self) > 1:
            notes.append(f"denoised in {len(self):,} waves of at most {self.rows:,} rows")
        if self._between == "nodes":
            return notes
        widest = max(self.part(wave).plan.widest for wave in range(len(self)))
        if widest > self.rows:
            what = "a tree under a denoiser cache" if self._between else "what draws from one stream of noise"
            what = "what starts from finished pictures" if self.plan.from_pictures else what
            notes.append(f"{what} is not cut: {widest:,} rows at once where {self.rows:,} were to be")
        return notes

    def _left_at(self, wave: int) -> list[int]:
        """Return the steps at which a trunk's nodes stop from which other waves begin."""
        steps: list[int] = np.unique(self.plan.stop[self._exported[wave]]).tolist()
        return steps


def rows_of(jobs: "Sequence[Job]", plan: "SharingPlan", session: "Session") -> int:
    """Return the most rows of a wave of these jobs: as asked for, else as many as memory holds."""
    if session.wave is not None:
        return session.wave
    runs = {job.source.key: (job.source, job.run) for job in jobs}
    held = [held_by(source, session, run) for source, run in runs.values()]
    most = {place: max(one[place] for one in held) for place in held[0]}
    return wave_rows(plan.leaves, most, free(session), session.batch_size(jobs[0].source)[0])


def held_by(source: "Source", session: "Session", run: "Path | None" = None) -> dict[str, int]:
    """Return what a row of a source's plan holds between steps, by device; `run` as in `Session.encoded`."""
    family, settings = session.family(source), source.settings
    return held_bytes(
        session.device,
        family.latent_shape(settings),
        settings.dtype,
        remembered=family.sampler(settings).remembered,
        conditioning=list(session.encoded(source, run).conditioning.shapes.values()),
    )


def free(session: "Session") -> dict[str, float]:
    """Return the bytes that are free where denoising happens and in main memory."""
    from generators.device_memory import free_bytes

    return {place: float(free_bytes(place)) for place in ("cpu", session.device)}


def added(waves: Sequence[Wave]) -> tuple[ExecutionStats, dict[str, float]]:
    """Return what several waves took together, and the seconds of it, by stage."""
    seconds: dict[str, float] = {}
    skipped: dict[str, int] = {}
    for wave in waves:
        _add(seconds, wave.seconds)
        _add(skipped, wave.execution.skipped)
    each = [wave.execution for wave in waves]
    if len(each) <= 1:  # none, where all pictures of a finished set were there
        return each[0] if each else ExecutionStats(), seconds
    steady = [(one.steady, one.rows) for one in each if one.steady is not None]
    notes = dict.fromkeys(note for one in each for note in one.notes)
    execution = ExecutionStats(
        calls=sum(one.calls for one in each),
        rows=sum(one.rows for one in each),
        batch_size=min(one.batch_size for one in each if one.batch_size),
        first_call=next((one.first_call for one in each if one.first_call is not None), None),
        steady=sum(each * rows for each, rows in steady) / sum(rows for _, rows in steady) if steady else None,
        skipped=skipped,
        options=each[-1].options,
        notes=list(notes),
    )
    return execution, seconds


def _add(to: dict[str, Number], more: Mapping[str, Number]) -> None:
    for name, value in more.items():
        to[name] = to[name] + value if name in to else value
