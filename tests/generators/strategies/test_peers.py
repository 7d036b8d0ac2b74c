"""The published rules of the peers that stream: how many steps are skipped at which similarity."""

import numpy as np
import pytest

from common.errors import UserError
from generators.sharing.plan import build_plan
from generators.sharing.requests import Requests
from generators.sharing.schedule import get_schedule
from generators.strategies.base import get_strategy
from generators.strategies.check import check_strategy

EQ7 = get_schedule("eq7")
PEERS = ("vllm-omni", "chorus", "modm", "cachegenius")


def pair(similarity: float) -> np.ndarray:
    return np.array([[1.0, 0.0], [similarity, np.sqrt(1 - similarity**2)]])


def skipped(name: str, similarity: float, steps: int = 50, **parameters: object) -> int:
    """Return the steps that the second of two prompts skips."""
    planner = get_strategy(name, **parameters).grouping(pair(similarity))
    assert isinstance(planner, Requests)
    return 2 * steps - planner.plan(EQ7, 1, steps).node_steps


@pytest.mark.parametrize("name", PEERS)
def test_the_suite_passes(name: str) -> None:
    findings = {finding.check: finding for finding in check_strategy(get_strategy(name), ())}
    assert all(finding.passed for finding in findings.values())
    assert "order matters by nature" in findings["later prompts change nothing earlier"].reason


@pytest.mark.parametrize("steps", [8, 20, 50])
@pytest.mark.parametrize("threshold", [0.65, 0.75])
def test_vllm_omni_skips_linearly_from_5_steps_to_half(steps: int, threshold: float) -> None:
    """Its formula, min + int((s - t) / (1 - t) (max - min)), at similarities that no rounding moves over a step."""
    most = int(steps * 0.5)
    for similarity in np.arange(threshold + 0.0013, 0.999, 0.0131):
        ratio = (similarity - threshold) / (1 - threshold)
        expected = 5 if most <= 5 else 5 + int(ratio * (most - 5))
        assert skipped("vllm-omni", similarity, steps, threshold=threshold) == expected
    assert skipped("vllm-omni", threshold - 0.001, steps, threshold=threshold) == 0


def test_vllm_omni_never_skips_all() -> None:
    assert [skipped("vllm-omni", 0.9, steps) for steps in (1, 4, 5, 6, 10)] == [0, 0, 0, 5, 5]


@pytest.mark.parametrize(("name", "share"), [("chorus", 0.25), ("cachegenius", 0.6)])
def test_a_match_skips_one_share_whatever_the_similarity(name: str, share: float) -> None:
    assert {skipped(name, similarity) for similarity in (0.76, 0.9, 0.9999)} == {int(50 * share)}
    assert skipped(name, 0.74) == 0
    assert skipped(name, 0.9, 4) == int(4 * share)


def test_modm_skips_5_10_15_25_or_30_of_50() -> None:
    between = (0.6, 0.7, 0.8, 0.88, 0.92, 0.97)
    assert [skipped("modm", similarity) for similarity in between] == [0, 5, 10, 15, 25, 30]


def test_modm_and_cachegenius_start_from_pictures_the_others_from_latents() -> None:
    for name in PEERS:
        plan = build_plan(get_strategy(name).grouping(pair(0.97)), EQ7, 1, 20)
        assert plan.from_pictures == (name in ("modm", "cachegenius"))


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("modm", {"share": (0.2,)}, "5 similarities but 1 shares"),
        ("modm", {"share": (0.1, 0.2, 0.3, 0.4, 1.0)}, "does not rise"),
        ("vllm-omni", {"min_skip": 0}, "min_skip"),
        ("chorus", {"share": 1.0}, "share"),
        ("cachegenius", {"threshold": 1.0}, "threshold"),
    ],
)
def test_impossible_rules_are_refused(name: str, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        get_strategy(name, **parameters)
