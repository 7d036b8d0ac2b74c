"""The maximum mean discrepancy of two sets of pictures of the same prompts, by the kernels of CMMD and KID."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from common.errors import UserError
from metrics.statistics import LEVEL, Estimate, Floats, unit_rows

Kernel = Callable[[Floats], Floats]
METHOD = "jackknife"


def gaussian(cosines: Floats) -> Floats:
    """Return CMMD's kernel of unit rows, 1000 exp(-|x - y|^2 / (2 sigma^2)) with sigma = 10, from their cosines.

    Jayasumana et al. 2024, arXiv 2401.09603. The factor is their code's.

    Examples:
        >>> gaussian(np.array([1.0, 0.0])).round(3)
        array([1000.  ,  990.05])
    """
    return np.asarray(1000 * np.exp((cosines - 1) / 100))


def cubic(cosines: Floats) -> Floats:
    """Return KID's kernel, (x'y / D + 1)^3, of rows of length sqrt(D), from their cosines: (cos + 1)^3.

    Binkowski et al. 2018, arXiv 1801.01401. Rows of length 1 would make it linear: x'y / D is then next to nothing.

    Examples:
        >>> cubic(np.array([1.0, 0.0, -1.0]))
        array([8., 1., 0.])
    """
    return np.asarray((cosines + 1) ** 3)


def discrepancy(baseline: ArrayLike, ours: ArrayLike, kernel: Kernel, *, level: float = LEVEL) -> Estimate:
    """Return the unbiased estimate of the squared maximum mean discrepancy; 0 is expected of one distribution's sets.

    With h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) it is the mean of h over pairs i != j (Gretton et
    al., JMLR 13 (2012) 723-773, equation 4). No picture is held against the other set's picture of its own prompt, so
    that it stays unbiased though these two resemble each other, and is 0 for equal sets. The interval is Student's t
    with the jackknife's standard error.

    Args:
        baseline: embeddings of the baseline's pictures [N, D]; normalised here.
        ours: embeddings of our pictures of the same prompts [N, D].
        kernel: `gaussian` or `cubic`.
        level: nominal coverage.

    Returns:
        The kernel's unit; it can be below 0, as an unbiased estimate of 0 must.

    Raises:
        UserError: the shapes differ, there are not two pictures, or a row is not finite or has no length.

    Examples:
        >>> rows = np.eye(4)
        >>> discrepancy(rows, rows, cubic).value
        0.0
        >>> discrepancy(rows, np.roll(rows, 1, axis=1), cubic).value  # the same pictures, of other prompts
        -4.666666666666667
        >>> discrepancy([[1, 0], [1, 0]], [[0, 1], [0, 1]], cubic).value  # 8 + 8 - 1 - 1
        14.0
    """
    from scipy.stats import t

    x, y = unit_rows(baseline), unit_rows(ours)
    if x.shape != y.shape:
        raise UserError(f"embeddings {y.shape} are compared with {x.shape}", "give both sets of the same prompts")
    n = len(x)
    if n < 2:
        raise UserError(f"{n} image has no pairs", "a discrepancy needs at least two images")
    cross = kernel(x @ y.T)
    h = kernel(x @ x.T) + kernel(y @ y.T) - cross - cross.T
    np.fill_diagonal(h, 0.0)
    of_rows, total = h.sum(axis=1), float(h.sum())
    value = total / (n * (n - 1))
    if n < 4:
        return Estimate(value, None, None, n, "too few for an interval", level)
    without = (total - 2 * of_rows) / ((n - 1) * (n - 2))
    half = float(t.ppf(0.5 + level / 2, n - 1) * np.sqrt((n - 1) * without.var()))
    return Estimate(value, value - half, value + half, n, METHOD, level)
