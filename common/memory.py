"""How much main memory is free, and what libraries say when it ends."""

from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")

# PyTorch's allocators, cuDNN and cuBLAS, without a class of its own
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on an accelerator or the CPU.

    Examples:
        >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."))
        True
        >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's, not imported here
    return named or any(text in str(error) for text in OUT_OF_MEMORY)


def free_memory() -> int:
    """Return the bytes of main memory that this process can still take.

    That is what the machine has free or, where that is less, what a container's limit (cgroup) or the shell's (`ulimit
    -v`, `ulimit -d`) leaves.
    """
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *_left_by_cgroups(), *_left_by_limits()]))


def _left_by_limits() -> list[int]:
    import psutil

    left = []
    with suppress(ImportError, OSError):  # Windows has no such limits
        import resource

        for limit, kind in ((resource.RLIMIT_AS, "vms"), (resource.RLIMIT_DATA, "data")):
            most, _ = resource.getrlimit(limit)
            used = getattr(psutil.Process().memory_info(), kind, None)
            if most != resource.RLIM_INFINITY and used is not None:
                left.append(most - int(used))
    return left


def _left_by_cgroups() -> list[int]:
    """Return what the limits of this process's cgroup, and of those above it, leave; file caches count as free."""
    left = []
    with suppress(OSError, ValueError):
        for line in OWN_CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                root, names = CGROUP, ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                root = CGROUP / "memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            own = root / path.lstrip("/")
            left += [bytes_left for folder in (own, *own.parents) if (bytes_left := _left(folder, *names)) is not None]
    return left


def _left(folder: Path, limit: str, used: str, cached: str) -> int | None:
    with suppress(OSError, ValueError):  # no limit, or none that can be read
        cache = 0
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            cache = int(value) if name == cached else cache
        return int((folder / limit).read_text()) - int((folder / used).read_text()) + cache
    return None
