"""Clustering strategies: their base, by which names they are found, and the features that they accept."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from common.memory import free_memory
from common.plugins import discover, find, imported
from common.units import size
from generators.parametrised import Parametrised
from generators.sharing.plan import Grouping
from generators.sharing.tree import Tree

PACKAGE, GROUP = "generators.strategies", "reusebench.strategies"
CHUNK = 1 << 14
LARGE = "partitioned-ward"  # the strategy for sets that others have no memory for


class Strategy(Parametrised):
    """A way to cluster prompts by their features.

    A plug-in gives a `tree` or, where no tree says how its prompts share, a planner; callers ask for the `grouping`,
    which is either. It declares its parameters as pydantic fields, so that they can be listed (``model_fields``),
    validated and hashed (``model_dump``); `complexity` and `memory` say what `grouping` costs for N prompts, in powers
    of N that `bench strategies check` reads, and `source` where it comes from. `pair_bytes` and `value_bytes` say the
    memory in numbers (`peak_bytes`), so that what does not fit is refused before anything runs. A `control` is there to
    be beaten, and drawn apart; of an `online` one the prompts arrive in an order, which matters by nature. It knows
    nothing of diffusion.
    """

    what: ClassVar[str] = "strategy"
    complexity: ClassVar[str] = ""
    memory: ClassVar[str] = ""
    pair_bytes: ClassVar[float | None] = None  # at most, of N^2; None: not known, and nothing is refused
    value_bytes: ClassVar[float] = 64  # at most, of N D: features are copied, put in order, told from equal ones
    control: ClassVar[bool] = False
    online: ClassVar[bool] = False

    def tree(self, features: NDArray[np.floating], *, seed: int = 0) -> Tree:
        """Cluster prompts.

        Args:
            features: [N, D] of floats, one row a prompt.
            seed: for strategies that draw at random; others ignore it.

        Raises:
            UserError: the features cannot be clustered (see `check_features`), or this strategy makes no trees.
        """
        raise UserError(f"the strategy {self.name!r} makes no tree: it plans by itself", "choose another strategy")

    def grouping(self, features: NDArray[np.floating], *, seed: int = 0) -> Grouping:
        """Return what plans are built from: the `tree`, unless the strategy plans by itself; arguments as there."""
        return self.tree(features, seed=seed)

    def peak_bytes(self, n: int, d: int) -> float:
        """Return the memory that `grouping` takes at most for [n, d] features, in bytes; 0 where it is not known."""
        return 0 if self.pair_bytes is None else self.pair_bytes * n * n + self.value_bytes * n * d


def grouped(
    strategy: Strategy,
    features: NDArray[np.floating],
    *,
    seed: int = 0,
    classes: NDArray[np.int64] | None = None,
) -> Grouping:
    """Return a strategy's grouping, if memory suffices for it.

    Args:
        strategy: which.
        features: [N, D], one row a prompt.
        seed: as `Strategy.tree`'s.
        classes: int64 [N]: only prompts of one number may share (`generators.prompts.classes`), so that each class is
            clustered by itself, and the trees are one forest; None: all may.

    Raises:
        UserError: as `Strategy.tree` and `refuse_too_large`, or as `refuse_planner` where there are classes.
    """
    if features.ndim == 2:
        refuse_too_large(strategy, *features.shape)
    try:
        if classes is None:
            return strategy.grouping(features, seed=seed)
        refuse_planner(strategy)
        rows = checked(features)
        order = np.argsort(classes, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(classes[order])) + 1)
        trees = [strategy.tree(rows[part], seed=seed) if len(part) > 1 else Tree.singletons(1) for part in parts]
        return Tree.forest(trees, parts)
    except MemoryError as error:
        raise _too_large(strategy, f"more memory than there is for {len(features):,} prompts") from error


def refuse_planner(strategy: Strategy) -> None:
    """Refuse a strategy that plans by itself, where some prompts may not share with others.

    Raises:
        UserError: it does.
    """
    if type(strategy).tree is Strategy.tree:
        raise UserError(
            f"the strategy {strategy.name!r} plans by itself and cannot keep prompts of several seeds or negative "
            "prompts apart",
            "choose another strategy, or leave those columns out",
        )


def refuse_too_large(strategy: Strategy, n: int, d: int = 1) -> None:
    """Refuse a strategy for which memory does not suffice, before anything runs.

    Args:
        strategy: which.
        n: how many prompts.
        d: the dimensions of their features; 1 where they are not known yet.

    Raises:
        UserError: it needs more than is free.
    """
    needed, free = strategy.peak_bytes(n, d), free_memory()
    if needed > free:
        raise _too_large(strategy, f"about {size(needed)} of memory for {n:,} prompts, and {size(free)} are free")


def _too_large(strategy: Strategy, what: str) -> UserError:
    if strategy.name == LARGE:
        return UserError(f"{LARGE} needs {what}", "make its parts smaller: partitioned-ward:part=1000")
    return UserError(
        f"the strategy {strategy.name!r} needs {what}",
        f"use --strategy {LARGE}, which clusters parts of the set (pip install 'reusebench[scale]'), or fewer prompts",
    )


def strategies() -> dict[str, type[Strategy]]:
    """Return every strategy, by name."""
    return discover(PACKAGE, Strategy, GROUP)


def split_name(text: str) -> tuple[str, str]:
    """Split what a user writes for a strategy into its name, or ``module:Class``, and the text of its parameters.

    Examples:
        >>> split_name("hdbscan:min_samples=2:min_cluster_size=4")
        ('hdbscan', 'min_samples=2:min_cluster_size=4')
        >>> split_name("my_module:MyStrategy:height=2")
        ('my_module:MyStrategy', 'height=2')
    """
    name, _, rest = text.partition(":")
    class_name, _, parameters = rest.partition(":")
    if not class_name or "=" in class_name:
        return name, rest
    if not name.replace(".", "").isidentifier() or name in strategies():
        return name, rest
    return f"{name}:{class_name}", parameters


def get_strategy(name: str, **parameters: Any) -> Strategy:
    """Return the strategy called `name`, or the one whose class is at ``module:Class``, with these parameters.

    Raises:
        UserError: there is none, it cannot run here, or it does not take them.
    """
    kind = _class_at(name) if ":" in name else find(name, PACKAGE, Strategy, GROUP)
    if reason := kind.unavailable():
        raise UserError(f"the strategy {name!r} cannot run here: {reason}", "see `bench strategies list`")
    return kind.configured(**parameters)


def _class_at(place: str) -> type[Strategy]:
    kind = imported(place)
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise UserError(f"{place} is no Strategy class", "derive it from generators.strategies.base.Strategy")
    if not kind.name:
        raise UserError(f"{place} has no name", 'give the class one: name = "my-strategy"')
    if strategies().get(kind.name, kind) is not kind:  # their cells would be one
        raise UserError(f"{place} calls itself {kind.name!r}, as another strategy does", "give the class another name")
    return kind


def check_features(features: ArrayLike, what: str = "features") -> NDArray[np.float64]:
    """Return the features as float64 [N, D], if they have directions to compare.

    Arguments and errors are those of `checked`.
    """
    return checked(features, what).astype(np.float64)


def checked(features: ArrayLike, what: str = "features") -> NDArray[np.floating]:
    """Return the features unchanged, if they have directions to compare; a memory map is read in chunks.

    Args:
        features: [N, D].
        what: what an error calls them.

    Raises:
        UserError: they are not 2-D floating-point numbers, there are none, or a row holds NaN or infinity, or has no
            norm above 0; the first such row is named, counting from 1.
    """
    matrix = np.asanyarray(features)
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.size:
        raise UserError(f"{what}: not [prompts, dimensions] of floats but {list(matrix.shape)} of {matrix.dtype}")
    for start in range(0, len(matrix), CHUNK):
        rows = matrix[start : start + CHUNK].astype(np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            norm = np.linalg.norm(rows, axis=1)
        if (np.isfinite(norm) & (norm > 0)).all():
            continue
        faults = {
            "holds NaN": np.isnan(rows).any(axis=1),
            "holds infinity": np.isinf(rows).any(axis=1),
            "is zero: it has no direction to compare": norm == 0,
            "is too large to take its norm": np.isinf(norm),
        }
        fault, bad = next((fault, bad) for fault, bad in faults.items() if bad.any())
        raise UserError(f"{what}: row {start + np.argmax(bad) + 1} of {len(matrix)} {fault}")
    return matrix
