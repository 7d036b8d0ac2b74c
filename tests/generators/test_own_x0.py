"""A node takes its own x0 for its cluster's after a split: what that is, what solvers remember, and whose it is."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from taken_apart import TOLD, sampler_of
from torch import Tensor

from common.errors import UserError
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.denoising_checkpoints import DenoisingCheckpoints
from generators.executor import execute
from generators.families.kandinsky import Kandinsky
from generators.node_states import NodeStates, inherited
from generators.noise import KeyedNoise
from generators.predicted_x0 import noise_level
from generators.sampler import Sampler
from generators.settings import noise_policy
from generators.sharing.parts import Part, parts
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.sharing.union import union


def drawn(seed: int) -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


CLUSTERS, OWN, NOISE = drawn(0), drawn(1), drawn(2)


def answer(sampler: Sampler, k: int, latents: Tensor, x0: Tensor) -> Tensor:
    """What a model says that knows the picture, whatever the latents."""
    level = noise_level(sampler._scheduler, k)
    noise = (latents - level.alpha * x0) / level.sigma
    if "FlowMatch" in type(sampler._scheduler).__name__:
        return noise - x0
    kind = sampler._scheduler.config.prediction_type
    return {"epsilon": noise, "sample": x0, "v_prediction": level.alpha * noise - level.sigma * x0}[kind]


def path(sampler: Sampler, x0s: tuple[Tensor, Tensor], at: int | None = None) -> list[Tensor]:
    """The latents after each step under a model that sees the first picture and, from step `at` on, the second."""
    first, sees = noise_level(sampler._scheduler, 0), x0s[0]
    latents, memory, x0, found = first.alpha * sees + first.sigma * NOISE, (), None, []
    for k in range(sampler.K):
        sees = x0s[0] if at is None or k < at else x0s[1]
        output = answer(sampler, k, latents, sees)
        if k == at:
            output, latents, memory = sampler.with_own_x0(k, output, latents, x0, memory, 1.0)
        latents, x0, memory = sampler.step(output, k, latents, lambda shape, _: torch.zeros(shape), memory)
        found.append(latents)
    return found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "epsilon") for name in TOLD),
        ("DDIMScheduler", "sample"),
        ("DEISMultistepScheduler", "v_prediction"),
        ("PNDMScheduler", "v_prediction"),  # itself inexact: v is no line over the steps even where x0 and noise stay
    ],
)
def test_a_solver_goes_on_as_if_the_own_x0_had_always_been_there(name: str, kind: str):
    """Its path is that of the own picture from the first step on, as near as the solver comes to what it tells."""
    sampler = sampler_of(name) if "Flow" in name else sampler_of(name, prediction_type=kind)
    expected, gap = path(sampler, (OWN, OWN)), 0.0
    for k in range(1, sampler.K):
        level = noise_level(sampler._scheduler, k)
        told = level.alpha * OWN + level.sigma * NOISE
        gap = max(gap, float((expected[k - 1] - told).abs().max()))
    assert gap < (0.2 if (name, kind) == ("PNDMScheduler", "v_prediction") else 0.01)
    for at in range(1, sampler.K):
        for k, latents in enumerate(path(sampler, (CLUSTERS, OWN), at)):
            if k >= at:
                level = noise_level(sampler._scheduler, k)
                assert torch.allclose(latents, expected[k], atol=gap + 0.01 * (1 + level.sigma)), (at, k)


@pytest.mark.parametrize("name", ["DDPMScheduler", "PNDMScheduler", "UniPCMultistepScheduler"])
def test_a_share_of_none_changes_nothing_and_a_half_lies_between(name: str):
    sampler = sampler_of(name)
    memory: tuple[Tensor, ...] = ()
    latents, x0 = drawn(3), None
    for k in range(3):
        output = answer(sampler, k, latents, CLUSTERS)
        latents, x0, memory = sampler.step(output, k, latents, lambda *_: drawn(9), memory)
    output = answer(sampler, 3, latents, OWN)
    none, half, whole = (sampler.with_own_x0(3, output, latents, x0, memory, share) for share in (0.0, 0.5, 1.0))
    assert torch.allclose(none[0], output, atol=1e-4)
    assert torch.equal(none[1], latents)
    assert all(torch.equal(a, b) for a, b in zip(none[2], memory, strict=True))
    assert torch.allclose(half[1], (latents + whole[1]) / 2, atol=1e-5)
    assert not torch.allclose(whole[1], latents, atol=0.1)


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "DDIMInverseScheduler"])
def test_a_scheduler_that_tells_no_x0_is_refused_by_name(name: str):
    with pytest.raises(UserError, match=f"{name} does not tell the clean latents"):
        sampler_of(name).check_own_x0()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("per-root:own_x0=2", "own_x0 is a number from 0 to 1"),
        ("official:own_x0=1", "has no place for own_x0"),
        ("per-root:own-x0=1", "has no parameter 'own-x0'"),
        ("per-root:own_x0=1:own_x0=0", "names own_x0 twice"),
    ],
)
def test_what_no_noise_policy_is(text: str, message: str):
    with pytest.raises(UserError, match=message):
        noise_policy(text)


TEXTS = ["a red fox", "a red dog", "a blue cat", "two trees", "a boat"]
KEYS, K = [f"{text}#0" for text in TEXTS], 6
TREE = Tree([5, 5, 6, 6, 7, 7, 8, 8, -1], [0, 0, 0, 0, 0, 0.3, 0.4, 0.6, 0.9], len(TEXTS))


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


def settings_of(family: Kandinsky, noise: str = "per-root:own_x0=1", scheduler: str = "UniPCMultistepScheduler"):
    asked = {"steps": K, "guidance": 2.0, "prior_steps": 3, "dtype": "fp32", "height": 16, "width": 16}
    return family.settings_type.resolve(family.entry.defaults, {**asked, "noise": noise, "scheduler": scheduler})


@pytest.fixture(scope="module")
def conditioning(family: Kandinsky) -> Conditioning:
    return family.encode(TEXTS, KEYS, settings_of(family))


def plan_of(tau: float = 1.0) -> SharingPlan:
    return build_plan(TREE, get_schedule("eq7"), tau, K)


def run(plan, family, conditioning, settings, keys=KEYS, batch_size=4, **more) -> Tensor:
    noise = KeyedNoise(settings.seed, settings.noise)
    return execute(
        plan, family, conditioning, keys, settings, noise=noise, batch_size=batch_size, **more
    ).latents  # fmt: skip


@pytest.mark.parametrize("scheduler", ["UniPCMultistepScheduler", "DDPMScheduler"])
def test_who_shares_nothing_is_as_without_it_bit_for_bit(family, conditioning, scheduler: str):
    plain, own = (settings_of(family, noise, scheduler) for noise in ("per-root", "per-root:own_x0=1"))
    for plan in (baseline_plan(len(TEXTS), K), plan_of(0)):
        assert torch.equal(run(plan, family, conditioning, plain), run(plan, family, conditioning, own))
    shared, changed = (run(plan_of(), family, conditioning, settings) for settings in (plain, own))
    assert not any(torch.allclose(a, b, atol=1e-2) for a, b in zip(shared, changed, strict=True))


def test_neither_batches_nor_order_matter(family, conditioning):
    plan, settings = plan_of(), settings_of(family)
    one = run(plan, family, conditioning, settings, batch_size=1)
    assert torch.allclose(one, run(plan, family, conditioning, settings, batch_size=3), atol=1e-4)
    back = np.arange(len(KEYS))[::-1].copy()
    turned = SharingPlan(
        len(KEYS), plan.steps, plan.first, plan.stop, plan.source, back[plan.order], plan.lo, plan.hi,
        plan.output[back], plan.combiner,
    )  # fmt: skip
    keys = [KEYS[place] for place in back]
    other = run(turned, family, conditioning.taken(back), settings, keys=keys, batch_size=1)
    assert torch.allclose(one, other[torch.from_numpy(back)], atol=1e-4)


def test_a_node_that_goes_on_with_its_cluster_keeps_its_x0(family, conditioning):
    """In a union a cluster may go on where, in another plan, it splits: each plan's pictures are those of it alone."""
    settings, plans = settings_of(family), [plan_of(tau) for tau in (0.5, 0.8, 1.6)]
    united = union(plans)
    served = {node: set(united.plan.members(node)) for node in range(len(united.plan.first))}
    assert any(served[n] == served[s] for n, s in enumerate(united.plan.source.tolist()) if s >= 0)
    made = run(united.plan, family, conditioning, settings, batch_size=1, ends=(united.ends, united.prompts))
    for plan, rows in zip(plans, united.rows, strict=True):
        assert torch.equal(made[rows], run(plan, family, conditioning, settings, batch_size=1))


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_killed_run_goes_on_with_the_clusters_x0(family, conditioning, tmp_path, step: int):
    plan, settings = plan_of(), settings_of(family)
    whole = run(plan, family, conditioning, settings)

    def killed(k: int, *_: object) -> None:
        if k == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            plan, family, conditioning, settings,
            observers=[killed], checkpoints=DenoisingCheckpoints(tmp_path, "this", every=0),
        )  # fmt: skip
    state = DenoisingCheckpoints(tmp_path, "this", every=1e9)
    assert state.load().k == step
    assert torch.equal(whole, run(plan, family, conditioning, settings, checkpoints=state))


@pytest.mark.parametrize("rows", [1, 2])
def test_parts_are_the_whole_plan_through_states_on_disk(family, conditioning, tmp_path, rows):
    settings, united = settings_of(family), union([plan_of(tau) for tau in (0.5, 0.8, 1.6)])
    plan = united.plan
    whole = run(plan, family, conditioning, settings, batch_size=1, ends=(united.ends, united.prompts))
    cut, states, begun, made = parts(plan, rows), NodeStates(tmp_path, "this"), 0, {}
    for number, (nodes, trunk) in enumerate(zip(cut.nodes, cut.waits.tolist(), strict=True)):
        part = Part.of(plan, nodes)
        begins = partial(states.load, trunk)
        initial = inherited(begins, *part.inherits(cut.nodes[trunk])) if trunk >= 0 else ()
        begun += len(initial)
        here = np.flatnonzero(np.isin(united.ends, part.nodes))
        ends = np.searchsorted(part.nodes, united.ends[here]), united.prompts[here]
        latents = run(
            part.plan, family, conditioning.taken(part.prompts), settings,
            [KEYS[prompt] for prompt in part.prompts],
            batch_size=1, initial_states=initial, ends=ends,
            on_exit=partial(states.save, number) if cut.heirs[number] else None,
        )  # fmt: skip
        made |= dict(zip(here.tolist(), latents, strict=True))
    assert begun, "parts must begin from others for this test to mean something"
    assert torch.equal(torch.stack([made[row] for row in range(len(whole))]), whole)


def test_a_scheduler_without_x0_is_refused_before_anything_is_denoised(family, conditioning):
    settings = settings_of(family, scheduler="EDMEulerScheduler")
    with pytest.raises(UserError, match="EDMEulerScheduler"):
        run(plan_of(), family, conditioning, settings)
