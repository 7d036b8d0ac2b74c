"""Whatever a scheduler remembers, a path through a tree is what it would be alone."""

import logging

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from generators.sampler import Sampler
from generators.scheduler_state import pick

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
DIFFUSION = [
    ("DDPMScheduler", {}),
    ("DDIMScheduler", {}),
    ("PNDMScheduler", {"skip_prk_steps": True}),
    ("PNDMScheduler", {"skip_prk_steps": False}),
    ("DPMSolverMultistepScheduler", {}),
    (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "use_karras_sigmas": True},
    ),
    ("DPMSolverSinglestepScheduler", {"solver_order": 3}),
    ("DEISMultistepScheduler", {"solver_order": 3}),
    ("UniPCMultistepScheduler", {"solver_order": 3}),
    ("HeunDiscreteScheduler", {}),
    ("KDPM2DiscreteScheduler", {}),
    ("KDPM2AncestralDiscreteScheduler", {}),
    ("LMSDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("IPNDMScheduler", {}),
    ("SASolverScheduler", {}),
    ("LCMScheduler", {}),
    ("TCDScheduler", {}),
    ("UnCLIPScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
]
FLOW = [
    ("FlowMatchEulerDiscreteScheduler", {}),
    ("FlowMatchHeunDiscreteScheduler", {}),
    ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}),
]
STEPS = 9


@pytest.fixture(params=[*DIFFUSION, *FLOW], ids=lambda p: "-".join([p[0], *map(str, p[1].values())]))
def scheduler(request):
    name, asked = request.param
    kind, betas = getattr(diffusers, name), {} if request.param in FLOW else BETAS
    known = kind().config
    return kind(**{key: value for key, value in {**betas, **asked}.items() if key in known})


def sampler_of(scheduler, steps: int = STEPS) -> Sampler:
    return Sampler({**scheduler.config, "_class_name": type(scheduler).__name__}, "default", steps)


def denoiser(latents: Tensor, k: int, who: Tensor) -> Tensor:
    """Some smooth function of a row alone; `who` conditions it."""
    return torch.tanh(latents * 0.7 + 0.1 * k + who[:, None, None, None])


def noise(keys: list[str], k: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    rows = []
    for key in keys:
        seed = np.random.SeedSequence([k + 1, draw, *key.encode()]).generate_state(1)[0]
        rows.append(torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))))
    return torch.stack(rows)


def alone(scheduler, path: list[tuple[str, float]], monkeypatch) -> Tensor:
    """One path through a fresh stock scheduler: at every step its node's key and conditioning."""
    stock = type(scheduler).from_config(scheduler.config)
    stock.set_timesteps(STEPS)
    latents = noise([path[0][0]], -1, 0, (2, 4, 4)) * float(getattr(stock, "init_noise_sigma", 1))
    for k, (t, (key, who)) in enumerate(zip(stock.timesteps, path, strict=True)):
        drawn = iter(range(9))
        monkeypatch.setattr(
            f"{type(scheduler).__module__}.randn_tensor",
            lambda shape, *_, k=k, key=key, drawn=drawn, dtype=None, **__: noise(
                [key], k, next(drawn), tuple(shape)[1:]
            ).to(dtype),
            raising=False,
        )
        scaled = stock.scale_model_input(latents, t) if hasattr(stock, "scale_model_input") else latents
        further = {}
        if isinstance(stock, diffusers.UnCLIPScheduler):
            further["prev_timestep"] = stock.timesteps[k + 1] if k + 1 < len(stock.timesteps) else None
        latents = stock.step(denoiser(scaled, k, torch.tensor([who])), t, latents, **further).prev_sample
    return latents[0]


def batched(sampler: Sampler, splits: dict[int, list[int]], names: list[list[str]], cut: int) -> Tensor:
    """All paths at once: `splits[k]` says whom each row of step k comes from; rows are stepped `cut` at a time."""
    latents = noise(names[0], -1, 0, (2, 4, 4)) * sampler.init_sigma
    memory = ()
    for k in range(sampler.K):
        if k in splits:
            latents, memory = latents[splits[k]], pick(memory, splits[k])
        done, known = [], []
        for start in range(0, len(latents), cut):
            rows = slice(start, start + cut)
            keys = names[k][rows]
            who = torch.tensor([len(key) / 7 for key in keys])
            output = denoiser(sampler.scale_input(latents[rows], k), k, who)
            step = sampler.step(
                output,
                k,
                latents[rows],
                lambda shape, i, keys=keys, k=k: noise(keys, k, i, shape[1:]),
                pick(memory, rows),
            )
            done.append(step.latents)
            known.append(step.memory)
        latents = torch.cat(done)
        memory = tuple(torch.cat(leaves) for leaves in zip(*known, strict=True))
    return latents


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_children_inherit_what_the_scheduler_remembers(scheduler, cut: int, monkeypatch: pytest.MonkeyPatch):
    sampler = sampler_of(scheduler)
    late = sampler.K - 2
    # one root until step 4, then two nodes, and near the end four leaves
    splits = {4: [0, 0], late: [0, 0, 1, 1]}
    names = [["abcd"] if k < 4 else ["ab", "cd"] if k < late else ["a", "b", "c", "d"] for k in range(sampler.K)]
    lengths = {"abcd": 4, "ab": 2, "cd": 2, "a": 1, "b": 1, "c": 1, "d": 1}
    assert all(len(key) == length for key, length in lengths.items())
    ours = batched(sampler, splits, names, cut)
    for leaf, letter in enumerate("abcd"):
        path = [next(name for name in row if letter in name) for row in names]
        expected = alone(scheduler, [(name, len(name) / 7) for name in path], monkeypatch)
        assert torch.allclose(ours[leaf], expected, rtol=1e-5, atol=1e-6), letter
        if cut == 1:
            assert torch.equal(ours[leaf], expected)
    assert ours.isfinite().all()


@pytest.mark.parametrize("more", [0, 1, 2])
def test_as_many_rows_as_steps_are_no_table(scheduler, more: int, monkeypatch: pytest.MonkeyPatch):
    """Tables of timesteps have K or K + 1 entries: batches of as many rows must not be taken for them."""
    sampler = sampler_of(scheduler)
    letters = [chr(97 + i) for i in range(sampler.K + more)]
    ours = batched(sampler, {}, [letters] * sampler.K, len(letters))
    for row in (0, len(letters) - 1):
        expected = alone(scheduler, [(letters[row], 1 / 7)] * sampler.K, monkeypatch)
        assert torch.allclose(ours[row], expected, rtol=1e-5, atol=1e-6)


def test_steps_may_be_taken_in_any_order_of_batches():
    """A sampler keeps nothing between calls: the same step twice is the same step."""
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    scheduler = diffusers.UniPCMultistepScheduler()
    sampler, latents = sampler_of(scheduler), torch.randn(3, 2, 4, 4)
    first = sampler.step(latents, 0, latents, lambda shape, i: torch.zeros(shape))
    for _ in range(2):
        second = sampler.step(latents, 1, first.latents, lambda shape, i: torch.zeros(shape), first.memory)
        again = sampler.step(latents, 1, first.latents, lambda shape, i: torch.zeros(shape), first.memory)
        assert torch.equal(second.latents, again.latents)
