"""A sample of a real full run covers what the full run gave; the first prompts share otherwise than all of them.

The outcomes are those that `benchmarks/sampled_tau.py` made: 1,000 prompts of the miniature's grammar in full, and the
first 100 of them as a run of their own.
"""

import json

import numpy as np
import pytest

from benchmarks.measuring import RESULTS
from benchmarks.sampled_tau import DRAWS, FIRST, METRIC, PROMPTS, SAMPLE, catalogue, coverage, row, samples, variances
from common.files import canonical_json, sha256_text
from generators.prompts import given_prompts


@pytest.fixture(scope="module")
def made():
    return json.loads((RESULTS / "sampled_tau.json").read_text())


@pytest.fixture(scope="module")
def prompts(made):
    prompts = given_prompts(catalogue())
    assert sha256_text(canonical_json(list(prompts.prompts))) == made["prompts"], "of these prompts the outcomes are"
    return prompts


def gaps(finding):
    return np.array(finding["ours"]) - np.array(finding["baseline"])


def test_intervals_of_a_sample_hold_what_the_full_run_gave(made, prompts):
    draws = samples(prompts, DRAWS, SAMPLE)
    for finding in made["results"]:
        assert len(gaps(finding)) == len(prompts) == PROMPTS
        found = coverage(draws, gaps(finding), finding["zone"])
        for name, of in found.items():
            assert of["held"] >= 0.93, (finding["tau"], name)
            # no bias beyond what so many draws leave
            assert abs(of["bias"]) < 5 * of["error"] / DRAWS**0.5, (finding["tau"], name)


def test_the_first_prompts_alone_are_of_another_depth_of_sharing(made):
    """They save less at every tau, half as much in no order; so what they lose at a cost is not what the set loses."""
    for finding in made["results"]:
        assert finding["first"]["sorted"]["savings"] < finding["savings"] - 0.02, finding["tau"]
        assert finding["first"]["mixed"]["savings"] < 0.7 * finding["savings"], finding["tau"]
    first = made["results"][-1]["first"]["mixed"]
    savings, rates = zip(*((one["savings"], one["sample"]["rate"]["truth"]) for one in made["results"]), strict=True)
    assert savings[0] < first["savings"] < savings[-1]
    at_its_cost = np.interp(first["savings"], savings, rates)
    assert not first["low"] <= at_its_cost <= first["high"]


def test_strata_lose_nothing():
    values, order = np.repeat([0.0, 1.0], 50), np.arange(100)
    simple, stratified = variances(values, order, 4, 20)
    assert stratified == 0 < simple
    assert {"tau", "steps saved, %", f"first {FIRST}: steps saved, %"} <= set(
        row(json.loads((RESULTS / "sampled_tau.json").read_text())["results"][0])
    )
    assert METRIC == "vqa"
