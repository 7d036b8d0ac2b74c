"""CLIP-FlanT5 through t2v-metrics: a worker, run in the environment that t2v.toml describes. It imports none of ours.

docs/workers.md has the protocol. The first half of this file is any worker's; the second is this scorer.
"""

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

PROTOCOL = 1
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
Progress = Callable[[str, int, int], None]


class RefusedError(Exception):
    """Something that a person can mend."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def serve(kind: Any) -> None:
    """Answer requests, one after the other, until standard input ends.

    Args:
        kind: a class with `name`, `version` and `packages`, constructed with a `Progress`; its methods are `open`,
            `check`, `load`, `score` and `free`.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to the log, and is no reply

    def say(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message).encode() + b"\n")
        replies.flush()

    requests: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_read, args=(requests,), daemon=True).start()
    packages = {package: version(package) for package in kind.packages}
    say({"hello": {"protocol": PROTOCOL, "worker": kind.name, "version": kind.version, "packages": packages}})
    scorer = kind(lambda text, done, total: say({"progress": text, "done": done, "total": total}))
    try:
        while True:
            say(_answer(scorer, requests.get()))
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # an orderly end would wait for the thread that reads


def _read(requests: "SimpleQueue[bytes]") -> None:
    """Queue requests, in a thread of its own: it sees at once, in the middle of any work, that the harness is gone."""
    for line in sys.stdin.buffer:
        requests.put(line)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with whatever a library started
    os._exit(0)


def _answer(scorer: Any, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        handlers = {"open": scorer.open, "check": scorer.check, "load": scorer.load, "score": scorer.score}
        return {"result": handlers[request.pop("do")](**request) or {}}
    except RefusedError as error:
        return {"error": {"kind": "refused", "message": str(error), "hint": error.hint}}
    except Exception as error:
        traceback.print_exc()
        kind = "memory" if _out_of_memory(error) else "failed"
        failure = {"kind": kind, "message": f"{type(error).__name__}: {error}", "hint": ""}
    scorer.free()  # out here the traceback is gone, and with it what held the memory
    return {"error": failure}


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(text in str(error) for text in OUT_OF_MEMORY)


class ClipFlanT5:
    """A CLIP-FlanT5 that t2v-metrics knows by name, or a folder with one and its tokenizer."""

    name, version = "t2v", 1
    packages = ("t2v-metrics", "torch", "torchvision", "transformers", "pillow")
    # the files to fetch of each part, named as in the hub's repositories
    files = {  # noqa: RUF012
        "model": ["*.json", "*.bin", "*.safetensors"],
        "tokenizer": ["config.json", "tokenizer*", "special_tokens_map.json", "spiece.model"],
        "vision_tower": ["*.json", "pytorch_model.bin", "model.safetensors"],
    }

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.scorer: Any = None

    def open(self, checkpoint: str, device: str) -> dict[str, Any]:
        """Find the parts, and return what the scores come from; the hub is asked for revisions, not for weights."""
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # the weights are pickles: tensors are all that is read
        import torch
        from t2v_metrics.models.vqascore_models import clip_t5_model as t2v

        if device.startswith("cuda") and not torch.cuda.is_available():
            hint = "update the driver, or score with --device cpu"
            raise RefusedError(f"torch {torch.__version__} of the worker's environment finds no CUDA device", hint)
        if Path(checkpoint).is_dir():
            about: dict[str, Any] = {
                "tokenizer": {"path": checkpoint, "model_max_length": t2v.CONTEXT_LEN},
                "model": {"path": checkpoint, "conversation": "t5_chat", "image_aspect_ratio": "pad"},
            }
        elif checkpoint in t2v.CLIP_T5_MODELS:
            about = t2v.CLIP_T5_MODELS[checkpoint]
        else:
            known = ", ".join(t2v.CLIP_T5_MODELS)
            raise RefusedError(f"t2v-metrics has no CLIP-FlanT5 {checkpoint}", f"give a folder, or one of {known}")
        self.about, self.checkpoint, self.device = about, checkpoint, device
        self.parts = {"model": about["model"]["path"], "tokenizer": about["tokenizer"]["path"]}
        self.revisions: dict[str, str] = {}
        config = json.loads((self._folder("model", ["config.json"]) / "config.json").read_text(encoding="utf-8"))
        if "mm_vision_tower" not in config:
            raise RefusedError(f"{checkpoint} is no CLIP-FlanT5", "its config.json names no mm_vision_tower")
        self.parts["vision_tower"] = config["mm_vision_tower"]
        for part in ("tokenizer", "vision_tower"):
            self._folder(part, ["config.json"])
        return {
            "question": t2v.default_question_template,
            "answer": t2v.default_answer_template,
            "dtype": "bfloat16" if device.startswith("cuda") else "float32",
            "folders": {part: place for part, place in self.parts.items() if part not in self.revisions},
            "revisions": self.revisions,
        }

    def check(self, prompts: list[str]) -> None:
        """Fetch everything, and refuse a prompt that t2v-metrics would cut or take for a picture."""
        from t2v_metrics.models.vqascore_models import clip_t5_model as t2v
        from transformers import AutoTokenizer

        folder = self._fetched()["tokenizer"]
        limit, style = self.about["tokenizer"]["model_max_length"], self.about["model"]["conversation"]
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=False, model_max_length=limit)
        too_long: dict[int, int] = {}
        for number, prompt in enumerate(prompts, 1):
            if t2v.DEFAULT_IMAGE_TOKEN in prompt:
                what = f"prompt {number} holds {t2v.DEFAULT_IMAGE_TOKEN}"
                raise RefusedError(f"{what}, which is where t2v-metrics puts the picture", "take it out")
            question = t2v.format_question(t2v.default_question_template.format(prompt), style)
            length = len(t2v.t5_tokenizer_image_token(question, tokenizer))
            if length > limit:
                too_long[number] = length
        if too_long:
            numbers, most = ", ".join(map(str, too_long)), max(too_long.values())
            what = f"prompts {numbers} make questions" if len(too_long) > 1 else f"prompt {numbers} makes a question"
            raise RefusedError(
                f"{what} of up to {most} tokens, the scorer reads {limit}", "shorten them or use another scorer"
            )

    def load(self) -> None:
        """Load the model onto its device."""
        import t2v_metrics
        from huggingface_hub.constants import HF_HUB_CACHE
        from t2v_metrics.models.vqascore_models import clip_t5_model as t2v

        folders = self._fetched()
        t2v.CLIP_T5_MODELS[self.checkpoint] = {
            part: {**about, "path": str(folders[part])} for part, about in self.about.items()
        }
        self.progress(f"loading {self.checkpoint} on {self.device}", 0, 1)
        self.scorer = t2v_metrics.VQAScore(model=self.checkpoint, device=self.device, cache_dir=HF_HUB_CACHE)
        if not self.device.startswith("cuda"):
            self.scorer.model.model.float()  # its bfloat16 weights rely on CUDA's autocast

    def score(self, images: list[str], prompts: list[str]) -> dict[str, list[float]]:
        """Return t2v-metrics' score of every pair, 0 to 1."""
        return {"scores": self.scorer.model.forward(images, prompts).tolist()}

    def free(self) -> None:
        """Give back what an unfinished request held."""
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fetched(self) -> dict[str, Path]:
        """Fetch every part, and return their folders."""
        folders = {}
        for number, part in enumerate(self.files):
            if part in self.revisions:
                self.progress(f"fetching {self.parts[part]}", number, len(self.files))
            folders[part] = self._folder(part, self.files[part])
        return folders

    def _folder(self, part: str, patterns: list[str]) -> Path:
        """Return a part's folder; of a hub id, with the files of these patterns, all of one revision."""
        place = self.parts[part]
        if Path(place).is_dir():
            return Path(place)
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(place, revision=self.revisions.get(part), allow_patterns=patterns))
        except Exception as error:  # network, hub and cache errors share no base class
            hint = "check the connection, or give a folder: t2v:FOLDER"
            raise RefusedError(f"cannot fetch {place} from the hub: {error}", hint) from error
        self.revisions[part] = folder.name
        return folder


if __name__ == "__main__":
    serve(ClipFlanT5)
