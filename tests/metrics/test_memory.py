"""Memory is what the modules' parameters and the latents take."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from metrics.memory import parameters, peak_bytes


@dataclass(frozen=True)
class Part:
    name: str
    phase: str
    width: int
    unit: str = "prompt"
    calls: float = 1

    def build(self) -> nn.Module:
        return nn.Linear(self.width, self.width, bias=False)

    def inputs(self, module: nn.Module) -> Any:
        return (torch.zeros(1, self.width),), {}


ENCODER, DENOISER, DECODER = Part("encoder", "encode", 100), Part("denoiser", "denoise", 50), Part("vae", "decode", 10)


def test_parameters_need_no_memory():
    assert parameters(Part("huge", "denoise", 10**7)) == 10**14


def test_encoders_leave_before_the_denoiser_comes():
    assert peak_bytes([ENCODER, DENOISER, DECODER], (4, 8, 8), 1, "fp16") == 2 * 100**2
    assert peak_bytes([ENCODER, DENOISER, DECODER], (4, 8, 8), 100, "fp16") == 2 * (50**2 + 10**2 + 100 * 4 * 64)
    assert peak_bytes([ENCODER], (1,), 1, "fp32") == 2 * peak_bytes([ENCODER], (1,), 1, "bf16")
