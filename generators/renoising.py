"""Which nodes of a plan begin with fresh noise: those that would otherwise make one picture with a sibling."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan


def renoised_nodes(plan: "SharingPlan", keys: Sequence[str]) -> NDArray[np.bool_]:
    """Return the nodes at whose beginning copies of one prompt part, bool [n].

    All prompts of such a node have one text, and its source serves others of that text: theirs would be the same
    picture, made from the same latents. A node that only goes on with its source's prompts is none, and which siblings
    are there does not matter: so a node is one or not in every part of a plan (`restricted`, `sharing.union`).

    Args:
        plan: whole, or of whole nodes with their sources.
        keys: one a prompt (`PromptSet.keys`): what stands before its last ``#`` is the same for equal texts.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> plan = build_plan(tree, get_schedule("eq7"), 1.0, 10)
        >>> renoised_nodes(plan, ["fox#0", "fox#1", "dog#0"]).tolist()
        [True, True, False, False, False]
    """
    _, texts = np.unique([key.rpartition("#")[0] for key in keys], return_inverse=True)
    of_place = texts.reshape(-1)[plan.order]
    places = len(of_place) + 1
    codes = np.sort(of_place * places + np.arange(len(of_place)))
    changes = np.cumsum(np.append(0, of_place[1:] != of_place[:-1]))
    alike = changes[plan.hi - 1] == changes[plan.lo]
    source, text = plan.source, of_place[plan.lo] * places
    start, stop = (np.searchsorted(codes, text + ends[source]) for ends in (plan.lo, plan.hi))
    fresh: NDArray[np.bool_] = (source >= 0) & alike & (stop > start)
    for node in np.flatnonzero(
        fresh
    ).tolist():  # a source need not serve what begins from it: planners let prompts join others
        of_text = plan.order[codes[start[node] : stop[node]] % places]
        fresh[node] = not set(of_text.tolist()) <= set(plan.members(node).tolist())
    return fresh
