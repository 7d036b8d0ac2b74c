"""`bench`, killed by the kernel at its N-th checkpoint: python killed_bench.py between|inside N ARGUMENT..."""

import os
import signal
import sys
from pathlib import Path

import safetensors.torch

from bench.main import main
from generators.denoising_checkpoints import Checkpoint, DenoisingCheckpoints

when, last = sys.argv[1], int(sys.argv[2])
sys.argv = ["bench", *sys.argv[3:]]
save, save_file = DenoisingCheckpoints.save, safetensors.torch.save_file
saved = 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counted(self: DenoisingCheckpoints, checkpoint: Checkpoint) -> None:
    """Killed once the N-th checkpoint is there."""
    global saved
    saved += 1
    save(self, checkpoint)
    if saved == last and when == "between":
        die()


def torn(tensors, path, metadata=None) -> None:
    """Killed with half of the N-th checkpoint on disk."""
    save_file(tensors, path, metadata)
    if saved == last and when == "inside" and "state-" in str(path):
        os.truncate(path, Path(path).stat().st_size // 2)
        die()


DenoisingCheckpoints.save = counted
safetensors.torch.save_file = torn
main()
