"""Runs a sharing plan on a model family. Knows nothing of clustering; `standard` is just another plan."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.batching import Batches
from generators.conditioning import Conditioning
from generators.denoiser_caches.hooked import Hooked, hooked
from generators.families.base import Family
from generators.history import Rows, join, pick, put
from generators.noise import NoiseSource, node_key
from generators.pace import Pace
from generators.settings import GenerationSettings
from generators.states import Handed, State, States

if TYPE_CHECKING:
    from generators.denoiser_caches.base import DenoiserCache
    from generators.sharing.plan import SharingPlan

# (k, plan nodes [b], their latents after step k, the x0 predicted at step k or None)
Observer = Callable[[int, NDArray[np.int64], Tensor, Tensor | None], None]


@dataclass(frozen=True, eq=False)
class Execution:
    """What a plan's run gave and what it took.

    Attributes:
        latents: [R, *latent shape] on the CPU, in the family's dtype.
        prompts: [R]; the prompt of each row. Of a plan that was neither restricted nor united with others: all of them.
        calls: denoiser calls that succeeded, those before a resumption included.
        rows: plan nodes denoised over all calls; the plan's `node_steps`.
        batch_size_used: rows a batch at the end: less than asked if memory ran out.
        notes: what happened on the way that a record should say.
        seconds_before: that it had taken when it was taken up again.
        first_call: seconds of the first denoiser call (see `Pace`).
        steady: mean seconds a row of the others, since a resumption if there was one; both None where there was none.
        skipped: under a denoiser cache, by the path of a module in the denoiser, for how many rows it was skipped.
        options: what of the family's `acceleration` held.
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
    states: States | None = None,
    given: Sequence[Handed] = (),
    hand_on: Callable[[Handed], None] | None = None,
    cache: "DenoiserCache | None" = None,
) -> Execution:
    """Denoises every node of `plan` over its steps (Algorithm 1 of the paper).

    At each step the active nodes are taken in ascending order, `batch_size` at a time; a node that
    begins takes its source's latent, or fresh noise where it has none.

    Args:
        keys: one a prompt, the same for the same picture wherever it is made (`PromptSet.keys`).
        observers: called after every batch with (k, nodes, latents, predicted x0); what they keep of the
            latents they copy.
        ends: the nodes, each denoised to the end, whose latents are wanted, and whose they are ([R] both); the
            plan's outputs unless given (see `sharing.union`).
        states: where the run's state is kept from time to time, and taken up again if it is there.
        given: of a part of a plan (see `sharing.parts`), what its nodes begin from that begin from no node of it, one
            a step.
        hand_on: hears of nodes that stop before the end, where they do.
        cache: reuse between the steps of each path; what it remembers is neither kept in states nor handed over.

    Raises:
        UserError: memory runs out with a single node in the batch.
        ValueError: plan, conditioning, keys and scheduler do not belong together.
    """
    options = family.accelerate()
    batches = Batches(batch_size, few_sizes=family.acceleration.compiled)
    run = _Run(plan, family, conditioning, keys, settings, noise, batches, observers)
    run.given, run.hand_on = {each.k: each for each in given}, hand_on
    if cache and (states or given or hand_on):
        raise ValueError("a run under a denoiser cache is whole, from its first step to its last")
    with hooked(cache, family) as run.hooked:
        for k in range(run.resume(states.load() if states else None), plan.steps):
            run.enter(k)
            run.step(k)
            if states and states.due(last=k + 1 == plan.steps):
                states.save(run.state(k + 1))
    return run.finish(*(plan.ends if ends is None else ends), options)


def decode_images(
    family: Family,
    execution: Execution,
    keys: Sequence[str],
    settings: GenerationSettings,
    *,
    noise: NoiseSource,
    batches: Batches,
) -> Iterator[NDArray[np.uint8]]:
    """The pictures of finished latents in order, a batch at a time: uint8 [b, height, width, 3].

    What decoding draws belongs to the prompt alone, wherever its latents come from; it is drawn as if in one more step.

    Args:
        keys: as `execute` had them, one a prompt of the plan.
    """
    end, own = family.sampler(settings).K, [node_key([keys[prompt]]) for prompt in execution.prompts]

    def decoded(rows: slice) -> NDArray[np.uint8]:
        return family.decode(
            execution.latents[rows], settings, lambda shape, draw: noise.step(own[rows], end, shape[1:], draw)
        )

    return batches.each(len(own), decoded)


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
        self.shape = self.family.latent_shape(self.settings)
        self.nodes: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.latents = torch.empty(0, *self.shape, dtype=self.family.dtype, device=self.family.device)
        self.memory: Rows = ()
        self.conditioned: dict[str, Tensor] = {}
        self.keys: list[str] = []
        self.calls = self.rows = 0
        self.pace = Pace(self.family.device)
        self.start, self.seconds_before = time.perf_counter(), 0.0
        self.given: dict[int, Handed] = {}
        self.hand_on: Callable[[Handed], None] | None = None
        self.hooked: Hooked | None = None

    def resume(self, state: State | None) -> int:
        """Be as `state` says; the step to go on with, the first if there is none."""
        if state is None:
            return 0
        self.nodes = state.nodes.numpy()
        self.latents = state.latents.to(self.latents)
        self.memory = tuple(leaf.to(self.family.device) for leaf in state.memory)
        self.calls, self.rows, self.batches.size = state.calls, state.rows, state.batch_size
        self.seconds_before = state.seconds
        self.keys = [self._key(node) for node in self.nodes.tolist()]
        self._condition(self.nodes, np.ones(len(self.nodes), dtype=np.bool_))
        self.batches.notes.append(f"taken up again after step {state.k} of {self.plan.steps}")
        return state.k

    def state(self, k: int) -> State:
        """What `resume` needs to go on with step k."""
        nodes = torch.from_numpy(self.nodes)
        seconds = self.seconds_before + time.perf_counter() - self.start
        return State(k, nodes, self.latents, self.memory, self.calls, self.rows, self.batches.size, seconds)

    def enter(self, k: int) -> None:
        """Nodes that begin at step k take their places; those that stopped leave."""
        nodes = self.plan.active(k)
        if np.array_equal(nodes, self.nodes):
            return
        self._hand_on(k)
        begins = self.plan.first[nodes] == k
        origin = np.where(begins, self.plan.source[nodes], nodes)
        given = (origin < 0) & (k > 0)
        fresh = (origin < 0) & ~given
        places = self._places(origin[origin >= 0])
        latents = torch.empty(len(nodes), *self.shape, dtype=self.family.dtype, device=self.family.device)
        latents[origin >= 0] = self.latents[places]
        known = dict(zip(self.nodes.tolist(), self.keys, strict=True))
        self.keys = [known.get(node) or self._key(node) for node in nodes.tolist()]
        if fresh.any():
            drawn = self.noise.initial([self.keys[i] for i in np.flatnonzero(fresh)], self.shape)
            latents[fresh] = drawn.to(latents) * self.sampler.init_sigma
        if self.memory:
            self.memory = pick(self.memory, places)
        if given.any():
            handed, rows = self._given(k, nodes[given])
            latents[given] = handed.latents[rows].to(latents)
            memory = tuple(leaf[rows].to(self.family.device) for leaf in handed.memory)
            self.memory = join(self.memory, memory, given)
        self._condition(nodes, begins)
        if self.hooked:
            self.hooked.enter(nodes, origin)
        self.nodes, self.latents = nodes, latents

    def _hand_on(self, k: int) -> None:
        """Tell of the nodes that stop at step k."""
        stop = np.flatnonzero(self.plan.stop[self.nodes] == k)
        if self.hand_on and len(stop):
            nodes = torch.from_numpy(self.nodes[stop])
            self.hand_on(
                Handed(k, nodes, self.latents[stop].cpu(), tuple(leaf.cpu() for leaf in pick(self.memory, stop)))
            )

    def _given(self, k: int, nodes: NDArray[np.int64]) -> tuple[Handed, NDArray[np.int64]]:
        """What was handed over for step k, and where these nodes are in it."""
        handed = self.given.get(k)
        known = np.empty(0, dtype=np.int64) if handed is None else handed.nodes.numpy()
        if handed is None or not np.isin(nodes, known).all():
            raise ValueError(f"nodes begin at step {k} from latents that were not given")
        return handed, np.searchsorted(known, nodes)

    def _condition(self, nodes: NDArray[np.int64], begins: NDArray[np.bool_]) -> None:
        """The nodes' conditioning, [n nodes, ...]: combined when a node begins, kept while it runs."""
        fresh = self.conditioning.rows(self.plan, nodes[begins]) if begins.any() else {}
        places = self._places(nodes[~begins])
        for name, tensor in self.conditioning.tensors.items():
            rows = torch.empty(len(nodes), *tensor.shape[1:])
            if name in fresh:
                rows[begins] = fresh[name]
            if len(places):
                rows[~begins] = self.conditioned[name][places]
            self.conditioned[name] = rows

    def step(self, k: int) -> None:
        """Every active node one step on."""
        memory: Rows | None = None
        for rows, x0, remembered in self.batches.each(len(self.nodes), lambda rows: self._timed_rows(k, rows)):
            self.calls += 1
            self.rows += rows.stop - rows.start
            memory = put(memory, rows, remembered, len(self.nodes))
            for observer in self.observers:
                observer(k, self.nodes[rows], self.latents[rows], x0)
        self.pace.settle()
        self.memory = memory or ()

    def finish(self, ends: NDArray[np.int64], prompts: NDArray[np.int64], options: dict[str, Any]) -> Execution:
        """The latents of these nodes, which are these prompts'."""
        return Execution(
            latents=self.latents[self._places(ends)].cpu(),
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
        )

    def _timed_rows(self, k: int, rows: slice) -> tuple[slice, Tensor | None, Rows]:
        return self.pace.call(rows.stop - rows.start, lambda: self._step_rows(k, rows))

    def _step_rows(self, k: int, rows: slice) -> tuple[slice, Tensor | None, Rows]:
        # a scheduler may remember the very tensor it was given: it must not be the one that is written to below
        keys, latents = self.keys[rows], self.latents[rows].clone()
        conditioning = {name: tensor[rows] for name, tensor in self.conditioned.items()}
        if self.hooked:
            output, done = self.hooked.predict(self.nodes[rows], latents, k, self.sampler, conditioning, self.settings)
        else:
            output = self.family.predict(latents, k, self.sampler, conditioning, self.settings)
        after = self.sampler.step(
            output,
            k,
            latents,
            lambda shape, draw: self.noise.step(keys, k, shape[1:], draw),
            pick(self.memory, rows),
        )
        self.latents[rows] = after.latents
        if self.hooked:
            done()
        return rows, after.x0, after.memory

    def _places(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where these nodes' latents are among the active ones."""
        return np.searchsorted(self.nodes, nodes)

    def _key(self, node: int) -> str:
        return node_key([self.prompt_keys[prompt] for prompt in self.plan.members(node)])
