"""A plan's parts, executed apart with states handed between them, give the latents of the plan executed whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage

from generators.catalogue import model
from generators.executor import execute
from generators.families.kandinsky import Kandinsky
from generators.node_states import NodeState, NodeStates, inherited
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
def test_parts_are_the_whole_plan_bit_for_bit(family, scheduler, tmp_path):
    settings = settings_of(family, scheduler)
    conditioning = family.encode(PROMPTS, KEYS, settings)
    features = conditioning.tensors["image_embeds"].double().numpy()
    tree = Tree.from_linkage(linkage(features / np.linalg.norm(features, axis=1, keepdims=True), "average"))
    plan = build_plan(tree, get_schedule("eq7"), 1.0, K)
    cut = parts(plan, rows=1)
    every = [Part.of(plan, nodes) for nodes in cut.nodes]
    begins = {int(k) for part in every for k in part.plan.first[part.plan.from_states]}
    assert len(begins) > 1, "parts must begin at several steps for this test to mean something"
    assert any(cut.waits[trunk] >= 0 for trunk in cut.waits if trunk >= 0), "nor without a trunk that begins from one"

    def run(plan, keys, rows, **more):
        noise = KeyedNoise(settings.seed, settings.noise)
        own = conditioning.taken(rows)
        return execute(plan, family, own, keys, settings, noise=noise, batch_size=1, **more)

    def keys_of(part):
        return [KEYS[prompt] for prompt in part.prompts]

    whole = run(plan, KEYS, np.arange(len(KEYS)))
    rows, states = 0, NodeStates(tmp_path, "of this plan")
    for number, (part, waits) in enumerate(zip(every, cut.waits.tolist(), strict=True)):
        initial = ()
        if waits >= 0:
            initial = inherited(lambda k, trunk=waits: states.load(trunk, k), *part.inherits(cut.nodes[waits]))
            assert all(state.memory for state in initial) or scheduler == "DDPMScheduler"
        keep = (lambda state, number=number: states.save(number, state)) if cut.heirs[number] else None
        made = run(part.plan, keys_of(part), part.prompts, initial_states=initial, on_exit=keep)
        rows += made.rows
        assert torch.equal(made.latents, whole.latents[part.prompts[made.prompts]])
    assert rows == whole.rows == plan.node_steps


def test_states_of_another_plan_or_damaged_ones_are_not_taken(tmp_path):
    state = NodeState(3, torch.arange(2), torch.ones(2, 1, 4, 4), (torch.zeros(2, 5),), torch.tensor([-1, 2]))
    states = NodeStates(tmp_path, "of this plan")
    states.save(7, state)
    read = states.load(7, 3)
    assert torch.equal(read.latents, state.latents) and torch.equal(read.memory[0], state.memory[0])
    assert read.overflow.tolist() == [-1, 2]
    assert states.whole(7, [3]) and not states.whole(7, [3, 4])
    assert not NodeStates(tmp_path, "of another").whole(7, [3])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert not states.whole(7, [3])
    states.delete_others([7])
    assert list(tmp_path.iterdir()) == [path]
    states.delete(7)
    assert not list(tmp_path.iterdir())


def test_a_part_without_what_it_begins_from_is_refused(family):
    settings = settings_of(family, "DDPMScheduler")
    plan = build_plan(Tree(np.array([2, 2, -1]), np.array([0, 0, 1.0]), 2), get_schedule("eq7"), 1.5, K)
    conditioning = family.encode(PROMPTS[:2], KEYS[:2], settings)
    part = Part.of(plan, np.array([0, 1]))
    with pytest.raises(ValueError, match="not given"):
        execute(
            part.plan, family, conditioning, KEYS[:2], settings, noise=KeyedNoise(1), batch_size=2
        )  # fmt: skip
