"""Library versions and the machine, recorded beside every result and never part of its identity."""

import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from common.errors import UserError

LOG = logging.getLogger("reusebench")
# Where Linux shows a graphics card to those who may use it: NVIDIA's, also in the Windows subsystem, and AMD's.
CARDS = (Path("/dev/nvidia0"), Path("/dev/dxg"), Path("/dev/kfd"))
LIBRARIES = ("reusebench", "torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy", "pillow")


@cache
def commit() -> str | None:
    """Return the git commit of this code, with ``-dirty`` where files differ from it; None where it is no checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # installed, perhaps below somebody else's repository
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide numbers; of a checkout, its git commit too."""
    known = {"python": platform.python_version()}
    if checkout := commit():
        known["commit"] = checkout
    for library in LIBRARIES:
        try:
            known[library] = version(library)
        except PackageNotFoundError:
            continue
    return known


def changed_versions(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the libraries that had another version then, with both versions, as one phrase; empty where none has.

    Examples:
        >>> changed_versions({"torch": "2.5.0", "numpy": "2.1.0"}, {"torch": "2.6.0", "numpy": "2.1.0"})
        'torch 2.5.0 (now 2.6.0)'
        >>> changed_versions({"numpy": "2.1.0"}, {"numpy": "2.1.0", "torch": "2.6.0"})
        ''
    """
    return ", ".join(f"{name} {old} (now {now.get(name)})" for name, old in then.items() if now.get(name) != old)


def machine(device: str) -> dict[str, Any]:
    """Return what the computer and the device are that images are made on."""
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


def unused_card() -> str | None:
    """Return why PyTorch cannot use a graphics card that this machine has; None where it can, or there is none."""
    import torch

    found = [place for place in CARDS if place.exists()]
    if torch.cuda.is_available() or not (found or shutil.which("nvidia-smi")):
        return None
    if torch.version.cuda is None and torch.version.hip is None:
        return f"PyTorch {torch.__version__} was built without CUDA: install a build for your driver (pytorch.org)"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={hidden} hides it"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().partition("\n")[0]
    return "PyTorch finds no device, and does not say why: see what nvidia-smi says"


def checked_device(asked: str | None = None) -> str:
    """Return the requested device, else ``cuda`` where there is one, else ``cpu``.

    A card that is there and cannot be used is told of, once: on the CPU the large models take days.

    Raises:
        UserError: this machine has none such.
    """
    import torch

    from generators.families.base import torch_device

    if asked is None and (reason := unused_card()):
        _warn_once(f"this machine has a graphics card, and the CPU is used: {reason}; --device cpu to want that")
    device = torch_device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "meta":
        raise UserError("the device 'meta' holds no numbers", "use --device cpu")
    return str(device)


@cache
def _warn_once(text: str) -> None:
    LOG.warning(text)
