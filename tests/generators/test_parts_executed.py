"""A plan's parts, executed apart with states handed between them, give the latents of the plan executed whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage

from generators.catalogue import model
from generators.executor import NodeState, execute
from generators.families.kandinsky import Kandinsky
from generators.noise import KeyedNoise
from generators.settings import GenerationSettings
from generators.sharing.parts import Part, parts
from generators.sharing.plan import build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree

PROMPTS = ["a red fox", "a red dog", "a blue cat", "a tree by a lake", "two trees", "a boat", "a cat"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]
K = 6


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


def settings_of(family: Kandinsky, scheduler: str) -> GenerationSettings:
    return family.settings_type.resolve(
        family.entry.defaults,
        {"steps": K, "guidance": 2.0, "prior_steps": 3, "dtype": "fp32", "scheduler": scheduler},
    )


# one draws noise at every step, one remembers model outputs and lower orders
@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DPMSolverMultistepScheduler"])
def test_trunk_and_subtrees_are_the_whole_plan_bit_for_bit(family, scheduler):
    settings = settings_of(family, scheduler)
    conditioning = family.encode(PROMPTS, KEYS, settings)
    features = conditioning.tensors["image_embeds"].double().numpy()
    tree = Tree.from_linkage(linkage(features / np.linalg.norm(features, axis=1, keepdims=True), "average"))
    plan = build_plan(tree, get_schedule("eq7"), 1.0, K)
    cut = parts(plan, workers=3)
    subtrees = [Part.of(plan, nodes) for nodes in cut.subtrees]
    begins = {int(k) for part in subtrees for k in part.plan.first[part.plan.from_states]}
    assert len(begins) > 1, "parts must begin at several steps for this test to mean something"

    def run(plan, keys, rows, **more):
        noise = KeyedNoise(settings.seed, settings.noise)
        own = type(conditioning)({name: tensor[rows] for name, tensor in conditioning.tensors.items()})
        return execute(plan, family, own, keys, settings, noise=noise, batch_size=1, **more)

    def keys_of(part):
        return [KEYS[prompt] for prompt in part.prompts]

    whole = run(plan, KEYS, np.arange(len(KEYS)))
    rows, trunks = 0, []
    for nodes in cut.trunks:
        trunk = Part.of(plan, nodes)
        heard: list[NodeState] = []
        rows += run(trunk.plan, keys_of(trunk), trunk.prompts, on_exit=heard.append).rows
        trunks.append((nodes, {each.k: each for each in heard}))
    for part, waits in zip(subtrees, cut.waits.tolist(), strict=True):
        nodes, left = trunks[waits] if waits >= 0 else (np.empty(0), {})
        first = part.plan.first[part.plan.from_states]
        initial = []
        for k in np.unique(first).tolist():
            sources = np.searchsorted(nodes, part.sources[first == k])
            at = np.searchsorted(left[k].nodes.numpy(), sources)
            memory = tuple(leaf[at] for leaf in left[k].memory)
            assert memory or scheduler == "DDPMScheduler"
            initial.append(
                NodeState(k, torch.from_numpy(part.plan.from_states[first == k]), left[k].latents[at], memory)
            )
        made = run(part.plan, keys_of(part), part.prompts, initial_states=initial)
        rows += made.rows
        assert torch.equal(made.latents, whole.latents[part.prompts[made.prompts]])
    assert rows == whole.rows == plan.node_steps


def test_a_part_without_what_it_begins_from_is_refused(family):
    settings = settings_of(family, "DDPMScheduler")
    plan = build_plan(Tree(np.array([2, 2, -1]), np.array([0, 0, 1.0]), 2), get_schedule("eq7"), 1.5, K)
    conditioning = family.encode(PROMPTS[:2], KEYS[:2], settings)
    part = Part.of(plan, np.array([0, 1]))
    with pytest.raises(ValueError, match="not given"):
        execute(
            part.plan, family, conditioning, KEYS[:2], settings, noise=KeyedNoise(1), batch_size=2
        )  # fmt: skip
