"""Ready prompt embeddings from a file, to plan with no model at all."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.npy import read_npy
from generators.strategies.base import check_features

PREFERRED = "image_embeds"


def load_embeddings(path: Path, n_prompts: int | None = None) -> NDArray[np.float64]:
    """The embeddings in a .npy or .safetensors file, as float64 [N, D].

    Of several tensors in a .safetensors file, ``image_embeds`` is meant.

    Args:
        n_prompts: how many there must be, if prompts go with them.

    Raises:
        UserError: the file cannot be read, does not say which tensor is meant, holds something else than
            [N, D] floating-point numbers with directions to compare, or another number of them.
    """
    path = Path(path)
    readers = {".npy": _npy, ".safetensors": _safetensors}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} is no embeddings file", "embeddings are read from " + ", ".join(readers))
    features = check_features(readers[path.suffix.lower()](path), str(path))
    if n_prompts is not None and len(features) != n_prompts:
        raise UserError(f"{path} holds {len(features)} embeddings for {n_prompts} prompts", "give one row a prompt")
    return features


def _npy(path: Path) -> NDArray[Any]:
    return read_npy(path, "write it with numpy.save(path, embeddings), float32 [prompts, dimensions]")


def _safetensors(path: Path) -> NDArray[Any]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"cannot read {path}: no such file")
    try:
        with safe_open(path, framework="np") as stored:
            names = list(stored.keys())
            if PREFERRED not in names and len(names) != 1:
                raise UserError(f"{path} holds {', '.join(names) or 'nothing'}", f"name the embeddings {PREFERRED!r}")
            name = PREFERRED if PREFERRED in names else names[0]
            bfloat16 = stored.get_slice(name).get_dtype() == "BF16"
            array: NDArray[Any] | None = None if bfloat16 else stored.get_tensor(name)
        if array is None:  # NumPy has no bfloat16
            with safe_open(path, framework="pt") as stored:
                array = stored.get_tensor(name).float().numpy()
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}", "it may be damaged; write it again") from error
    return array
