"""Files of tensors that are whole or absent, and known for damaged where their content is not what was written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from common.files import atomic_path

DIGEST = "sha256"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors, and texts about them, as one safetensors file."""
    from safetensors.torch import save_file

    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as beside:
        save_file(kept, beside, metadata={**about, DIGEST: _digest(kept, about)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what `write_tensors` wrote: the tensors, and the texts about them.

    Raises:
        ValueError: the content is not what was written; damaged files fail in many other ways too.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        about = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    if about.pop(DIGEST) != _digest(tensors, about):
        raise ValueError("its content is not what was written")
    return tensors, about


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(about.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        if tensor.numel():  # of none there are no bytes, and some cannot be viewed as such
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
