"""A checkpoint in a worker: opened, checked, loaded once, asked many times, and started again if the worker ended."""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import canonical_json, sha256_text, sha256_tree
from common.loading import loading
from common.pictures import plain_file
from metrics.recipes import Recipe, recipe
from metrics.worker import Worker

LOG = logging.getLogger("reusebench")

_shared: "WeakValueDictionary[tuple[str, ...], RemoteScorer]" = WeakValueDictionary()


class RemoteScorer:
    """One checkpoint on one device, in a worker that is started at the first request."""

    def __init__(self, of_worker: Recipe, checkpoint: str, device: str) -> None:
        self.recipe, self.checkpoint, self.device = of_worker, checkpoint, device
        self._worker: Worker | None = None
        self._about: dict[str, Any] = {}
        self._loaded = False

    @classmethod
    def shared(cls, worker: str, checkpoint: str, device: str) -> "RemoteScorer":
        """Return the one of these that is in use already, or a new one: weights are in memory once.

        Raises:
            UserError: there is no worker of that name.
        """
        of_worker = recipe(worker)
        key = (str(of_worker.script), checkpoint, device)
        if (scorer := _shared.get(key)) is None:
            scorer = _shared[key] = cls(of_worker, checkpoint, device)
        return scorer

    def identity(self) -> dict[str, Any]:
        """Return all that decides the scores, as `metrics.base.Metric.identity` has it, without the metric's part.

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
        """Return the score of every pair, float64 [N], in one batch.

        Raises:
            UserError: a picture is missing or damaged, a score is no number, or as `identity`.
            MemoryError: the batch does not fit.
        """
        with TemporaryDirectory() as copies:
            # a damaged one is named here, where the worker would fail, and end; odd ones it reads in its own ways
            paths = [str(plain_file(Path(image), Path(copies)).resolve()) for image in images]
            self._load()
            answer = self._ask("score", images=paths, prompts=list(prompts))
        scores = np.asarray(answer.get("scores"), dtype=np.float64)
        if scores.shape != (len(images),) or not np.isfinite(scores).all():
            raise UserError(
                f"the worker {self.recipe.name} gave no score for some of {len(images)} pictures from {images[0]} on",
                "score them with another scorer or device",
            )
        return scores

    def close(self) -> None:
        """End the worker; the next request starts another."""
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
            self.close()  # smaller batches, which callers try after a MemoryError, would not help
            hint = "free the device: generate with --metric none, then run the same command with this metric"
            raise UserError(
                f"{self.checkpoint} does not fit into the memory of {self.device}: {error}", hint
            ) from error
        self._loaded = True

    def _running(self) -> Worker:
        """Return the worker, running, with the checkpoint open."""
        if self._worker is None or not self._worker.alive:
            self._loaded = False
            worker = self.recipe.start()
            try:
                self._about = worker.ask("open", self._log, checkpoint=self.checkpoint, device=self.device)
            except BaseException:
                worker.close()
                raise
            self._worker = worker
        return self._worker

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        return self._running().ask(do, self._log, **arguments)

    def _log(self, progress: str) -> None:
        LOG.info("%s: %s", self.recipe.name, progress)
