"""A graphics card that PyTorch cannot use is named before anything is computed on the CPU."""

import logging
from pathlib import Path

import pytest
import torch

from sweeps import machine
from sweeps.machine import checked_device, unused_card


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a card that PyTorch does not see."""
    node = tmp_path / "nvidia0"
    node.touch()
    monkeypatch.setattr(machine, "CARDS", (tmp_path / "none", node))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    machine._warn_once.cache_clear()


def test_without_a_card_there_is_nothing_to_say(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CARDS", (tmp_path / "none",))
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert unused_card() is None


@pytest.mark.usefixtures("there")
def test_a_build_without_cuda_is_the_reason(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "was built without CUDA" in unused_card()


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_card_is_the_reason(monkeypatch, hidden):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert unused_card() == f"CUDA_VISIBLE_DEVICES={hidden} hides it"


@pytest.mark.usefixtures("there")
def test_what_the_driver_says_is_the_reason(monkeypatch):
    def old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "init", old)
    assert unused_card() == "The NVIDIA driver on your system is too old (found version 11040)."


@pytest.mark.usefixtures("there")
def test_it_is_told_once_and_not_to_those_who_asked_for_the_cpu(monkeypatch, caplog):
    monkeypatch.setattr(torch.version, "cuda", None)
    with caplog.at_level(logging.WARNING, "reusebench"):
        assert checked_device("cpu") == "cpu"
        assert not caplog.records
        assert checked_device() == checked_device() == "cpu"
    (told,) = caplog.messages
    assert told.startswith("this machine has a graphics card, and the CPU is used: PyTorch")


@pytest.mark.usefixtures("there")
def test_the_doctor_says_so(monkeypatch):
    from bench.doctor import _device

    monkeypatch.setattr(torch.version, "cuda", None)
    finding = next(_device())
    assert (finding.level, finding.what) == ("warn", "graphics card")
    assert "built without CUDA" in finding.todo
