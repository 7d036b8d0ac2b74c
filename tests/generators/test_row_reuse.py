"""Equal rows of a denoiser's call are evaluated once; what comes out is the same, and rows are as many as foretold."""

from collections.abc import Callable
from inspect import signature
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from torch import Tensor, nn

from common.errors import UserError
from generators.acceleration import Acceleration
from generators.catalogue import model
from generators.executor import Execution, execute
from generators.families.base import Family, get_family, resolve_settings
from generators.noise import KeyedNoise
from generators.row_reuse import RowReuse
from generators.sharing.evaluations import evaluations
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree

PROMPTS = ["a red circle", "a red square", "a blue circle", "a blue square", "a green ring", "a red ring"]


class Twice(nn.Module):
    """A denoiser that notes how many rows it is given; `returned` makes its output of twice the latents."""

    def __init__(self, returned: Callable[[Any], Any] = lambda out: (out,)) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.returned = returned

    def forward(self, sample: Any, timestep: Any, text: Any, ids: Tensor | None = None, **more: Any) -> Any:
        self.rows.append(len(sample))
        if isinstance(sample, list):
            return self.returned([2 * one + own.sum() for one, own in zip(sample, text, strict=True)])
        return self.returned(2 * sample + text.sum(1, keepdim=True))


def reusing(network: Twice) -> RowReuse:
    reuse = RowReuse()
    network.forward = reuse.around(network)  # type: ignore[method-assign]
    return reuse


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.integers(1, 4))
def test_output_is_the_same_and_every_group_is_asked_once_without_its_prompts(groups: list[int], size: int):
    """Nodes of group 0 are alone; those of another have a latent in common, whatever batches they are in."""
    network = Twice()
    reuse, wanted = reusing(network), Twice()
    for start in range(0, len(groups), size):
        own = torch.tensor(groups[start : start + size])
        places = torch.arange(start, start + len(own))
        latents = torch.where(own > 0, own, 10 + places).float()[:, None].repeat(1, 3)
        text = torch.cat([torch.zeros(len(own), 2), places[:, None] + torch.ones(len(own), 2)])
        sample = torch.cat([latents] * 2)
        with reuse.among(torch.where(own > 0, own, -1).tolist(), step=3):
            (found,) = network(sample, torch.tensor(5), text=text)
        assert torch.equal(found, wanted(sample, torch.tensor(5), text=text)[0])
    shared = [group for group in groups if group]
    assert reuse.reused == len(shared) - len(set(shared))
    assert sum(network.rows) == 2 * len(groups) - reuse.reused


def test_lists_of_rows_and_named_outputs_come_back_as_they_were():
    latents = [torch.ones(4, 2), torch.ones(4, 2), torch.zeros(4, 2)]
    text = [torch.zeros(3), torch.zeros(3), torch.ones(3)]
    network = Twice(returned=lambda out: (out,))
    reuse = reusing(network)
    with reuse.among([0, 0, -1], step=1):
        (found,) = network(latents, torch.zeros(3), text)
    assert network.rows == [2]
    assert all(torch.equal(one, other) for one, other in zip(found, Twice()(latents, 0, text)[0], strict=True))

    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    network = Twice(returned=lambda out: UNet2DConditionOutput(sample=out))
    reuse = reusing(network)
    with reuse.among([4, 4], step=1):
        found = network(torch.ones(2, 3), 0, text=torch.zeros(2, 2))
    assert isinstance(found, UNet2DConditionOutput)
    assert network.rows == [1]
    assert torch.equal(found.sample, 2 * torch.ones(2, 3))


def test_rows_that_differ_in_anything_are_all_evaluated():
    network = Twice()
    reuse = reusing(network)
    with reuse.among([1, 1], step=1):
        network(torch.ones(2, 3), torch.tensor([1.0, 2.0]), text=torch.zeros(2, 2))
    assert network.rows == [2]
    with reuse.among([1, 1], step=1):  # equal sums are not yet equal
        network(torch.ones(2, 3), 0, text=torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert network.rows == [2, 2]
    assert reuse.reused == 0


def test_another_step_and_positions_are_no_rows():
    network = Twice()
    reuse = reusing(network)
    for step in (1, 2):
        with reuse.among([1], step=step):
            network(torch.ones(1, 3), 0, text=torch.zeros(1, 2), ids=torch.zeros(1, 3))
    assert (network.rows, reuse.reused) == ([1, 1], 0)
    with reuse.among([1, 1], step=3):
        network(torch.ones(2, 3), 0, text=torch.zeros(2, 2), ids=torch.zeros(2, 3))
    assert (network.rows[-1], reuse.reused) == (1, 1)


def test_a_batch_that_fails_is_tried_again_as_if_it_had_not_been():
    network = Twice()
    reuse = reusing(network)
    text = torch.zeros(2, 2)
    with pytest.raises(MemoryError), reuse.among([1, 1], step=1):
        network(torch.ones(2, 3), 0, text=text)
        raise MemoryError
    assert reuse.reused == 0
    with reuse.among([1], step=1):
        network(torch.ones(1, 3), 0, text=text[:1])
    assert network.rows == [1, 1], "what the failed batch had is not taken"


def test_a_failed_batch_leaves_nothing_beside_what_was_there_before():
    """Rows of equal sums stand together: those of the failed batch go, that of the batch before stays."""
    network = Twice()
    reuse = reusing(network)
    latents, one, other = torch.ones(1, 3), torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    with reuse.among([1], step=1):
        network(latents, 0, text=one)
    with pytest.raises(MemoryError), reuse.among([1], step=1):
        network(latents, 0, text=other)
        raise MemoryError
    with reuse.among([1], step=1):
        network(latents, 0, text=other)
    assert (network.rows, reuse.reused) == ([1, 1, 1], 0)
    with reuse.among([1], step=1):
        network(latents, 0, text=one)
    assert (network.rows, reuse.reused) == ([1, 1, 1], 1)


def test_another_run_counts_its_own():
    network = Twice()
    reuse = reusing(network)
    for _ in range(2):
        reuse.forget()
        with reuse.among([1, 1], step=1):
            network(torch.ones(2, 3), 0, text=torch.zeros(2, 2))
    assert (network.rows, reuse.reused) == ([1, 1], 2)


class Case:
    """An embedded model, and a plan of its prompts that splits."""

    def __init__(self, name: str) -> None:
        self.entry = model(name)
        asked = {"steps": 5, "prior_steps": 2, "super_res_steps": 2}
        known = get_family(self.entry.family).settings_type.model_fields
        self.settings = resolve_settings(self.entry, {key: value for key, value in asked.items() if key in known})
        family = self.family()
        self.conditioning = family.encode(PROMPTS, PROMPTS, self.settings)
        rows = family.features(self.conditioning, family.features_options[0])
        self.tree = Tree.from_linkage(linkage(rows / (rows**2).sum(1, keepdims=True) ** 0.5, "ward"))
        self.steps = family.sampler(self.settings).K

    def family(self) -> Family:
        return get_family(self.entry.family).load(self.entry, "cpu", "fp32")

    def plan(self, tau: float) -> SharingPlan:
        return build_plan(self.tree, get_schedule("eq7"), tau, self.steps)

    def run(self, plan: SharingPlan, *, batch_size: int, reuse: bool, interval: str = "0..1") -> tuple[Execution, int]:
        """Return what running it gives, and how many rows its denoiser's own forward was given."""
        family, counted = self.family(), SimpleNamespace(rows=0)
        network = family.network
        assert network is not None
        own, first = network.forward, list(signature(type(network).forward).parameters)[1]

        def counting(*args: Any, **kwargs: Any) -> Any:
            counted.rows += len(args[0] if args else kwargs[first])
            return own(*args, **kwargs)

        network.forward = counting  # type: ignore[method-assign]
        family.acceleration = Acceleration(reuse_unconditional=reuse)
        settings = self.settings.model_copy(update={"guidance_interval": interval})
        noise = KeyedNoise(settings.seed)
        made = execute(plan, family, self.conditioning, PROMPTS, settings, noise=noise, batch_size=batch_size)
        return made, counted.rows


@pytest.fixture(scope="module", params=["mini-kandinsky", "mini-karlo", "mini-sd", "mini-z-image"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_rows_are_as_many_as_foretold_and_pictures_the_same_but_for_rounding(case: Case, batch_size: int):
    plan, allowed = case.plan(1.5), Acceleration.within("reuse_unconditional")
    plain, rows = case.run(plan, batch_size=batch_size, reuse=False)
    reused, fewer = case.run(plan, batch_size=batch_size, reuse=True)
    foretold = evaluations(plan, reuse=True)
    assert foretold.reused > 0
    assert (rows, fewer) == (evaluations(plan).rows(2), foretold.rows(2))
    gap = (reused.latents - plain.latents).flatten(1).norm(dim=1) / plain.latents.flatten(1).norm(dim=1)
    assert gap.max() <= allowed.latents
    assert reused.options == plain.options | {"reuse_unconditional": True}


def test_the_baseline_is_bit_for_bit_as_without(case: Case):
    plan = baseline_plan(len(PROMPTS), case.steps)
    plain, rows = case.run(plan, batch_size=4, reuse=False)
    reused, same = case.run(plan, batch_size=4, reuse=True)
    assert torch.equal(plain.latents, reused.latents)
    assert rows == same == 2 * plan.node_steps


@pytest.mark.parametrize("interval", ["0.4..1", "0..0.6"])
def test_outside_the_guidance_interval_there_is_one_row_and_nothing_to_reuse(case: Case, interval: str):
    plan = case.plan(1.5)
    guided = case.settings.model_copy(update={"guidance_interval": interval}).guided(plan.steps)
    _, rows = case.run(plan, batch_size=4, reuse=True, interval=interval)
    assert rows == evaluations(plan, guided, reuse=True).rows(2)


def test_it_is_refused_with_what_needs_fixed_shapes():
    settings = resolve_settings(model("mini-sd"), {})
    with pytest.raises(UserError, match="--reuse-unconditional leaves rows out"):
        Acceleration(reuse_unconditional=True, compilation="full").check(settings, "cpu")
