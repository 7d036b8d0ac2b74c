"""What a job denoises itself, and which of its pictures are its baseline's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from sweeps.jobs import Job
from sweeps.record import Sample

# of three prompts, two share two of four steps, and the third shares nothing
PLAN = build_plan(Tree.from_linkage([[0, 1, 0.5, 2], [2, 3, 9.0, 3]]), get_schedule("eq7"), 1.1, 4)
CACHE = object()


def job(role: Any = "sharing", *, noise: str = "per-root", cache: Any = None, plan: SharingPlan = PLAN) -> Job:
    source: Any = SimpleNamespace(settings=SimpleNamespace(noise=noise), sample=None)
    about: dict[str, Any] = {"config": None, "identity": {}, "source": source, "run": Path("run")}
    baseline = Job("baseline", "baseline", **about, plan=baseline_plan(3, 4), folder=Path("run/shared"))
    return Job("job", role, **about, plan=plan, folder=Path("run/cells"), cache=cache, baseline=baseline)


def test_only_what_shares_is_denoised_where_the_baselines_pictures_are_at_hand() -> None:
    assert job().solo.tolist() == [False, False, True]
    assert job().needed(isolate=False).node_steps == PLAN.node_steps - 4


def test_isolated_everything_is_denoised() -> None:
    assert job().needed(isolate=True).node_steps == PLAN.node_steps


@pytest.mark.parametrize("plan", [PLAN, baseline_plan(3, 4)], ids=["shared", "tau 0"])
def test_under_a_denoiser_cache_no_picture_is_the_baselines(plan: SharingPlan) -> None:
    cached = job(cache=CACHE, plan=plan)
    assert not cached.solo.any(), "the baseline knows no cache"
    assert cached.needed(isolate=False).node_steps == plan.node_steps


def test_in_one_stream_of_noise_all_pictures_are_the_baselines_or_none() -> None:
    assert not job(noise="official").solo.any(), "whoever shares draws from the stream that the others draw from"
    assert job(noise="official", plan=baseline_plan(3, 4)).solo.all()


@pytest.mark.parametrize("role", ["another-seed", "fewer-steps"])
def test_a_reference_denoises_every_prompt_though_nobody_shares(role: str) -> None:
    reference = job(role, plan=baseline_plan(3, 4))
    assert reference.needed(isolate=False).node_steps == 3 * 4


def test_what_a_cache_or_a_stream_remembers_and_what_is_to_be_timed_is_of_one_job() -> None:
    assert job(cache=CACHE).alone
    assert job(noise="official").alone
    assert job("fewer-steps").alone
    assert not job().alone
    assert not job("another-seed").alone


def test_of_a_sample_the_paths_of_those_that_were_drawn_are_denoised_and_whole_nodes_of_them() -> None:
    sampled = job()
    sampled.source.sample = Sample(of=3, strata=((3, (2, 0)),))
    assert sampled.pictured.tolist() == [True, False, True]
    needed = sampled.needed(isolate=False)
    assert needed.output.tolist().count(-1) == 2, "the third is the baseline's, the second is not drawn"
    assert needed.node_steps == 4, "the shared steps, and its own two"
    root = int((needed.source < 0).nonzero()[0][0])
    assert sorted(needed.members(root).tolist()) == [0, 1], "a node is conditioned on all its members"
    assert sampled.needed(isolate=True).node_steps == 8
    assert sampled.node_steps == PLAN.node_steps, "the cost is the whole set's"
