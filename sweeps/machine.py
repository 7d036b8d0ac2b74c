"""What ran: library versions and the machine, recorded beside every result and never part of its identity."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

LIBRARIES = ("reusebench", "torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy", "pillow")


@cache
def versions() -> dict[str, str]:
    """Python and the libraries that decide numbers, by distribution name."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str) -> dict[str, Any]:
    """The computer and the device that images are made on."""
    import psutil

    about: dict[str, Any] = {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": device,
    }
    if device.startswith("cuda"):
        import torch

        about["accelerator"] = torch.cuda.get_device_name(device)
    return about


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
