"""Numbers that overflow are seen where they first do, and cost the prompts behind them alone their pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.denoising_checkpoints import DenoisingCheckpoints
from generators.executor import decode_images, execute
from generators.families.kandinsky import Kandinsky
from generators.node_states import NodeState, inherited
from generators.noise import KeyedNoise
from generators.overflow import check_conditioning, overflow_error, within
from generators.settings import GenerationSettings
from generators.sharing.parts import Part
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree

KEYS = ["fox", "wolf", "car", "van"]
K = 4
BAD = [float("nan"), float("inf"), 1e37]


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


@pytest.fixture(scope="module")
def settings(family: Kandinsky) -> GenerationSettings:
    asked = {"steps": K, "guidance": 1.0, "prior_steps": 2, "dtype": "fp32", "height": 16, "width": 16}
    return family.settings_type.resolve(family.entry.defaults, asked)


@pytest.fixture(scope="module")
def conditioning(family: Kandinsky, settings: GenerationSettings) -> Conditioning:
    return family.encode(KEYS, KEYS, settings)


@pytest.fixture(scope="module")
def plan() -> SharingPlan:
    """Foxes and wolves share two steps, cars and vans likewise."""
    tree = Tree(np.array([4, 4, 5, 5, 6, 6, -1]), np.array([0, 0, 0, 0, 0.3, 0.3, 9.0]), 4)
    plan = build_plan(tree, get_schedule("eq7"), 1.0, K)
    assert sorted(map(len, map(plan.members, range(len(plan.first))))) == [1, 1, 1, 1, 2, 2]
    return plan


@pytest.fixture
def spoilt(family, conditioning, settings, monkeypatch):
    """Have predictions for these prompts' cluster be `value` at one number, from a step on; return the calls made."""

    def spoil(value: float, members: list[int], step: int) -> list[int]:
        mean = conditioning.tensors["image_embeds"][members].double().mean(0).float()
        calls, predict = [], family.predict

        def predicted(latents, k, sampler, rows, asked):
            calls.append(k)
            noise = predict(latents, k, sampler, rows, asked)
            if k == step:
                noise[(rows["image_embeds"] - mean).abs().amax(1) < 1e-6, 0, 0, 0] = value
            return noise

        monkeypatch.setattr(family, "predict", predicted)
        return calls

    return spoil


def run(plan, family, conditioning, settings, batch_size=4, **more):
    noise = KeyedNoise(settings.seed)
    return execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=batch_size, **more)


def decoded(family, done, settings, overflows=None):
    batches = Batches(3)
    return np.concatenate(
        list(
            decode_images(
                family, done, KEYS, settings, noise=KeyedNoise(settings.seed), batches=batches, overflows=overflows
            )
        )
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_place_of_a_row_is_looked_at(dtype):
    values = torch.randn(7, 3, 5, 11).to(dtype)
    for row, value in ((1, "nan"), (3, "inf"), (6, "-inf")):
        values[row, row % 3, row % 5, row] = float(value)
    assert within(values).tolist() == [True, False, True, False, True, True, False]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("scheduler", ["default", "DDIMScheduler", "UniPCMultistepScheduler"])
def test_a_cluster_that_overflows_costs_its_prompts_and_no_other(
    family, conditioning, settings, plan, spoilt, value, scheduler
):
    """Some schedulers clip, so that infinite predictions give finite latents: the prediction is looked at itself."""
    settings = settings.model_copy(update={"scheduler": scheduler})
    whole = run(plan, family, conditioning, settings)
    pictures = decoded(family, whole, settings)
    assert not whole.overflows
    spoilt(value, [0, 1], step=1)
    done = run(plan, family, conditioning, settings)
    assert done.overflows == {0: f"at step 2 of {K}", 1: f"at step 2 of {K}"}
    assert torch.equal(done.latents[2:], whole.latents[2:])
    lost: dict[int, str] = {}
    assert np.array_equal(decoded(family, done, settings, lost)[2:], pictures[2:])
    assert lost == done.overflows
    with pytest.raises(UserError, match=r"in fp32 at step 2 of 4: no picture of prompt 1, nor of 1 other"):
        decoded(family, done, settings)


def test_a_prompt_that_overflows_alone_leaves_its_siblings(family, conditioning, settings, plan, spoilt):
    spoilt(float("nan"), [2], step=3)
    assert run(plan, family, conditioning, settings, batch_size=1).overflows == {2: f"at step 4 of {K}"}


def test_where_all_have_overflowed_no_more_steps_are_taken(family, conditioning, settings, monkeypatch):
    calls, predict = [], family.predict

    def predicted(latents, k, *rest):
        calls.append(k)
        return predict(latents, k, *rest) * float("inf")

    monkeypatch.setattr(family, "predict", predicted)
    done = run(baseline_plan(4, K), family, conditioning, settings)
    assert calls == [0]
    assert done.overflows == dict.fromkeys(range(4), f"at step 1 of {K}")
    lost: dict[int, str] = {}
    assert not decoded(family, done, settings, lost).any()
    assert lost == done.overflows


def test_it_is_known_after_a_resumption(family, conditioning, settings, plan, spoilt, tmp_path):
    settings = settings.model_copy(update={"scheduler": "DDIMScheduler"})  # its latents are finite
    spoilt(float("inf"), [0, 1], step=1)

    def kill(k, *_):
        if k == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints = DenoisingCheckpoints(tmp_path, "this", every=0)
        run(plan, family, conditioning, settings, observers=[kill], checkpoints=checkpoints)
    done = run(plan, family, conditioning, settings, checkpoints=DenoisingCheckpoints(tmp_path, "this", every=1e9))
    assert "resumed" in done.notes[0]
    assert done.overflows == dict.fromkeys((0, 1), f"at step 2 of {K}")


def test_it_is_known_to_the_parts_that_go_on_elsewhere(family, conditioning, settings, plan, spoilt):
    spoilt(float("inf"), [0, 1], step=0)
    trunk = Part.of(plan, np.flatnonzero(plan.first == 0))
    exported: dict[int, NodeState] = {}
    run(trunk.plan, family, conditioning, settings, on_exit=lambda state: exported.update({state.k: state}))
    subtree = Part.of(plan, np.flatnonzero(plan.first > 0))
    states = inherited(exported.__getitem__, *subtree.inherits(trunk.nodes))
    done = run(subtree.plan, family, conditioning, settings, initial_states=states)
    assert done.overflows == dict.fromkeys((0, 1), f"at step 1 of {K}")


def test_a_worker_returns_the_other_prompts_pictures(family, conditioning, settings, plan, spoilt, monkeypatch):
    from generators.acceleration import Acceleration
    from sweeps import worker

    spoilt(float("nan"), [3], step=3)
    doing = worker.Worker("cpu", "none", Acceleration())
    monkeypatch.setattr(doing._families, "get", lambda *_: family)
    whole = Part.of(plan, np.arange(len(plan.first)))
    outcome = doing.part(worker.Task(0, 0, family.entry, settings, whole, tuple(KEYS), conditioning, batch_size=4))
    assert outcome.error is None
    assert sorted(outcome.files) == [0, 1, 2]
    assert outcome.overflows == {3: f"at step 4 of {K}"}


def test_encodings_that_overflow_are_refused_by_prompt(conditioning):
    check_conditioning(conditioning, "karlo", "fp16", KEYS)
    tensors = {name: tensor.clone() for name, tensor in conditioning.tensors.items()}
    tensors["image_embeds"][2, 1] = float("nan")
    with pytest.raises(UserError, match=r"karlo overflow in fp16 in encoding \(image_embeds\).* prompt 3 \('car'\)"):
        check_conditioning(Conditioning(tensors), "karlo", "fp16", KEYS)


@pytest.mark.parametrize(("dtype", "says"), [("fp16", "bf16 or fp32"), ("bf16", "fp32"), ("fp32", "--guidance")])
def test_what_to_do_depends_on_the_precision(dtype, says):
    error = overflow_error("sd15", dtype, {0: "in decoding"}, ["x" * 500])
    assert says in error.hint
    assert len(error.message) < 200
