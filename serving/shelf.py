"""What requests leave for later ones: latents, beside the rules that say who starts from which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from generators.node_states import NodeState
from generators.sharing.parts import PartPlan
from generators.sharing.plan import SharingPlan
from generators.sharing.stream import DIGITS

if TYPE_CHECKING:
    from generators.sharing.stream import Arrivals, Latent


@dataclass(frozen=True, eq=False)
class Begin:
    """Where a picture begins, and what it leaves.

    Attributes:
        k: the step that it begins before; 0: from noise.
        origin: from what: a state that was kept, or the place of another picture of its batch; None: from noise.
        keeps: the steps before which its latent is to be kept, rising.
        arrival: its number among those that the rules have seen; -1: they have not seen it.
        of: the id of the request whose latent it takes; None: nobody's.
        similarity: to the nearest request that has a latent; None where none has, or nobody looked.
    """

    k: int = 0
    origin: NodeState | int | None = None
    keeps: tuple[int, ...] = ()
    arrival: int = -1
    of: str | None = None
    similarity: float | None = None


class Shelf:
    """The latents that requests of one kind have left, and where the next begins.

    The rules are those that plans of whole streams follow from; similarities are exact inner products, as there.

    Args:
        rules: of a cache that nobody has come to yet.

    Attributes:
        states: the kept latents, one row each, by the arrival that left it and the step that it stands before; of rules
            that begin from finished pictures, the step that what begins from it begins before.
    """

    def __init__(self, rules: "Arrivals") -> None:
        self.states: dict[Latent, NodeState] = {}
        self._rules = rules
        self._rows: dict[int, NDArray[np.float64]] = {}
        self._ids: dict[int, str] = {}
        self._pending: set[Latent] = set()

    def __len__(self) -> int:
        return len(self.states)

    @property
    def names(self) -> int:
        """The requests under which latents are found: where all store, many may be found under one latent."""
        return len(self._rows)

    @property
    def whole(self) -> bool:
        """Whether every latent that the rules have counted on is here."""
        return not self._pending

    def arrive(self, row: NDArray[np.float64], name: str, making: Mapping[int, int]) -> Begin:
        """Return where the next request begins.

        Args:
            row: float64 [D], its features at length 1.
            name: its id.
            making: the places in its batch of the arrivals whose latents are still to be made.
        """
        i = len(self._rules)
        arrived = self._rules.arrive(lambda there: self._nearest(row))  # rows are of those that are there
        self._ids[i] = name
        begin = Begin(keeps=tuple(step for _, step in arrived.stored), arrival=i, similarity=arrived.similarity)
        if arrived.latent:
            owner, k = arrived.latent
            origin = self.source(arrived.latent, making)
            begin = Begin(k, origin, begin.keeps, i, self._ids[owner], arrived.similarity)
        self._pending.update(arrived.stored)
        for latent in arrived.gone:
            self._pending.discard(latent)
            self.states.pop(latent, None)
        self._rows[i] = row
        for lost in [one for one in self._rows if not self._rules.there[one]]:
            del self._rows[lost], self._ids[lost]
        return begin

    def source(self, latent: "Latent", making: Mapping[int, int]) -> NodeState | int:
        """Return what begins from a latent begins from: its state or, where it is being made, its picture's place."""
        return self.states[latent] if latent in self.states else making[latent[0]]

    def keep(self, latent: "Latent", state: NodeState) -> None:
        """Take a latent that was made, unless the rules have let it go meanwhile."""
        if latent in self._pending:
            self._pending.discard(latent)
            self.states[latent] = state

    def _nearest(self, row: NDArray[np.float64]) -> tuple[int, float] | None:
        """Return the arrival with a latent that is nearest, of equals the first, and its similarity."""
        if not self._rows:
            return None
        similar = np.round(np.stack(list(self._rows.values())) @ row, DIGITS)
        return list(self._rows)[int(np.argmax(similar))], float(similar.max())


def batch_plan(begins: Sequence[Begin], steps: int) -> tuple[PartPlan, list[NodeState], NDArray[np.int64]]:
    """Return the plan of pictures that begin so, each conditioned on its own prompt alone.

    Args:
        begins: one a picture; one that begins from another of the batch stands behind it.
        steps: K.

    Returns:
        The plan, cut wherever a latent is kept or begun from; the initial states of nodes that begin from what was
        kept; and int64 [n], the picture of each node.

    Examples:
        >>> plan, states, owner = batch_plan([Begin(keeps=(2, 5)), Begin(5, 0)], 10)
        >>> plan.node_steps, owner.tolist(), plan.source.tolist(), plan.first.tolist()
        (15, [0, 0, 0, 1], [-1, 0, 1, 1], [0, 2, 5, 5])
    """
    cuts = [set(begin.keeps) for begin in begins]
    for begin in begins:
        if isinstance(begin.origin, int):
            cuts[begin.origin].add(begin.k)
    nodes: list[tuple[int, int, int, int]] = []
    ending: dict[tuple[int, int], int] = {}
    resumed: dict[int, list[tuple[int, NodeState]]] = {}
    for place, begin in enumerate(begins):
        first, before = begin.k, -1
        if isinstance(begin.origin, int):
            before = ending[begin.origin, begin.k]
        elif begin.origin is not None:
            resumed.setdefault(begin.k, []).append((len(nodes), begin.origin))
        for stop in (*sorted(cut for cut in cuts[place] if cut > begin.k), steps):
            ending[place, stop] = len(nodes)
            nodes.append((first, stop, before, place))
            first, before = stop, len(nodes) - 1
    first_, stop_, source, own = np.array(nodes, dtype=np.int64).T
    count = len(begins)
    output = np.array([ending[place, steps] for place in range(count)])
    plan = PartPlan(count, steps, first_, stop_, source, np.arange(count), own, own + 1, output, "mean")
    return plan, [_joined(k, of_step) for k, of_step in sorted(resumed.items())], own


def picture_plan(begins: Sequence[Begin], steps: int) -> tuple[SharingPlan, list[NodeState]]:
    """Return the plan of pictures that begin from finished ones, and the states of those that were finished before.

    Nodes are the pictures, in order, and behind them those that were finished before, which are not denoised again.
    Arguments are those of `batch_plan`.

    Examples:
        >>> plan, before = picture_plan([Begin(keeps=(2, 5)), Begin(5, 0)], 10)
        >>> plan.first.tolist(), plan.picture.tolist(), before
        ([0, 5], [-1, 0], [])
    """
    count, before = len(begins), list[NodeState]()
    first, picture, own = [begin.k for begin in begins], [-1] * count, list(range(count))
    for place, begin in enumerate(begins):
        if isinstance(begin.origin, int):
            picture[place] = begin.origin
        elif begin.origin is not None:
            picture[place] = count + len(before)
            before.append(begin.origin)
            own.append(place)
    nodes = len(own)
    plan = SharingPlan(
        count,
        steps,
        first=np.array(first + [0] * len(before)),
        stop=np.full(nodes, steps),
        source=np.full(nodes, -1),
        order=np.arange(count),
        lo=np.array(own),
        hi=np.array(own) + 1,
        output=np.arange(count),
        combiner="mean",
        picture=np.array(picture + [-1] * len(before)),
    )
    return plan, before


def _joined(k: int, resumed: Sequence[tuple[int, NodeState]]) -> NodeState:
    """Return the initial state before step k of these nodes, ascending, each from a state of one row."""
    nodes, states = torch.tensor([node for node, _ in resumed]), [state for _, state in resumed]
    memory = tuple(torch.cat(leaves) for leaves in zip(*(state.memory for state in states), strict=True))
    overflow = torch.cat([torch.tensor([-1]) if state.overflow is None else state.overflow for state in states])
    return NodeState(k, nodes, torch.cat([state.latents for state in states]), memory, overflow)
