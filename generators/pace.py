"""The seconds of the first denoiser call of an execution, and of the others a row."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from common.loading import seconds_loading
from generators.device_memory import synchronise

T = TypeVar("T")


class Pace:
    """A stopwatch for calls: the denoiser's, with the scheduler's step and the noise that go with it.

    An accelerator is waited for after the first call and where a step ends (`settle`), not after every call, so that it
    is never kept from its work: what the wait takes is the calls' too.

    Attributes:
        first: seconds of the first call; None before it.
    """

    def __init__(self, device: torch.device) -> None:
        self.first: float | None = None
        self._device, self._seconds, self._rows = device, 0.0, 0

    @property
    def steady(self) -> float | None:
        """Mean seconds a row of all calls but the first; None where there was none."""
        return self._seconds / self._rows if self._rows else None

    def call(self, rows: int, work: Callable[[], T]) -> T:
        """Make and time a call on so many rows, less what loads weights in it; one that fails is not measured."""
        start = time.perf_counter() - seconds_loading()
        result = work()
        if self.first is None:
            synchronise(self._device)
            self.first = time.perf_counter() - seconds_loading() - start
        else:
            self._seconds += time.perf_counter() - seconds_loading() - start
            self._rows += rows
        return result

    def settle(self) -> None:
        """Wait for the calls of a step."""
        if self._device.type != "cpu" and self._rows:
            start = time.perf_counter()
            synchronise(self._device)
            self._seconds += time.perf_counter() - start
