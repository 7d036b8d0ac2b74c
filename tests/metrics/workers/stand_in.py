"""Not a scorer: a stand-in that speaks the protocol through the shipped worker's own loop, and misbehaves when asked.

Its score is a hash of the picture and the prompt (see `score_of` in the tests), and words in a prompt make it crash,
hang, fail, print, or give no number. Its checkpoint is a folder: ``memory`` in it says how many pictures fit at once,
with ``crash`` it always crashes, ``loads`` gets a line for every load. ``alive`` is a named pipe: whoever hangs writes
there once and holds it open, and so does what it started, so that its reader sees when both are gone.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[3] / "metrics" / "workers" / "t2v.py"
spec = importlib.util.spec_from_file_location("shipped", SHIPPED)
assert spec
assert spec.loader
shipped = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shipped)


class StandIn:
    name, version = Path(__file__).stem, 1
    packages = ()

    def __init__(self, progress):
        self.progress = progress
        self.folder = None

    def open(self, checkpoint, device):
        self.folder = Path(checkpoint)
        if not self.folder.is_dir():
            raise shipped.RefusedError(f"the stand-in has no {checkpoint}", "give a folder")
        return {"question": "{}?", "answer": "yes", "dtype": "none", "folders": {"model": checkpoint}}

    def check(self, prompts):
        for prompt in prompts:
            if "refuse" in prompt:
                raise shipped.RefusedError(f"the stand-in does not take {prompt!r}", "take another")

    def load(self):
        self.progress("loading the stand-in", 0, 1)
        with (self.folder / "loads").open("a") as loads:
            loads.write(f"{os.getpid()}\n")
        if (self.folder / "too-large").exists():
            raise MemoryError("no room")

    def score(self, images, prompts):
        if (self.folder / "crash").exists():
            os._exit(7)
        memory = self.folder / "memory"
        if memory.exists() and len(images) > int(memory.read_text()):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return {"scores": [self._score(*pair) for pair in zip(images, prompts, strict=True)]}

    def free(self):
        if self.folder:
            (self.folder / "freed").touch()

    def _score(self, image, prompt):
        if "print" in prompt:
            print("a library says something")
            os.system("echo and so does a program")
        if "crash" in prompt:
            print("Fatal: the stand-in was told to crash", file=sys.stderr, flush=True)
            os._exit(7)
        if "killed" in prompt:
            os.kill(os.getpid(), 9)
        if "hang" in prompt:
            alive = os.open(self.folder / "alive", os.O_WRONLY)
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[alive])
            os.write(alive, b"hanging")
            time.sleep(600)
        if "fail" in prompt:
            raise ValueError("the stand-in was told to fail")
        if "no number" in prompt:
            return float("nan")
        digest = hashlib.sha256(Path(image).read_bytes() + prompt.encode()).hexdigest()
        return int(digest[:8], 16) / 16**8


if __name__ == "__main__":
    shipped.serve(StandIn)
