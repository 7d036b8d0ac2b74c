"""The memory of a device: what is free there, what others have of it, and giving it back when a phase ends."""

import gc

import torch

from common.memory import free_memory


def accelerator() -> str:
    """Return the kind of device beside the CPU that this process can use; ``cpu`` where there is none."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def give_back(device: torch.device | str) -> None:
    """Free what nothing refers to any more on a device, and let others have it.

    The hooks by which accelerate offloads a module refer to it and it to them: such weights stay until a collection.
    Main memory needs none of this.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return
    gc.collect()
    if kind == "cuda":
        torch.cuda.empty_cache()
    elif kind == "mps":
        torch.mps.empty_cache()


def synchronise(device: torch.device | str) -> None:
    """Wait for what a device was given to do."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def free_bytes(device: torch.device | str) -> int:
    """Return the bytes that are free on a device, what this process's allocator keeps for itself included."""
    kind = torch.device(device).type
    if kind == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    if kind == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return free_memory()


def own_bytes(device: torch.device | str) -> int:
    """Return the bytes that this process has on a device: its tensors or, in main memory, all of it."""
    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.memory_allocated(device))
    if kind == "mps":
        return int(torch.mps.current_allocated_memory())
    import psutil

    return int(psutil.Process().memory_info().rss)


def total_bytes(device: torch.device | str) -> int:
    """Return the bytes that a device has."""
    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if kind == "mps":
        return int(torch.mps.recommended_max_memory())
    import psutil

    return int(psutil.virtual_memory().total)
