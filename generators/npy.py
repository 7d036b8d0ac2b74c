"""Plain .npy arrays from anywhere, never unpickled."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import input_file


def read_npy(path: Path, hint: str) -> NDArray[Any]:
    """Read the array in `path`.

    Args:
        hint: how to write such a file rightly.

    Raises:
        UserError: the file cannot be read, is no whole .npy file, or holds pickled objects.
    """
    try:
        with input_file(path).open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, EOFError, MemoryError) as error:
        raise UserError(f"{path} is no plain .npy array: {str(error) or type(error).__name__}", hint) from error
    return array
