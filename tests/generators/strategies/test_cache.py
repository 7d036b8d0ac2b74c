"""The cache strategy: its table, its order, and a picture that starts from another prompt's latent."""

import numpy as np
import pytest
import torch

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.executor import execute
from generators.families.base import get_family, resolve_settings
from generators.noise import KeyedNoise, node_key
from generators.prompts import given_prompts
from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from generators.strategies.check import check_strategy
from generators.strategies.check_planner import paths
from sweeps.grid import parse_strategy

EQ7 = get_schedule("eq7")


def test_its_length_says_nothing_of_a_prompt() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 3))
    stretched = rows * np.linspace(1, 9, 30)[:, None]
    one, two = (get_strategy("cache").grouping(each).plan(EQ7, 1, 20) for each in (rows, stretched))
    assert one.savings > 0 and np.array_equal(paths(one), paths(two))


def test_the_order_is_given_or_drawn_by_the_seed() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 3))
    assert get_strategy("cache").grouping(rows, seed=5).arrivals.tolist() == list(range(30))
    drawn = get_strategy("cache", order="drawn")
    orders = [tuple(drawn.grouping(rows, seed=seed).arrivals.tolist()) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_parameters_come_from_the_command_line() -> None:
    strategy = parse_strategy("cache:similarity=[0.5, 0.8]:share=[0.25, 0.5]:size=null:eviction=lru")
    near = np.array([[1.0, 0.0], [np.cos(0.6), np.sin(0.6)], [1.0, 0.0]])  # cosines 0.825 and 1
    assert strategy.grouping(near).plan(EQ7, 1, 8).node_steps == 8 + 4 + 4
    assert strategy.grouping(near[:1]).plan(EQ7, 1, 8).node_steps == 8


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"share": (0.2,)}, "5 similarities but 1 shares"),
        ({"share": (0.1, 0.2, 0.3, 0.4, 1.0)}, "to below 1"),
        ({"similarity": (0.1, 0.2, 0.4, 0.3, 0.5)}, "does not rise"),
        ({"size": 0}, "size"),
        ({"eviction": "fifo"}, "eviction"),
    ],
)
def test_impossible_tables_are_refused(parameters: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        get_strategy("cache", **parameters)


def test_it_makes_no_tree() -> None:
    with pytest.raises(UserError, match="makes no tree"):
        get_strategy("cache").tree(np.eye(3))


def test_the_suite_says_that_order_matters_by_nature() -> None:
    findings = {finding.check: finding for finding in check_strategy(get_strategy("cache"), ())}
    assert all(finding.passed for finding in findings.values())
    assert "order matters by nature" in findings["later prompts change nothing earlier"].reason
    assert not any("tree" in check or "does not matter" in check for check in findings)


def test_a_borrowed_path_is_the_lenders_and_then_its_own() -> None:
    """mini-sd, step by step: until step 4 the lender's text and noise alone, from then on the borrower's."""
    torch.set_num_threads(1)
    entry = model("mini-sd")
    settings = resolve_settings(entry, {"steps": 8, "scheduler": "DDPMScheduler"})
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    prompts = given_prompts(["a photo of a red ball", "a photo of a red ball on grass"])
    conditioning = family.encode(prompts.prompts, prompts.keys, settings, Batches(2))
    strategy = get_strategy("cache", similarity=(-0.9,), share=(0.5,))
    plan = build_plan(strategy.grouping(family.features(conditioning, family.features_options[0])), EQ7, 1, 8)
    assert paths(plan).tolist() == [[0] * 8, [0] * 4 + [1] * 4]
    noise = KeyedNoise(settings.seed, settings.noise)
    ran = execute(plan, family, conditioning, prompts.keys, settings, noise=noise, batch_size=1)
    assert ran.rows == plan.node_steps == 12

    sampler, keys = family.sampler(settings), [node_key([key]) for key in prompts.keys]
    latents = noise.initial(keys[:1], family.latent_shape(settings)) * sampler.init_sigma
    for k in range(8):
        who = 0 if k < 4 else 1
        rows = {name: tensor[[who]] for name, tensor in conditioning.tensors.items()}
        output = family.predict(latents, k, sampler, rows, settings)
        step = sampler.step(output, k, latents, lambda shape, i, k=k, who=who: noise.step([keys[who]], k, shape[1:], i))
        latents = step.latents
    assert torch.equal(ran.latents[1], latents[0])
