"""``manifest.parquet``: the pictures of a set, a row each, for whoever takes them on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan
    from sweeps.delivery.files import Receipt
    from sweeps.jobs import Job

TABLE = "manifest.parquet"
NEAREST = 8  # siblings that a row names
NEEDED = ("prompt", "file")


@dataclass(frozen=True)
class Sharing:
    """What sharing saved each picture, and with whom it shared.

    Attributes:
        steps: float64 [N]; its share of the plan's denoiser evaluations: each counts once, divided by the pictures that
            pass through it, so that all shares add up to the plan's.
        siblings: the pictures it has the most steps in common with, nearest first, and those steps; `NEAREST` at most.
        others: int64 [N]; how many further pictures it has steps in common with.
    """

    steps: NDArray[np.float64]
    siblings: list[list[tuple[int, int]]]
    others: NDArray[np.int64]


def sharing(plan: "SharingPlan") -> Sharing:
    """Return what a plan shares, for each of its N prompts: O(N depth), however many share a step.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> tree = Tree.from_linkage([[0, 1, 0.2, 2], [2, 3, 0.5, 3]])
        >>> shared = sharing(build_plan(tree, get_schedule("eq7"), 1.0, 10))
        >>> shared.steps.round(2).tolist(), shared.siblings[0], shared.others.tolist()
        ([5.83, 5.83, 7.33], [(1, 7), (2, 4)], [0, 0, 0])
    """
    n, nodes = plan.n_prompts, len(plan.first)
    users, node = np.zeros(nodes, dtype=np.int64), plan.output.copy()
    some: list[list[int]] = [[] for _ in range(nodes)]
    while (here := node >= 0).any():
        users += np.bincount(node[here], minlength=nodes)
        for prompt in np.flatnonzero(here).tolist():
            if len(known := some[node[prompt]]) <= 2 * NEAREST:  # itself, the nearer ones, and as many again
                known.append(prompt)
        node = np.where(here, plan.source[node], -1)
    cost = (plan.stop - plan.first) / np.maximum(users, 1)
    steps, siblings, others = np.zeros(n), list[list[tuple[int, int]]](), np.zeros(n, dtype=np.int64)
    for prompt in range(n):
        near: dict[int, int] = {}
        end = most = int(plan.output[prompt])
        while end >= 0:
            steps[prompt] += cost[end]
            for other in some[end]:
                if len(near) < NEAREST and other != prompt:
                    near.setdefault(other, int(plan.stop[end]))
            most, end = end, int(plan.source[end])
        siblings.append(list(near.items()))
        others[prompt] = users[most] - 1 - len(near) if most >= 0 else 0
    return Sharing(steps, siblings, others)


def table(job: "Job", receipts: "Sequence[Receipt]", folder: str) -> bytes:
    """Return the Parquet file of a job's pictures, in prompt order.

    Args:
        job: with a plan.
        receipts: of its pictures.
        folder: in which they lie beside the table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sweeps.delivery.about import abouts

    assert job.plan
    about, shared = abouts(job), sharing(job.plan)
    said = [about(prompt) for prompt in range(len(receipts))]
    names = [f"{folder}/{receipt.name}" for receipt in receipts]
    ids = [receipt.name.removesuffix(job.files.format.suffix) for receipt in receipts]
    first: dict[str, str] = {}
    earlier = [first.setdefault(receipt.pixels, name) for receipt, name in zip(receipts, names, strict=True)]
    columns: dict[str, Any] = {
        "id": ids,
        "prompt": [one.prompt for one in said],
        "negative_prompt": [one.negative_prompt for one in said],
        "seed": pa.array([one.seed for one in said], pa.int64()),
        "file": names,
        "sha256": [receipt.sha256 for receipt in receipts],
        "width": pa.array([receipt.width for receipt in receipts], pa.int32()),
        "height": pa.array([receipt.height for receipt in receipts], pa.int32()),
        "tau": pa.array([float(one.tau) for one in said], pa.float64()),
        "model": [one.model for one in said],
        "steps_alone": pa.array([job.plan.steps] * len(said), pa.int32()),
        "steps_shared": pa.array(shared.steps, pa.float64()),
        "siblings": pa.array(
            [[{"id": ids[other], "steps": steps} for other, steps in near] for near in shared.siblings],
            pa.list_(pa.struct([("id", pa.string()), ("steps", pa.int32())])),
        ),
        "more_siblings": pa.array(shared.others, pa.int64()),
        "duplicate_of": pa.array(
            [None if name == other else other for name, other in zip(names, earlier, strict=True)], pa.string()
        ),
        "path": [one.path for one in said],
    }
    meta = {"run": job.id, "identity": dict(job.identity), "software": said[0].software}
    file = BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata({"reusebench": json.dumps(meta)}), file)
    return file.getvalue()


def read_table(folder: Path) -> Mapping[str, Sequence[str]] | None:
    """Return the prompts and files that the table in a folder names, by column; None where there is none.

    Raises:
        UserError: it cannot be read, or has not both.
    """
    path = folder / TABLE
    if not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        held: dict[str, list[str]] = pq.read_table(path, columns=list(NEEDED)).to_pydict()
        if any(not isinstance(cell, str) for name in NEEDED for cell in held[name]):
            raise ValueError("a row has no prompt or no file")
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UserError(
            f"cannot read {path}: {' '.join(str(error).split())}", "run the `bench generate` that made it again"
        ) from error
    return held
