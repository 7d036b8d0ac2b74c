"""Energy, without an accelerator: what is said where there is none, and the arithmetic on a stand-in for NVML."""

import sys
from types import SimpleNamespace

import pytest
import torch

from common.errors import UserError
from sweeps.energy import meter
from sweeps.events import Note
from sweeps.passes import sweep as run_sweep


class StandIn:
    """NVML's calls that are used, on a device that takes 5 J between readings."""

    NVMLError = RuntimeError

    def __init__(self) -> None:
        self.millijoules = 0

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != "GPU-abc":
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        self.millijoules += 5000
        return self.millijoules


def cuda(monkeypatch, uuid: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", StandIn())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuid))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)


def test_readings_are_joules_of_the_device_torch_sees(monkeypatch):
    cuda(monkeypatch, "abc")
    joules = meter("cuda:1")
    first = joules()
    assert joules() - first == 5.0
    cuda(monkeypatch, "other")
    with pytest.raises(UserError, match="NVML says Not Found"):
        meter("cuda:1")


def test_without_nvml_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UserError, match="nvidia-ml-py") as caught:
        meter("cuda")
    assert "reusebench[energy]" in caught.value.hint


def test_a_sweep_says_that_there_is_nothing_to_measure_and_goes_on(tiny_spec, tmp_path):
    events, spec = [], tiny_spec(energy=True)
    records = run_sweep(spec, tmp_path / "run", device="cpu", emit=events.append)
    assert any(isinstance(event, Note) and "energy is not measured" in event.text for event in events)
    assert all(record.status == "done" and record.joules is None for record in records)


def test_records_say_what_their_pictures_took(tiny_spec, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.session.meter", lambda device: reading())
    spec = tiny_spec(energy=True)
    standard, shared = run_sweep(spec, tmp_path / "run", device="cpu", emit=lambda event: None)
    assert standard.baseline_joules == shared.baseline_joules == 5.0
    assert standard.joules == shared.joules == 5.0, "a reading's: each is made whole, by itself"


def reading():
    taken = iter(range(0, 10_000, 5))
    return lambda: float(next(taken))
