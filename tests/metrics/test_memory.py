"""Memory is what the modules' parameters, the latents and the tensors of the worst moment take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import nn

from generators.catalogue import model
from generators.component import Component
from generators.families.base import get_family, resolve_settings
from generators.sampler import Sampler
from metrics.live_bytes import activations
from metrics.memory import held_bytes, parameters, peaks, row_bytes, wave_bytes, wave_rows


@dataclass(frozen=True)
class Part:
    name: str
    phase: Literal["encode", "denoise", "decode"]
    width: int
    together: int = 1
    unit: Literal["prompt"] = "prompt"
    calls: float = 1

    def build(self) -> nn.Module:
        return nn.Linear(self.width, self.width, bias=False)

    def inputs(self, module: nn.Module) -> Any:
        return (torch.zeros(1, self.width),), {}


ENCODER, DENOISER = Part("encoder", "encode", 100), Part("denoiser", "denoise", 50, 2)
DECODER = Part("vae", "decode", 10)
PARTS, SHAPE = [ENCODER, DENOISER, DECODER], (4, 8, 8)


def called(network: Callable[[], nn.Module], *shape: int) -> Component:
    return Component("network", "denoise", "node_step", 1, network, lambda _: ((torch.zeros(1, *shape),), {}))


def test_parameters_need_no_memory():
    assert parameters(Part("huge", "denoise", 10**7)) == 10**14


def test_encoders_leave_before_the_denoiser_comes_and_that_stays_beside_the_decoder():
    found = peaks(PARTS, SHAPE, 100, "fp16", batch_size=32)
    latents, both = 100 * 4 * 64, 50**2 + 10**2
    assert found == {
        "encode": 2 * (100**2 + 2 * 32 * 100),  # the input and the output of 32 rows
        "denoise": 2 * (both + latents + 2 * 64 * 50),  # guidance's rows are in the same call
        "decode": 2 * (both + latents + 2 * 32 * 10),
    }


def test_offload_has_one_component_or_one_layer_there_at_once():
    two = [Part("text", "encode", 100), Part("prior", "encode", 60), DENOISER, DECODER]
    found = peaks(two, SHAPE, 100, "fp16", batch_size=32, offload="model", decoded=4)
    latents = 100 * 4 * 64
    assert found == {
        "encode": 2 * (100**2 + 2 * 32 * 100),
        "denoise": 2 * (50**2 + latents + 2 * 64 * 50),
        "decode": 2 * (10**2 + 2 * 4 * 10),  # a few pictures at once
    }
    stack = called(lambda: nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 16, bias=False)), 8)
    whole, layer = (peaks([stack], (8,), 1, "fp32", batch_size=1, offload=how) for how in ("model", "sequential"))
    assert whole["denoise"] - layer["denoise"] == 4 * 8 * 8, "without the first layer"


def test_a_batch_is_no_larger_than_what_there_is_and_a_type_of_twice_the_bytes_takes_twice_as_many():
    few = peaks(PARTS, SHAPE, 3, "fp32", batch_size=32)
    assert few == peaks(PARTS, SHAPE, 3, "fp32", batch_size=3)
    assert few == {phase: 2 * size for phase, size in peaks(PARTS, SHAPE, 3, "bf16", batch_size=3).items()}


def test_a_unions_nodes_count_where_they_are_denoised_and_what_a_scheduler_remembers_twice():
    alone, union = (peaks(PARTS, SHAPE, 10, "fp32", batch_size=4, active=n, remembered=3) for n in (10, 50))
    assert union["denoise"] - alone["denoise"] == 40 * row_bytes(SHAPE, "fp32", remembered=6)
    assert union["decode"] == alone["decode"]


def test_a_row_holds_latents_what_is_remembered_and_its_conditioning_in_float32():
    assert row_bytes(SHAPE, "fp16") == 2 * 256
    assert row_bytes(SHAPE, "fp16", remembered=2.5, conditioning=[(77, 8), (8,)]) == 2 * 256 * 3.5 + 4 * (77 * 8 + 8)


SCHEDULERS = ("DDPMScheduler", "UniPCMultistepScheduler", "PNDMScheduler", "LMSDiscreteScheduler")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_schedulers_remember_is_known_from_a_small_one(name: str):
    sampler, memory, most = Sampler({"num_train_timesteps": 100}, name, 8), (), 0
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    for k in range(sampler.K):
        sampler.scale_input(latents, k)
        step = sampler.step(latents / 2, k, latents, lambda shape, _: torch.zeros(shape), memory)
        latents, memory = step.latents, step.memory
        most = max(most, latents.nbytes + sum(leaf.nbytes for leaf in memory))
    assert most == 3 * row_bytes((4, 8, 8), "bf16", remembered=sampler.remembered)


def test_a_tensor_counts_from_birth_to_death():
    deep = called(lambda: nn.Sequential(*(nn.Linear(10, 10) for _ in range(5))), 10)
    # at the worst moment the input, a layer's input and its output: what came before is gone
    assert activations(deep, 7, "fp32") == 4 * 7 * 30


def test_what_is_changed_in_place_or_seen_in_another_shape_is_one_tensor():
    plain = called(lambda: nn.Linear(10, 10), 10)
    inplace = called(lambda: nn.Sequential(nn.Linear(10, 10), nn.ReLU(inplace=True)), 10)
    assert activations(inplace, 2, "fp32") == activations(plain, 2, "fp32")
    viewed = called(lambda: nn.Sequential(nn.Linear(10, 10), nn.Flatten(0)), 10)
    assert activations(viewed, 2, "fp32") == activations(plain, 2, "fp32")


class Attending(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(rows, rows, rows)


def test_attention_keeps_no_scores():
    assert activations(called(Attending, 2, 1000, 4), 1, "fp32") == 2 * 4 * 2 * 1000 * 4


@pytest.mark.parametrize(
    "name", ["mini-kandinsky", "mini-karlo", "mini-sd", "mini-flux", "mini-z-image", "kandinsky-2.2"]
)
def test_every_familys_modules_run_on_shapes_and_take_more_for_more_rows(name: str):
    entry = model(name)
    parts = get_family(entry.family).components_of(entry, resolve_settings(entry, {}))
    for part in parts:
        one, two, four = (activations(part, rows, "fp16") for rows in (1, 2, 4))
        assert 0 < one < two
        assert four - two == pytest.approx(2 * (two - one), rel=0.02)
    assert {part.together for part in parts if part.unit == "node_step"} == {1 if name == "mini-flux" else 2}


def test_rows_of_a_wave_are_all_that_fit_or_a_power_of_two():
    held = held_bytes("cuda", SHAPE, "fp16", remembered=1, conditioning=[(77, 8)])
    assert held == {
        "cpu": row_bytes(SHAPE, "fp16", conditioning=[(77, 8)]),
        "cuda": row_bytes(SHAPE, "fp16", remembered=1),
    }
    free = {"cpu": 3 * 100 * held["cpu"] + 1, "cuda": 3 * 1000 * held["cuda"] + 1}
    assert wave_rows(100, held, free, least=8) == 100
    assert wave_rows(101, held, free, least=8) == 64, "main memory is what is scarce"
    assert wave_rows(101, held, {**free, "cuda": 3 * 20 * held["cuda"] + 1}, least=8) == 16
    assert wave_rows(101, held, {**free, "cuda": 0}, least=8) == 8, "a batch all the same"


def test_a_wave_holds_a_rows_conditioning_once_and_its_latents_thrice():
    def taken(**changed: int) -> int:
        return wave_bytes({"cpu": 10**7 + 10**3}, **{**asked, **changed})["cpu"]

    asked = {"rows": 200, "batch_size": 10, "conditioning": 10**7, "prompts": 10_000}
    holes = 1.2
    assert taken(rows=300) - taken() == pytest.approx(100 * (10**7 + 3 * 10**3) * holes)
    assert taken(batch_size=20) - taken() == pytest.approx(10 * (10**7 + 10**3) * holes)
    assert taken(prompts=10**6) == taken(), "a chunk is the same, however many are combined"
    assert taken(prompts=20) < taken()
