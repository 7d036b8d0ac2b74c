"""Copies of one prompt part by fresh noise: how much there is, whose it is, and what solvers remember."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
from generators.renoising import renoised_nodes
from generators.sampler import Sampler
from generators.sharing.parts import Part, parts
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.sharing.union import union


def of_unit_power(seed: int) -> Tensor:
    """Noise whose mean square is 1 in every row, so that a model that knows it leaves nothing to explain."""
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return noise / noise.square().flatten(1).mean(1).sqrt().reshape(-1, 1, 1, 1)


TRUTH, OLD, FRESH = of_unit_power(0), of_unit_power(1), of_unit_power(2)


def answer(sampler: Sampler, k: int, noise: Tensor) -> Tensor:
    """What a model says that knows the picture and the noise in it."""
    if "FlowMatch" in type(sampler._scheduler).__name__:
        return noise - TRUTH
    if sampler._scheduler.config.prediction_type == "v_prediction":
        level = noise_level(sampler._scheduler, k)
        return level.alpha * noise - level.sigma * TRUTH
    return noise


def path_that_parts(sampler: Sampler, at: int, strength: float) -> tuple[Tensor, Tensor]:
    """The latents at the end of a path whose noise is replaced before step `at`, and what they should be."""
    first = noise_level(sampler._scheduler, 0)
    latents, noise, memory, x0 = first.alpha * TRUTH + first.sigma * OLD, OLD, (), None
    kept = (1 - strength**2) ** 0.5
    for k in range(sampler.K):
        if k == at:
            latents, memory = sampler.renoised(k, latents, x0, memory, FRESH, strength)
            noise = kept * OLD + strength * FRESH
            level = noise_level(sampler._scheduler, k)
            assert torch.allclose(latents, level.alpha * TRUTH + level.sigma * noise, atol=2e-3 * (1 + level.sigma))
        step = sampler.step(answer(sampler, k, noise), k, latents, lambda shape, _: torch.zeros(shape), memory)
        latents, memory, x0 = step.latents, step.memory, step.x0
        if k >= at and k + 1 < sampler.K:
            level = noise_level(sampler._scheduler, k + 1)
            expected = level.alpha * TRUTH + level.sigma * noise
            assert torch.allclose(latents, expected, atol=5e-3 * (1 + level.sigma)), k
    return latents, x0


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("name", TOLD)
def test_a_solver_goes_on_as_if_the_new_noise_had_always_been_there(name: str, strength: float):
    sampler = sampler_of(name)
    for at in range(1, sampler.K):
        _, x0 = path_that_parts(sampler, at, strength)
        assert torch.allclose(x0, TRUTH, atol=5e-3)


@pytest.mark.parametrize("name", ["DDIMScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"])
def test_that_holds_for_other_predictions(name: str):
    _, x0 = path_that_parts(sampler_of(name, prediction_type="v_prediction"), 4, 0.8)
    assert torch.allclose(x0, TRUTH, atol=5e-3)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("spread", [0.2, 1.0])
def test_gaussian_data_keep_their_variance(name: str, strength: float, spread: float):
    """Of pictures N(0, spread^2) the best prediction of x0 is linear in x, and its error is noise of its own."""
    sampler = sampler_of(name)
    generator = torch.Generator().manual_seed(3)
    for k in (1, 4, 7):
        level = noise_level(sampler._scheduler, k)
        variance = (level.alpha * spread) ** 2 + level.sigma**2
        x = variance**0.5 * torch.randn(1, 4, 256, 256, generator=generator)
        x0 = level.alpha * spread**2 / variance * x
        parted, _ = sampler.renoised(k, x, x0, (), torch.randn(x.shape, generator=generator), strength)
        assert float(parted.square().mean()) == pytest.approx(variance, rel=0.015)
        if not strength:
            assert torch.allclose(parted, x, atol=1e-5)
        if strength == 1:  # nothing but x0 stays
            rest = parted - level.alpha * x0
            alike = float((rest * x).mean() / (rest.square().mean() * x.square().mean()).sqrt())
            assert abs(alike) < 0.01


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "DDIMInverseScheduler"])
def test_a_scheduler_that_tells_no_x0_is_refused_by_name(name: str):
    """EDM's latents are scaled in a way of their own; inverted steps lead to the other side of their timesteps."""
    sampler = sampler_of(name)
    with pytest.raises(UserError, match=f"{name} does not tell the clean latents"):
        sampler.check_renoise()


@given(
    texts=st.lists(st.integers(0, 3), min_size=2, max_size=6),
    n=st.integers(1, 3),
    tau=st.floats(0, 2),
    height=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_who_gets_fresh_noise(texts: list[int], n: int, tau: float, height: float, seed: int):
    """Exactly those with a sibling that would be the same picture; also in any part of the plan."""
    rng = np.random.default_rng(seed)
    tree, left = [-1] * len(texts), list(range(len(texts)))
    scores = [0.0] * len(texts)
    while len(left) > 1:
        pair = rng.choice(len(left), size=2, replace=False)
        for node in [left[i] for i in pair]:
            tree[node] = len(tree)
            left.remove(node)
        left.append(len(tree))
        tree.append(-1)
        scores.append(scores[-1] + float(rng.random()))
    plan = build_plan(Tree(tree, scores, len(texts)).with_copies(n, height), get_schedule("eq7"), tau, 10)
    of = [text for text in texts for _ in range(n)]
    keys = [f"{text}#{of[:i].count(text)}" for i, text in enumerate(of)]
    fresh = renoised_nodes(plan, keys)
    said = [sorted({of[i] for i in plan.members(node)}) for node in range(len(plan.first))]
    for node, source in enumerate(plan.source.tolist()):
        siblings = [] if source < 0 else np.flatnonzero(plan.source == source).tolist()
        twins = [one for one in siblings if one != node and len(said[node]) == 1 and said[one] == said[node]]
        if twins:
            assert fresh[node]
        if fresh[node]:  # a sibling may also have that text among others
            assert any(set(said[node]) & set(said[one]) for one in siblings if one != node)
    wanted = rng.random(len(of)) < 0.5
    if wanted.any():
        part = plan.restricted(wanted)
        there = renoised_nodes(part, keys)
        for node, kept in enumerate(there.tolist()):
            whole = [i for i in range(len(said)) if np.array_equal(plan.members(i), part.members(node))]
            assert kept in [bool(fresh[i]) for i in whole if plan.first[i] == part.first[node]]


def test_a_node_that_goes_on_beside_one_that_parts_keeps_its_noise():
    pair = Tree([2, 2, -1], [0, 0, 0.5], 2)
    early, late = (build_plan(pair, get_schedule("eq7"), tau, 8) for tau in (0.8, 1.6))
    plan, keys = union([baseline_plan(2, 8), early, late]).plan, ["fox#0", "fox#1"]
    fresh = renoised_nodes(plan, keys)
    assert fresh.sum() == 4  # both copies, at both taus
    assert not fresh[(plan.hi - plan.lo) == 2].any()
    assert not fresh[plan.source < 0].any()


TEXTS, COPIES, K = ["a red fox", "a red dog", "a blue cat"], 3, 6
KEYS = [f"{text}#{copy}" for text in TEXTS for copy in range(COPIES)]


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


@pytest.fixture(scope="module")
def conditioning(family: Kandinsky) -> Conditioning:
    once = family.encode(TEXTS, KEYS[::COPIES], settings_of(family))
    return once.taken(np.repeat(np.arange(len(TEXTS)), COPIES))


def settings_of(family: Kandinsky, noise: str = "per-root:renoise=0.8", scheduler: str = "UniPCMultistepScheduler"):
    asked = {"steps": K, "guidance": 2.0, "prior_steps": 3, "dtype": "fp32", "height": 16, "width": 16}
    return family.settings_type.resolve(family.entry.defaults, {**asked, "noise": noise, "scheduler": scheduler})


def plan_of(tau: float = 1.0) -> SharingPlan:
    tree = Tree([3, 3, 4, 4, -1], [0, 0, 0, 0.3, 0.9], len(TEXTS)).with_copies(COPIES, 0.5)
    return build_plan(tree, get_schedule("eq7"), tau, K)


def run(plan, family, conditioning, settings, keys=KEYS, batch_size=4, **more) -> Tensor:
    noise = KeyedNoise(settings.seed, settings.noise)
    return execute(
        plan, family, conditioning, keys, settings, noise=noise, batch_size=batch_size, **more
    ).latents  # fmt: skip


def test_copies_are_one_picture_without_it_and_differ_with_it(family, conditioning):
    off = run(plan_of(), family, conditioning, settings_of(family, "per-root"))
    none = run(plan_of(), family, conditioning, settings_of(family, "per-root:renoise=0"))
    little = run(plan_of(), family, conditioning, settings_of(family, "per-root:renoise=0.1"))
    on = run(plan_of(), family, conditioning, settings_of(family))
    assert torch.equal(off, none)
    for first in range(0, len(KEYS), COPIES):
        assert torch.equal(off[first], off[first + 1])
        assert not torch.allclose(on[first], on[first + 1], atol=0.1)
        assert 0 < (little[first] - little[first + 1]).norm() < (on[first] - on[first + 1]).norm() / 2
    alone = baseline_plan(len(KEYS), K)
    assert torch.equal(
        run(alone, family, conditioning, settings_of(family)),
        run(alone, family, conditioning, settings_of(family, "per-root")),
    )


def test_neither_batches_nor_order_matter(family, conditioning):
    plan, settings = plan_of(), settings_of(family)
    one = run(plan, family, conditioning, settings, batch_size=1)
    assert torch.allclose(one, run(plan, family, conditioning, settings, batch_size=5), atol=1e-4)
    back = np.arange(len(KEYS))[::-1].copy()
    turned = SharingPlan(
        len(KEYS), plan.steps, plan.first, plan.stop, plan.source, back[plan.order], plan.lo, plan.hi,
        plan.output[back], plan.combiner,
    )  # fmt: skip
    keys = [KEYS[place] for place in back]
    other = run(turned, family, conditioning.taken(back), settings, keys=keys, batch_size=1)
    assert torch.allclose(one, other[torch.from_numpy(back)], atol=1e-4)


def test_a_killed_run_goes_on_with_the_x0_that_copies_keep(family, conditioning, tmp_path):
    plan, settings = plan_of(), settings_of(family)
    whole = run(plan, family, conditioning, settings)
    step = int(plan.first[renoised_nodes(plan, KEYS)][0]) - 1  # killed between the step and what begins from it

    def killed(k: int, *_: object) -> None:
        if k == step + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            plan, family, conditioning, settings,
            observers=[killed], checkpoints=DenoisingCheckpoints(tmp_path, "this", every=0),
        )  # fmt: skip
    state = DenoisingCheckpoints(tmp_path, "this", every=1e9)
    assert state.load().k == step + 1
    assert torch.equal(whole, run(plan, family, conditioning, settings, checkpoints=state))


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_parts_are_the_whole_plan_through_states_on_disk(family, conditioning, tmp_path, rows):
    plan, settings = plan_of(), settings_of(family)
    fresh = renoised_nodes(plan, KEYS)
    whole = run(plan, family, conditioning, settings, batch_size=1)
    cut, states, begun = parts(plan, rows), NodeStates(tmp_path, "this"), 0
    for number, (nodes, trunk) in enumerate(zip(cut.nodes, cut.waits.tolist(), strict=True)):
        part = Part.of(plan, nodes)
        begins = partial(states.load, trunk)
        initial = inherited(begins, *part.inherits(cut.nodes[trunk])) if trunk >= 0 else ()
        begun += int(fresh[part.nodes][part.plan.from_states].sum())
        made = run(
            part.plan, family, conditioning.taken(part.prompts), settings,
            [KEYS[prompt] for prompt in part.prompts],
            batch_size=1, initial_states=initial, renoised=fresh[part.nodes],
            on_exit=partial(states.save, number) if cut.heirs[number] else None,
        )  # fmt: skip
        assert torch.equal(made, whole[part.prompts[part.plan.ends[1]]])
    assert any(cut.heirs)
    assert begun, "copies must part where a part of the plan begins for this test to mean something"


def test_a_scheduler_without_x0_is_refused_before_anything_is_denoised(family, conditioning):
    settings = settings_of(family, scheduler="EDMEulerScheduler")
    plan = build_plan(Tree.singletons(3).with_copies(COPIES, 0.5), get_schedule("eq7"), 1.0, K)
    with pytest.raises(UserError, match="EDMEulerScheduler"):
        run(plan, family, conditioning, settings)


def test_a_prompt_that_joins_an_equal_ones_path_gets_fresh_noise_and_the_other_keeps_its_own():
    path, joined = [0, 0, 0], [1]  # prompt 0 alone over two nodes, and prompt 1 from the first of them
    members = [*path[:2], *joined]
    plan = SharingPlan(
        2, 6, np.array([0, 3, 3]), np.array([3, 6, 6]), np.array([-1, 0, 0]), np.array(members),
        np.arange(3), np.arange(3) + 1, np.array([1, 2]), "mean",
    )  # fmt: skip
    assert renoised_nodes(plan, ["fox#0", "fox#1"]).tolist() == [False, False, True]
    assert not renoised_nodes(plan, ["fox#0", "dog#0"]).any()
