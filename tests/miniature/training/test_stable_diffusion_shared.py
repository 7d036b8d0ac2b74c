"""The lesson in sharing: its plans and conditioning are the product's, its captions not those that measure it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn

from generators.catalogue import model
from generators.combiners.mean import Mean
from generators.families.base import get_family, resolve_settings
from generators.sharing.plan import build_plan
from generators.sharing.savings import tau_near_savings
from generators.sharing.schedule import get_schedule
from generators.strategies.ward_cosine import WardCosine
from miniature.prompts import SETS
from miniature.training import stable_diffusion_shared as lesson

K = 21


class Watched(nn.Module):
    """A UNet that predicts nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, latents: Tensor, time: Tensor, told: Tensor) -> object:
        self.asked.append((latents, told))
        return type("Output", (), {"sample": torch.zeros_like(latents)})


@pytest.mark.parametrize("saved", [0.2, 0.5, 0.7])
def test_who_shares_when_is_what_the_product_would_plan(saved: float) -> None:
    features = np.random.default_rng(3).normal(size=(24, 6)) + 2
    tree, eq7 = WardCosine().tree(features), get_schedule("eq7")
    wanted = build_plan(tree, eq7, tau_near_savings(tree, eq7, K, saved).tau, K)
    plan = lesson.plan(features, wanted.savings, K)
    assert plan.saved == pytest.approx(wanted.savings, abs=1e-9)
    for k, names in enumerate(plan.cluster):
        clusters = {frozenset(np.flatnonzero(names == name)) for name in np.unique(names)}
        assert clusters == {frozenset(wanted.members(i)) for i in wanted.active(k)}


def test_no_caption_is_of_the_sets_that_measure_or_names_what_is_kept_out() -> None:
    rng = np.random.default_rng(0)
    measured = {text for make in SETS.values() for text in make()}
    for _ in range(12):
        told = lesson.captions(rng)
        assert 40 <= len(set(told)) == len(told)
        assert not measured & set(told)
        assert not any("penguin" in text for text in told)
    assert all("penguin" in text for text in SETS["mini_styles"]())


def test_prompts_and_clusters_are_conditioned_as_the_product_conditions_them() -> None:
    told = ["a cat", "a 3d drawing of a frog left of a crown on a red background"]
    states, pooled = lesson.Reader("cpu").read(told)
    entry = model("mini-sd")
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    encoded = family.encode(told, told, resolve_settings(entry, {})).tensors
    (own,) = (
        rows for rows in encoded.values() if rows.shape == states.shape and torch.allclose(rows, states, atol=1e-4)
    )
    assert any(rows.shape == pooled.shape and torch.allclose(rows, pooled, atol=1e-4) for rows in encoded.values())
    (mean,) = (
        row for name, row in Mean().node(encoded).items() if encoded[name] is own
    )  # of every position: no mask goes with the states
    torch.testing.assert_close(mean, states.mean(0), atol=1e-4, rtol=0)


def test_a_plan_is_met_at_its_clusters_and_leads_to_the_mean_of_their_ways() -> None:
    torch.manual_seed(0)
    states, goals = torch.randn(4, 32, 192), torch.randn(K, 3, 12, 8, 8)
    cluster = np.array([[1, 1, 1, 1]] * 10 + [[1, 1, 2, 3]] * (K - 10))
    noise = torch.randn(1, 12, 8, 8).expand(3, -1, -1, -1)
    unet = Watched()
    met = lesson.meet(unet, states, cluster, np.array([0, 1, 2]), noise, list(goals), torch.zeros(1, 32, 192))  # type: ignore[arg-type]
    assert [len(latents) // 2 for latents, _ in unet.asked] == [1] * 10 + [2] * (K - 10)
    torch.testing.assert_close(met.told[0], states.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(met.goal[0], goals[0].mean(0))
    torch.testing.assert_close(met.told[10:12], torch.stack([states[:2].mean(0), states[2]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(met.goal[10:12], torch.stack([goals[10, :2].mean(0), goals[10, 2]]))
    assert torch.equal(met.latents[0], noise[0])
    assert met.time[0] > met.time[-1]


@torch.no_grad()
def test_where_nobody_shares_the_untuned_model_is_what_is_taught() -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(lesson.CHECKPOINTS / "stable-diffusion/unet", torch_dtype=torch.float32)
    states, nothing, noise = torch.randn(2, 32, 192), torch.randn(1, 32, 192), torch.randn(2, 12, 8, 8)
    goals = lesson.ways(unet, noise, states, nothing)
    assert 10 < len(goals) < K, "the last steps, where nothing is left to decide, are left out"
    met = lesson.meet(unet, states, np.tile([1, 2], (K, 1)), np.array([0, 1]), noise, goals, nothing)
    said = unet(met.latents, met.time, met.told).sample
    taught = lesson.conditional(met, lesson.sampler().alphas_cumprod[met.time])
    torch.testing.assert_close(taught, said, atol=1e-3, rtol=1e-3)


def test_chosen_prompts_share_their_first_step() -> None:
    features = np.random.default_rng(5).normal(size=(40, 6)) + 1
    plan = lesson.plan(features, 0.3, K)
    chosen = lesson.choose(plan, np.random.default_rng(1), 8)
    sizes = [int((plan.cluster[0] == plan.cluster[0, row]).sum()) for row in chosen]
    assert lesson.RUN <= len(chosen) <= 8
    assert min(sizes) > 1


def test_a_step_of_the_lesson_tunes_the_model_in_the_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in {"STEPS": 4, "SET": 8, "SETS": 1, "PICTURES": 4, "ORDINARY": 1, "UNGUIDED": 1}.items():
        monkeypatch.setattr(lesson, name, few)
    monkeypatch.setattr(lesson, "RECIPE", replace(lesson.RECIPE, batch=4))
    lesson.train(tmp_path, steps=1)
    tuned = load_file(tmp_path / "stable-diffusion-shared" / "diffusion_pytorch_model.safetensors")
    known = load_file(lesson.CHECKPOINTS / "stable-diffusion" / "unet" / "diffusion_pytorch_model.safetensors")
    assert tuned.keys() == known.keys()
    away = {name: float((tuned[name] - known[name].float()).abs().max()) for name in known}
    assert 0 < max(away.values()) < 0.01
