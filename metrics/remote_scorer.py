"""A checkpoint that a worker scores with: opened, checked, loaded once, asked many times, started again if it ended."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import canonical_json, sha256_text, sha256_tree
from common.loading import loading
from metrics.images import read_picture
from metrics.recipes import Recipe, recipe
from metrics.worker import Worker

LOG = logging.getLogger("reusebench")

_shared: "WeakValueDictionary[tuple[str, ...], RemoteScorer]" = WeakValueDictionary()


class RemoteScorer:
    """One checkpoint on one device, in a worker that is started when it is first asked something."""

    def __init__(self, made_by: Recipe, checkpoint: str, device: str) -> None:
        self.recipe, self.checkpoint, self.device = made_by, checkpoint, device
        self._worker: Worker | None = None
        self._about: dict[str, Any] = {}
        self._loaded = False

    @classmethod
    def shared(cls, worker: str, checkpoint: str, device: str) -> "RemoteScorer":
        """The one of these that is in use already, or a new one: weights are in memory once.

        Raises:
            UserError: there is no worker of that name.
        """
        made_by = recipe(worker)
        key = (str(made_by.script), checkpoint, device)
        if (known := _shared.get(key)) is None:
            known = _shared[key] = cls(made_by, checkpoint, device)
        return known

    def identity(self) -> dict[str, Any]:
        """What decides the scores, as `metrics.base.Metric.identity` has it, without the metric's part.

        Raises:
            UserError: the environment is not set up, the checkpoint cannot be had, or as `Worker.ask`.
        """
        hello, about = self._running().hello, dict(self._about)
        folders, revisions = about.pop("folders", {}), about.pop("revisions", {})
        parts = {part: sha256_tree(Path(folder)) for part, folder in folders.items()} | revisions
        if not parts:
            raise UserError(f"the worker {hello.worker} does not say what {self.checkpoint} is", "see docs/workers.md")
        return {
            **about,
            "sha256": sha256_text(canonical_json(parts)),
            "worker": {"name": hello.worker, "version": hello.version},
            "packages": hello.packages,
        }

    def check(self, prompts: Sequence[str]) -> None:
        """Have the checkpoint fetched, and refuse prompts that it cannot score.

        Raises:
            UserError: as `identity`; or a prompt is refused.
        """
        self._ask("check", prompts=list(prompts))

    def scores(self, images: Sequence[Path], prompts: Sequence[str]) -> NDArray[np.float64]:
        """The score of every pair [N], in one batch.

        Raises:
            UserError: a picture is missing or damaged, a score is no number, or as `identity`.
            MemoryError: the batch does not fit.
        """
        for image in images:
            read_picture(image)
        self._load()
        paths = [str(Path(image).resolve()) for image in images]
        found = np.asarray(self._ask("score", images=paths, prompts=list(prompts)).get("scores"), dtype=np.float64)
        if found.shape != (len(images),) or not np.isfinite(found).all():
            raise UserError(
                f"the worker {self.recipe.name} gave no score for some of {len(images)} pictures from {images[0]} on",
                "score them with another scorer or device",
            )
        return found

    def close(self) -> None:
        """End the worker; the next question starts another."""
        if self._worker is not None:
            self._worker.close()

    @loading()
    def _load(self) -> None:
        self._running()
        if self._loaded:
            return
        try:
            self._ask("load")
        except MemoryError as error:
            self.close()
            hint = "free the device: generate with --metric none, then run the same command with this metric"
            raise UserError(
                f"{self.checkpoint} does not fit into the memory of {self.device}: {error}", hint
            ) from error
        self._loaded = True

    def _running(self) -> Worker:
        """The worker with the checkpoint open."""
        if self._worker is None or not self._worker.alive:
            self._loaded = False
            worker = self.recipe.start()
            try:
                self._about = worker.ask("open", self._heard, checkpoint=self.checkpoint, device=self.device)
            except BaseException:
                worker.close()
                raise
            self._worker = worker
        return self._worker

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        return self._running().ask(do, self._heard, **arguments)

    def _heard(self, progress: str) -> None:
        LOG.info("%s: %s", self.recipe.name, progress)
