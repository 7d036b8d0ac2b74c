"""What glibc's `mallopt` is told, where there is one and nobody has told it something else."""

import ctypes
import os
import sys
from types import SimpleNamespace

import pytest

from common.allocator import KEPT, LARGEST, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, keep_memory


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What `mallopt` is called with, on a Linux whose environment says nothing of malloc."""
    calls: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda option, value: calls.append((option, value)) or 1)
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    return calls


def test_large_blocks_come_from_a_heap_that_is_kept(told):
    assert keep_memory()
    assert told == [(M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, KEPT)], "in this order"


def test_what_the_environment_says_of_malloc_holds(told, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_memory()
    assert told == []


def test_where_there_is_no_such_function_nothing_is_done(told, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not keep_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("not asked for"))
    assert not keep_memory()


def test_a_refusal_is_told(told, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda option, value: 0))
    assert not keep_memory()
