"""Trees for the page: their shape, once for each series, and pictures of nodes' means where a study made them."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.pictures import read_picture
from generators.sharing.parting import shared_with_next
from generators.sharing.plan import SharingPlan
from generators.sharing.tree import Tree
from sweeps.record import Record

SIDE = 160  # pixels of a mean's picture
DIGITS = 5


def tree_of(run: Path, record: Record) -> Tree:
    """Return the tree of a cell's prompts.

    Raises:
        UserError: its file is missing or damaged.
    """
    return Tree.load(record.artifact(run, "tree.npz"))


def shape(tree: Tree) -> dict[str, Any]:
    """Return the tree as the page draws it: parents and heights by node, and the prompts in leaf order."""
    return {
        "parent": tree.parent.tolist(),
        "score": [float(f"{score:.{DIGITS}g}") for score in tree.score],
        "order": tree.leaf_order.tolist(),
    }


def parting(run: Path, record: Record, tree: Tree) -> list[int]:
    """Return, for each two neighbours in leaf order, the number of steps that the cell denoised them as one [N-1].

    Raises:
        UserError: the plan is missing, damaged or of other prompts.
    """
    path = record.artifact(run, "plan.npz")
    plan = SharingPlan.load(path)
    if plan.n_prompts != tree.n_leaves:
        raise UserError(f"{path} is of {plan.n_prompts} prompts, the tree of {tree.n_leaves}", "run the sweep again")
    return [int(steps) for steps in shared_with_next(plan, tree.leaf_order)]


def same_tree(one: Tree, other: Tree) -> bool:
    return np.array_equal(one.parent, other.parent) and np.array_equal(one.score, other.score)


def picture_uri(path: Path) -> str | None:
    """Return a picture as a small WebP data URI; None where none can be read."""
    from PIL import Image

    try:
        small = read_picture(path)
    except UserError:
        return None
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
