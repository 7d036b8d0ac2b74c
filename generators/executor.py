"""Sharing plans, run on a model family. Nothing here knows of clustering; the baseline is just another plan."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.batching import Batches
from generators.conditioning import Conditioning
from generators.denoising_checkpoints import Checkpoint, DenoisingCheckpoints
from generators.families.base import Family
from generators.node_states import NodeState
from generators.noise import NoiseSource, node_key
from generators.overflow import overflow_error, within
from generators.pace import Pace
from generators.renoising import renoised_nodes
from generators.sampler import Draw
from generators.scheduler_state import Rows, join, pick, put
from generators.settings import GenerationSettings

if TYPE_CHECKING:
    from generators.denoiser_caches.base import DenoiserCache
    from generators.denoiser_caches.hooked import Hooked
    from generators.sharing.plan import SharingPlan

DIGEST = 8  # bytes of a node's key, where nodes are told apart by a hash of it

# (k, plan nodes [b], their latents after step k, the x0 predicted at step k or None)
Observer = Callable[[int, NDArray[np.int64], Tensor, Tensor | None], None]


@dataclass(frozen=True, eq=False)
class Execution:
    """The result of running a plan: latents, and what they took.

    Attributes:
        latents: [R, *latent shape] on the CPU, in the family's dtype.
        prompts: [R]; the prompt of each row. Of a plan that was neither restricted nor united with others: all of them.
        calls: denoiser calls that succeeded, those before a resumption included.
        rows: plan nodes denoised over all calls; the plan's `node_steps`.
        batch_size_used: rows a batch at the end: fewer than asked for if memory ran out.
        notes: sentences about what happened on the way, for records.
        seconds_before: seconds that the run had taken before it was resumed.
        first_call: seconds of the first denoiser call (see `Pace`); None where there was none.
        steady: mean seconds a row of the other calls, since a resumption if there was one; None where there was none.
        skipped: under a denoiser cache, by the path of a module in the denoiser, for how many rows it was skipped.
        options: the options of the family's `acceleration` that held.
        overflows: by row, where numbers first overflowed on its path (``"at step 3 of 25"``): it makes no picture.
    """

    latents: Tensor
    prompts: NDArray[np.int64]
    calls: int
    rows: int
    batch_size_used: int
    notes: tuple[str, ...]
    seconds_before: float = 0.0
    first_call: float | None = None
    steady: float | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    overflows: Mapping[int, str] = field(default_factory=dict)


@torch.no_grad()
def execute(
    plan: "SharingPlan",
    family: Family,
    conditioning: Conditioning,
    keys: Sequence[str],
    settings: GenerationSettings,
    *,
    noise: NoiseSource,
    batch_size: int,
    observers: Sequence[Observer] = (),
    ends: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    needed: NDArray[np.bool_] | None = None,
    checkpoints: DenoisingCheckpoints | None = None,
    initial_states: Sequence[NodeState] = (),
    on_exit: Callable[[NodeState], None] | None = None,
    cache: "DenoiserCache | None" = None,
    renoised: NDArray[np.bool_] | None = None,
    finished: tuple[NDArray[np.int64], Tensor] | None = None,
) -> Execution:
    """Denoise every node of `plan` over its steps (Algorithm 1 of the paper).

    At each step the active nodes are taken in ascending order, `batch_size` at a time; a node that
    begins takes its source's latent, or fresh noise where it has none; where the settings say so, a node that
    serves others than its source does takes its own x0 for that one's in its first step. A node whose numbers overflow,
    in what is predicted or in its latents, is no picture, and neither are those that begin from it; others go on.

    A node that begins from a finished picture takes that one's last latent, with fresh noise of its own as there is
    before the step. The plan is then denoised stage by stage (`SharingPlan.stages`).

    Args:
        plan: of N prompts and K steps.
        family: loaded; its weights are loaded here if they were not.
        conditioning: of the N prompts.
        keys: one a prompt, the same for the same picture wherever it is made (`PromptSet.keys`).
        settings: of the pictures; the scheduler that they name must take K steps.
        noise: where initial latents and the scheduler's noise come from.
        batch_size: nodes a denoiser call, at most; it is halved where memory runs out.
        observers: called after every batch with (k, nodes, latents, predicted x0); whoever keeps latents copies them.
        ends: the nodes, each denoised to the end, whose latents are wanted, and the prompts that these belong to ([R]
            both); the plan's outputs unless given (see `sharing.union`).
        needed: bool [n]; where it is given, batches without a node that is needed are passed over, and in the others
            the rows of other nodes are filled with a copy: so those nodes' latents are what they would be, and the rest
            are copies of one of them (see `leading_to`).
        checkpoints: where the run is saved from time to time; it is resumed from the latest one that is there.
        initial_states: of a part of a plan (see `sharing.parts`), one a step: where nodes begin that have no source in
            it.
        on_exit: called with the exported state of nodes that stop, at every step where some do.
        cache: reuse between the steps of each path; its memory is neither in checkpoints nor in exported states.
        renoised: bool [n], the nodes that begin with fresh noise, if the settings have any (`renoised_nodes`); to be
            given for a part of a plan, in which their sources may not be.
        finished: nodes of a plan with nodes that begin from pictures, int64 [m], ascending, which were denoised before,
            and their last latents, [m, *latent shape]: what begins from their pictures does, and they are left out.

    Returns:
        The latents that are wanted, and what they took.

    Raises:
        UserError: memory runs out with a single node in the batch, nodes begin with fresh noise or with their own x0
            and the scheduler does not tell x0, or they begin from finished pictures and it cannot begin there
            (`Sampler.begun_at`).
        ValueError: plan, conditioning, keys and scheduler do not belong together, or an initial state is missing.
    """
    options = family.accelerate()
    if family.reuse:
        family.reuse.forget()
    batches = Batches(batch_size, few_sizes=family.acceleration.compiled)
    run = _Run(plan, family, conditioning, keys, settings, noise, batches, observers)
    run.needed = needed
    if finished:
        run.leave_out(*finished)
    run.initial_states, run.on_exit = {state.k: state for state in initial_states}, on_exit
    if settings.renoise:
        run.renoised = renoised_nodes(plan, keys) if renoised is None else renoised
        if run.renoised.any() or on_exit:
            run.sampler.check_renoise()
    if settings.own_x0 and ((plan.source >= 0).any() or on_exit):
        for sampler in run.samplers:
            sampler.check_own_x0()
    if cache and (checkpoints or initial_states or on_exit):
        raise ValueError("a run under a denoiser cache is whole, from its first step to its last")
    if plan.from_pictures and (initial_states or on_exit):
        raise ValueError("a plan in which nodes begin from finished pictures is whole")
    with _hooked(cache, family) as run.hooked:
        for at in range(run.resume(checkpoints.load() if checkpoints else None), len(run.steps)):
            k = run.begin(at)
            run.enter(k)
            run.step(k)
            if run.hopeless(k):
                break
            run.end(at)
            if checkpoints and checkpoints.due(last=at + 1 == len(run.steps)):
                checkpoints.save(run.checkpoint(at + 1))
    return run.finish(*(plan.ends if ends is None else ends), options)


def _digests(keys: Sequence[str]) -> NDArray[np.uint8]:
    """Return nodes' keys as `DIGEST` bytes each, uint8 [n, DIGEST], for what is kept in tensors."""
    hashed = b"".join(blake2b(key.encode(), digest_size=DIGEST).digest() for key in keys)
    return np.frombuffer(bytearray(hashed), dtype=np.uint8).reshape(-1, DIGEST)


def leading_to(plan: "SharingPlan", nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return bool [n], the plan's nodes that these begin from, themselves included."""
    needed = np.zeros(len(plan.first), dtype=np.bool_)
    while len(nodes):
        needed[nodes] = True
        sources = np.unique([plan.source[nodes], plan.picture[nodes]])
        nodes = sources[sources >= 0]
        nodes = nodes[~needed[nodes]]
    return needed


def _hooked(cache: "DenoiserCache | None", family: Family) -> "AbstractContextManager[Hooked | None]":
    if cache is None:
        return nullcontext()
    from generators.denoiser_caches.hooked import hooked  # nobody else needs what it imports

    return hooked(cache, family)


def decode_images(
    family: Family,
    execution: Execution,
    keys: Sequence[str],
    settings: GenerationSettings,
    *,
    noise: NoiseSource,
    batches: Batches,
    overflows: dict[int, str] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of finished latents in order, a batch at a time: uint8 [b, height, width, 3].

    What decoding draws belongs to the prompt alone, wherever its latents come from; it is drawn as if in one more step.

    Args:
        family: that made the latents.
        execution: whose latents.
        keys: as `execute` had them, one a prompt of the plan.
        settings: as `execute` had them.
        noise: likewise.
        batches: how many pictures are decoded at once.
        overflows: takes the rows whose numbers have overflowed, and where: their pictures are black.

    Raises:
        UserError: memory runs out with a single picture, or numbers have overflowed and nobody takes them.
    """
    end, own = family.sampler(settings).K, [node_key([keys[prompt]]) for prompt in execution.prompts]

    def decoded(rows: slice) -> NDArray[np.uint8]:
        pixels, lost = decode_rows(
            family,
            execution.latents[rows],
            settings,
            lambda shape, draw: noise.step(own[rows], end, shape[1:], draw),
            batches.notes,
        )
        where = dict.fromkeys((rows.start + np.flatnonzero(lost)).tolist(), "in decoding")
        where |= {row: text for row, text in execution.overflows.items() if rows.start <= row < rows.stop}
        if where and overflows is None:
            of_prompts = {int(execution.prompts[row]): text for row, text in where.items()}
            raise overflow_error(family.entry.name, settings.dtype, of_prompts)
        if overflows is not None:
            overflows.update(where)
            pixels[[row - rows.start for row in where]] = 0
        return pixels

    try:
        yield from batches.map(len(own), decoded)
    finally:
        family.rest()


def decode_rows(
    family: Family, latents: Tensor, settings: GenerationSettings, draw: Draw, notes: list[str]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the pictures of finished latents [b, ...], uint8 [b, height, width, 3], and which are none, bool [b].

    A decoder whose numbers overflow in half precision decodes in float32 from then on. Pictures that are none even so
    are black; the others are what they would be without them.

    Args:
        family: that made the latents.
        latents: of any precision, on any device.
        settings: of the pictures.
        draw: as `Family.decode` takes it.
        notes: takes what records should say.
    """
    lost = ~within(latents).cpu().numpy()
    while not lost.all():
        kept = latents
        if lost.any():
            kept = latents.clone()
            kept[torch.from_numpy(lost).to(kept.device)] = 0
        try:
            pixels = family.decode(kept, settings, draw)
        except FloatingPointError as error:
            if family.widen_decoder():
                notes.append(f"the decoder overflowed in {settings.dtype}: pictures are decoded in fp32")
                continue
            rows = getattr(error, "rows", None)
            more = ~lost if rows is None or rows.shape != lost.shape else rows & ~lost
            lost = lost | more if more.any() else np.ones_like(lost)  # if zeros overflow, everything does
        else:
            pixels[lost] = 0
            return pixels, lost
    return np.zeros((len(latents), settings.height, settings.width, 3), dtype=np.uint8), lost


@dataclass
class _Run:
    """The active nodes, ascending, with their latents and noise keys, as the steps go by."""

    plan: "SharingPlan"
    family: Family
    conditioning: Conditioning
    prompt_keys: Sequence[str]
    settings: GenerationSettings
    noise: NoiseSource
    batches: Batches
    observers: Sequence[Observer]

    def __post_init__(self) -> None:
        n, sampler = self.plan.n_prompts, self.family.sampler(self.settings)
        if not len(self.conditioning) == len(self.prompt_keys) == n:
            raise ValueError(
                f"a plan of {n} prompts, {len(self.conditioning)} conditioned, {len(self.prompt_keys)} keys"
            )
        if self.plan.steps != sampler.K:
            raise ValueError(f"a plan of {self.plan.steps} steps, a scheduler of {sampler.K} denoiser evaluations")
        self.sampler = sampler
        self.guided = self.settings.guided(sampler.K)
        self.unguided = self.settings if self.guided.all() else self.family.unguided(self.family.entry, self.settings)
        self.shape = self.family.latent_shape(self.settings)
        self.nodes: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.dtype = self.family.latents_dtype(self.settings)
        self.latents = torch.empty(0, *self.shape, dtype=self.dtype, device=self.family.device)
        self.memory: Rows = ()
        self.overflow: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # of each node the step of its first; or -1
        self.conditioned: dict[int, dict[str, Tensor]] = {}  # by node
        self.keys: list[str] = []
        self.calls = self.rows = 0
        self.pace = Pace(self.family.device)
        self.start, self.seconds_before = time.perf_counter(), 0.0
        self.initial_states: dict[int, NodeState] = {}
        self.on_exit: Callable[[NodeState], None] | None = None
        self.hooked: Hooked | None = None
        self.needed: NDArray[np.bool_] | None = None
        self.renoised: NDArray[np.bool_] = np.zeros(len(self.plan.first), dtype=np.bool_)
        self.alike: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.x0: Tensor | None = None  # predicted in the last step, where nodes that begin in the next need it
        self.parted: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)  # the active nodes that take their own x0 now
        self.x0_before: Tensor | None = None  # what was predicted before for those, in rows as the latents'
        self.finished = self.nodes, torch.empty(0, *self.shape, dtype=self.dtype), self.overflow
        self._set_stages(self.plan.stages)

    def _set_stages(self, stages: list[NDArray[np.int64]]) -> None:
        self.staged = self.plan.from_pictures
        self.stages, self.stage = stages, 0
        begins = [int(self.plan.first[nodes].min()) for nodes in stages] if self.staged else [0]
        self.steps = [(stage, k) for stage, first in enumerate(begins) for k in range(first, self.plan.steps)]
        self.samplers = [self.sampler.begun_at(k) for k in begins]

    def leave_out(self, nodes: NDArray[np.int64], latents: Tensor) -> None:
        """Take these nodes' last latents as they are, and denoise the others alone."""
        if not self.staged or len(nodes) != len(latents):
            raise ValueError("nodes that are left out are those from whose pictures others begin, a latent each")
        self.finished = nodes, latents.to(self.finished[1]), np.full(len(nodes), -1)
        left = (np.setdiff1d(stage, nodes) for stage in self.stages)
        self._set_stages([stage for stage in left if len(stage)])

    def begin(self, at: int) -> int:
        """Turn to the stage of a step, counted over all stages; return the step as the scheduler counts it."""
        self.stage, k = self.steps[at]
        self.sampler = self.samplers[self.stage]
        return k

    def end(self, at: int) -> None:
        """Put away what a stage has finished, for those to come, if the step was its last and there are several."""
        if not self.staged or self.steps[at][1] + 1 < self.plan.steps:
            return
        nodes = np.concatenate([self.finished[0], self.nodes])
        order = np.argsort(nodes)
        latents = torch.cat([self.finished[1], self.latents.cpu()])[torch.from_numpy(order)]
        self.finished = nodes[order], latents, np.concatenate([self.finished[2], self.overflow])[order]
        self.nodes, self.overflow, self.keys = self.nodes[:0], self.overflow[:0], []
        self.latents, self.memory, self.x0, self.conditioned = self.latents[:0], (), None, {}

    def resume(self, checkpoint: Checkpoint | None) -> int:
        """Go back to a checkpoint, if there is one; return the step to go on with, counted over all stages."""
        if checkpoint is None:
            return 0
        self.nodes = checkpoint.nodes.numpy()
        self.latents = checkpoint.latents.to(self.latents)
        self.memory = tuple(leaf.to(self.family.device) for leaf in checkpoint.memory)
        self.overflow = checkpoint.overflow.numpy()
        self.x0 = None if checkpoint.x0 is None else checkpoint.x0.to(self.latents)
        self.calls, self.rows, self.batches.size = checkpoint.calls, checkpoint.rows, checkpoint.batch_size
        self.seconds_before = checkpoint.seconds
        if checkpoint.finished is not None:
            nodes, latents, overflow = checkpoint.finished
            self.finished = nodes.numpy(), latents.to(self.finished[1]), overflow.numpy()
        self.keys = [self._key(node) for node in self.nodes.tolist()]
        self._condition(self.nodes, np.ones(len(self.nodes), dtype=np.bool_))
        self.batches.notes.append(f"resumed after step {checkpoint.k} of {len(self.steps)}")
        return checkpoint.k

    def checkpoint(self, k: int) -> Checkpoint:
        """Return what `resume` needs to go on with step k."""
        nodes, memory = torch.from_numpy(self.nodes), self.memory if k < len(self.steps) else ()
        seconds = self.seconds_before + time.perf_counter() - self.start
        overflow = torch.from_numpy(self.overflow)
        taken = self.calls, self.rows, self.batches.size, seconds
        ended, latents, lost = self.finished
        finished = (torch.from_numpy(ended), latents, torch.from_numpy(lost)) if self.staged else None
        return Checkpoint(k, nodes, self.latents, memory, overflow, *taken, x0=self.x0, finished=finished)

    def enter(self, k: int) -> None:
        """Let nodes that begin at step k take their places, and those that stopped leave."""
        nodes = self.plan.active(k)
        if self.staged:
            nodes = np.intersect1d(nodes, self.stages[self.stage], assume_unique=True)
        self.parted, self.x0_before = np.zeros(len(nodes), dtype=np.bool_), None
        if np.array_equal(nodes, self.nodes):
            return
        self._export(k)
        begins = self.plan.first[nodes] == k
        origin = np.where(begins, self.plan.source[nodes], nodes)
        pictured = begins & (self.plan.picture[nodes] >= 0)
        resumed = (origin < 0) & (k > 0) & ~pictured  # from a state that another part of the plan exported
        fresh = (origin < 0) & ~resumed & ~pictured
        places = self._places(origin[origin >= 0])
        latents = torch.empty(len(nodes), *self.shape, dtype=self.dtype, device=self.family.device)
        latents[origin >= 0] = self.latents[places]
        overflow = np.full(len(nodes), -1)
        overflow[origin >= 0] = self.overflow[places]
        known = dict(zip(self.nodes.tolist(), self.keys, strict=True))
        served = _digests([known.get(node, "") for node in origin.tolist()]) if self.settings.own_x0 else None
        self.keys = [known.get(node) or self._key(node) for node in nodes.tolist()]
        if fresh.any():
            drawn = self.noise.initial([self.keys[i] for i in np.flatnonzero(fresh)], self.shape)
            latents[fresh] = drawn.to(latents) * self.sampler.init_sigma
        if pictured.any():
            ended = np.searchsorted(self.finished[0], self.plan.picture[nodes[pictured]])
            drawn = self.noise.renoise([self.keys[i] for i in np.flatnonzero(pictured)], k, self.shape)
            clean = self.finished[1][ended].to(latents)
            latents[pictured] = self.sampler.noised(k, clean, drawn)
            overflow[pictured] = self.finished[2][ended]
        if self.memory:
            self.memory = pick(self.memory, places)
        x0 = None if self.x0 is None else torch.empty_like(latents)
        if x0 is not None and self.x0 is not None:
            x0[origin >= 0] = self.x0[places]
        if resumed.any():
            state, rows = self._initial_state(k, nodes[resumed])
            latents[resumed] = state.latents[rows].to(latents)
            if state.x0 is not None:
                x0 = torch.empty_like(latents) if x0 is None else x0
                x0[resumed] = state.x0[rows].to(latents)
            if state.overflow is not None:
                overflow[resumed] = state.overflow.numpy()[rows]
            if served is not None and state.serves is not None:
                served[resumed] = state.serves.numpy()[rows]
            memory = tuple(leaf[rows].to(self.family.device) for leaf in state.memory)
            self.memory = join(self.memory, memory, resumed)
        if (parting := begins & self.renoised[nodes]).any():
            self._renoise(k, np.flatnonzero(parting), latents, x0)
        if served is not None and x0 is not None:
            self.parted, self.x0_before = begins & ~fresh & ~pictured & (_digests(self.keys) != served).any(axis=1), x0
        self._condition(nodes, begins)
        if self.hooked:
            self.hooked.enter(nodes, origin)
        self.nodes, self.latents, self.overflow = nodes, latents, overflow

    def _renoise(self, k: int, places: NDArray[np.int64], latents: Tensor, x0: Tensor | None) -> None:
        """Give the nodes at these places fresh noise before step k, in `latents` and in the scheduler's memory."""
        if x0 is None:
            raise ValueError(f"nodes begin at step {k} with fresh noise, and nobody has the x0 that they keep")
        drawn = self.noise.renoise([self.keys[place] for place in places], k, self.shape)
        strength, memory = self.settings.renoise, pick(self.memory, places)
        latents[places], memory = self.sampler.renoised(k, latents[places], x0[places], memory, drawn, strength)
        for whole, rows in zip(self.memory, memory, strict=True):
            whole[places] = rows

    def _export(self, k: int) -> None:
        """Export the state of the nodes that stop at step k, if anyone listens."""
        stop = np.flatnonzero(self.plan.stop[self.nodes] == k)
        if self.on_exit and len(stop):
            nodes = torch.from_numpy(self.nodes[stop])
            self.on_exit(
                NodeState(
                    k,
                    nodes,
                    self.latents[stop].cpu(),
                    tuple(leaf.cpu() for leaf in pick(self.memory, stop)),
                    torch.from_numpy(self.overflow[stop]),
                    None if self.x0 is None else self.x0[stop].cpu(),
                    torch.from_numpy(_digests([self.keys[place] for place in stop])) if self.settings.own_x0 else None,
                )
            )

    def _initial_state(self, k: int, nodes: NDArray[np.int64]) -> tuple[NodeState, NDArray[np.int64]]:
        """Return the initial state for step k, and int64 [n], the places of these nodes in it."""
        state = self.initial_states.get(k)
        known = np.empty(0, dtype=np.int64) if state is None else state.nodes.numpy()
        if state is None or not np.isin(nodes, known).all():
            raise ValueError(f"nodes begin at step {k} from initial states that were not given")
        return state, np.searchsorted(known, nodes)

    def _condition(self, nodes: NDArray[np.int64], begins: NDArray[np.bool_]) -> None:
        """Set the nodes' conditioning: combined when a node begins, kept while it runs."""
        if not begins.any() and np.array_equal(nodes, self.nodes):
            return
        # what others held is free before more is read
        self.conditioned = {node: self.conditioned[node] for node in nodes[~begins].tolist()}
        fresh = nodes[begins].tolist()
        self.conditioned.update(zip(fresh, self.conditioning.rows(self.plan, fresh), strict=True))

    def step(self, k: int) -> None:
        """Take every active node one step on."""
        memory: Rows | None = None
        self.alike = self._alike(k)
        self.x0 = torch.zeros_like(self.latents) if self._needs_x0(k) else None
        held: list[tuple[slice, Tensor]] = []
        self.batches.wanted = None if self.needed is None else self.needed[self.nodes]
        for rows, x0, remembered, fine in self.batches.map(len(self.nodes), lambda rows: self._timed_rows(k, rows)):
            held.append((rows, fine))
            self.calls += 1
            self.rows += rows.stop - rows.start
            memory = put(memory, rows, remembered, len(self.nodes))
            if self.x0 is not None:
                assert x0 is not None  # the sampler's checks have refused schedulers that tell none
                self.x0[rows] = x0
            for observer in self.observers:
                observer(k, self.nodes[rows], self.latents[rows], x0)
        self.pace.settle()
        self.memory = memory or ()
        if held:  # read once a step, when the device is waited for anyway
            stepped = np.concatenate([np.arange(rows.start, rows.stop) for rows, _ in held])
            lost = stepped[~torch.cat([fine for _, fine in held]).cpu().numpy()]
            self.overflow[lost[self.overflow[lost] < 0]] = k

    def _needs_x0(self, k: int) -> bool:
        """Return whether a node that begins after step k may need the x0 of it, here or in another part of the plan."""
        may = bool(self.settings.renoise or self.settings.own_x0)
        if may and self.on_exit and (self.plan.stop[self.nodes] == k + 1).any():
            return True
        if self.settings.own_x0 and (self.plan.first[self.plan.source >= 0] == k + 1).any():
            return True
        return bool((self.plan.first[self.renoised] == k + 1).any())

    def hopeless(self, k: int) -> bool:
        """Return whether no node that is active after step k, or begins later, can become a picture."""
        overflow = self.overflow if self.needed is None else self.overflow[self.needed[self.nodes]]
        if self.on_exit or self.staged or not len(overflow) or (overflow < 0).any():
            return False
        return not ((self.plan.source < 0) & (self.plan.first > k)).any()

    def finish(self, ends: NDArray[np.int64], prompts: NDArray[np.int64], options: dict[str, Any]) -> Execution:
        """Return the latents of these nodes, which are these prompts', and what they took."""
        if self.staged:
            self.nodes, self.latents, self.overflow = self.finished
        there = ends
        if not np.isin(ends, self.nodes).all():  # it was hopeless: those that the ends would have begun from
            there = np.array([self._ancestor(node) for node in ends.tolist()], dtype=np.int64)
        places = self._places(there)[self._filled(ends)]
        overflow = enumerate(self.overflow[places].tolist())
        return Execution(
            latents=self.latents[places].cpu(),
            prompts=prompts,
            calls=self.calls,
            rows=self.rows,
            batch_size_used=self.batches.size,
            notes=tuple(self.batches.notes),
            seconds_before=self.seconds_before,
            first_call=self.pace.first,
            steady=self.pace.steady,
            skipped=self.hooked.skipped if self.hooked else {},
            options=options,
            overflows={row: f"at step {k + 1} of {self.plan.steps}" for row, k in overflow if k >= 0},
        )

    def _ancestor(self, node: int) -> int:
        """Return the active node that a node's path goes through."""
        while node not in self.nodes:
            node = int(self.plan.source[node])
        return node

    def _timed_rows(self, k: int, rows: slice) -> tuple[slice, Tensor | None, Rows, Tensor]:
        return self.pace.call(rows.stop - rows.start, lambda: self._step_rows(k, rows))

    def _step_rows(self, k: int, rows: slice) -> tuple[slice, Tensor | None, Rows, Tensor]:
        # a scheduler may remember the very tensor it was given: it must not be the one that is written to below
        places = self._filled(self.nodes[rows]) + rows.start
        keys, latents = [self.keys[place] for place in places], self.latents[places].clone()
        own = [self.conditioned[node] for node in self.nodes[places].tolist()]
        conditioning = {name: torch.stack([row[name] for row in own]) for name in self.conditioning.shapes}
        settings = self.settings if self.guided[k] else self.unguided
        if self.hooked:
            output, done = self.hooked.predict(self.nodes[rows], latents, k, self.sampler, conditioning, settings)
        else:
            reuse = self.family.reuse
            with reuse.among(self.alike[places].tolist(), k) if reuse and self.guided[k] else nullcontext():
                output = self.family.predict(latents, k, self.sampler, conditioning, settings)
        memory = pick(self.memory, places)
        if (parted := np.flatnonzero(self.parted[places])).size:
            self._take_own_x0(k, parted, places[parted], output, latents, memory)
        after = self.sampler.step(
            output, k, latents, lambda shape, draw: self.noise.step(keys, k, shape[1:], draw), memory
        )
        self.latents[rows] = after.latents
        if self.hooked:
            done()
        return rows, after.x0, after.memory, within(output) & within(after.latents)

    def _alike(self, k: int) -> NDArray[np.int64]:
        """Return int64 [n], one number for all active nodes that begin at step k from one latent; -1: from their own.

        That is seen from the latents: siblings may begin in another part of a plan than the node that they begin from.
        """
        alike = np.full(len(self.nodes), -1)
        begin = np.flatnonzero((self.plan.first[self.nodes] == k) & (k > 0))
        if self.family.reuse and len(begin):
            sums = self.latents[begin].reshape(len(begin), -1).double().sum(1).cpu().numpy()
            _, groups, sizes = np.unique(sums, return_inverse=True, return_counts=True)
            alike[begin] = np.where(sizes[groups] > 1, groups, -1)
        return alike

    def _take_own_x0(
        self, k: int, rows: NDArray[np.int64], places: NDArray[np.int64], output: Tensor, latents: Tensor, memory: Rows
    ) -> None:
        """Have these rows of a batch, which are those places', take their own x0 for their cluster's, in place."""
        assert self.x0_before is not None
        output[rows], latents[rows], moved = self.sampler.with_own_x0(
            k, output[rows], latents[rows], self.x0_before[places], pick(memory, rows), self.settings.own_x0
        )
        for whole, part in zip(memory, moved, strict=True):
            whole[rows] = part

    def _filled(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places 0..n-1 of these nodes, for one that is not needed the place of the first that is."""
        places = np.arange(len(nodes))
        if self.needed is not None and (needed := self.needed[nodes]).any():
            places[~needed] = np.argmax(needed)
        return places

    def _places(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of these nodes among the active ones."""
        return np.searchsorted(self.nodes, nodes)

    def _key(self, node: int) -> str:
        return node_key([self.prompt_keys[prompt] for prompt in self.plan.members(node)])
