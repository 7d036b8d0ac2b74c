"""2 x 2 designs of sharing and one other change, against interactions computed by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import asked, prompts_of, record_at, save_record

from metrics.over_seeds import pooled_difference
from reports.answer import answer
from reports.base import RunView, series_name
from reports.composition import EVERY_SET, MORE, STACKS, Composition, compositions, in_words
from reports.frame import shared_axes, varying_axes
from reports.tables.composition import CompositionTable
from sweeps.record import Record

# by variation, then whether prompts share, their scores [S, N]
Scores = Mapping[tuple[str, bool], np.ndarray]
SEEDS, N = (1, 2, 3), 80
STEPS = {"base": 20, "steps=10": 10, "dtype=bf16": 20, "model=turbo": 20}


@pytest.fixture
def composed(tmp_path: Path) -> Callable[..., Path]:
    """Make, or add to, a run of these scores; of a variation with its own baseline, the tau 0 pictures are that."""

    def made(scores: Scores, dataset: str = "mini_styles", tau: str = "0.5", **axes: object) -> Path:
        run = tmp_path / "composed"
        for (variation, shares), rows in scores.items():
            for seed, row in zip(SEEDS, rows, strict=False):
                changed = {"steps": STEPS[variation], "variation": variation, **axes}
                where = asked(tau if shares else "0", dataset=dataset, seed=seed, **changed)
                record = record_at(where, len(row))
                standard = f"shared/{variation}-{dataset}-{seed}-{where.strategy}-{where.steps}".replace("=", "-")
                record = record.model_copy(update={"baseline": standard})
                save_record(run, record)
                write_scores(record.scores(run), row)
                write_scores(record.baseline_scores(run), scores[variation, False][SEEDS.index(seed)])
        (run / "sweep.yaml").write_text("schema_version: 1\n")
        return run

    return made


def write_scores(path: Path, scores: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"prompt": prompts_of(len(scores)), "vqa.vqa": scores}).to_parquet(path)


def drawn(seed: int = 0, *, sharing: float = -0.1, alone: float = -0.05, interaction: float = 0.0) -> dict:
    """Scores whose expected interaction this is; each prompt and seed has noise of its own."""
    rng = np.random.default_rng(seed)
    standard = rng.uniform(0.4, 0.8, (len(SEEDS), N))

    def changed(by: float) -> np.ndarray:
        return standard + by + rng.normal(0, 0.05, standard.shape)

    return {
        ("base", False): standard,
        ("base", True): changed(sharing),
        ("steps=10", False): changed(alone),
        ("steps=10", True): changed(sharing + alone + interaction),
    }


def only(run: Path) -> Composition:
    (found,) = compositions(RunView.of(run)).found
    return found


def test_losses_and_the_interaction_are_those_by_hand(composed) -> None:
    """All against the base's standard pictures, though the variation's records are held against its own."""
    scores = drawn(interaction=-0.2)
    found = only(composed(scores))
    base = scores["base", False]
    s, p, b = (scores[key] - base for key in [("base", True), ("steps=10", False), ("steps=10", True)])
    for estimate, gaps in ((found.sharing, s), (found.alone, p), (found.together, b), (found.interaction, b - s - p)):
        expected = pooled_difference(gaps)
        assert estimate.value == pytest.approx(gaps.mean())
        assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    assert found.interaction.high < -0.15
    assert found.verdict == MORE


@pytest.mark.parametrize(
    ("interaction", "verdict"),
    [(0.0, STACKS), (-0.2, MORE), (0.2, "costs less together"), (-0.05, MORE)],
)
def test_the_verdict_follows_from_the_interval(composed, interaction: float, verdict: str) -> None:
    assert only(composed(drawn(interaction=interaction))).verdict == verdict


def test_few_pairs_settle_nothing(composed) -> None:
    few = {key: rows[:, :4] for key, rows in drawn(interaction=-0.02).items()}
    assert only(composed(few)).verdict == "unsettled"


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.integers(0, 1000), st.integers(1, 3), st.integers(2, 12)
)  # fmt: skip
def test_additive_losses_have_no_interaction(sharing: float, alone: float, seed: int, seeds: int, n: int) -> None:
    """Whatever the scores of prompts, and however much each loses by itself."""
    rng = np.random.default_rng(seed)
    of_sharing, of_variation = (by + rng.normal(size=(seeds, n)) for by in (sharing, alone))
    config = asked("0")
    one = Composition(config, "", "x=1", "vqa", 0.5, {}, {}, {}, of_sharing, of_variation, of_sharing + of_variation)
    assert one.interaction.value == pytest.approx(0, abs=1e-9)
    assert one.interaction.low == pytest.approx(0, abs=1e-7)
    assert one.verdict == STACKS
    assert one.together.value == pytest.approx(one.sharing.value + one.alone.value)


def test_each_set_has_a_row_and_all_of_them_one(composed) -> None:
    first, second = drawn(1), drawn(2, interaction=-0.3)
    composed(first)
    run = composed(second, "mini_scenes")
    found = {one.dataset: one for one in compositions(RunView.of(run)).found}
    assert set(found) == {"mini_styles", "mini_scenes", EVERY_SET}
    assert found[EVERY_SET].of_both.shape == (3, 2 * N)
    both = (found["mini_styles"].interaction.value + found["mini_scenes"].interaction.value) / 2
    assert found[EVERY_SET].interaction.value == pytest.approx(both)
    question, lines = in_words(RunView.of(run))
    assert question == answer(RunView.of(run)).question
    assert any("steps=10" in line and "more together" in line for line in lines)


def test_variations_and_ways_to_share_stand_apart(composed) -> None:
    scores = drawn(3)
    scores |= {("dtype=bf16", shares): scores["base", shares] for shares in (False, True)}
    composed(scores)
    run = composed({key: rows + 0.05 * key[1] for key, rows in scores.items()}, strategy="average")
    found = compositions(RunView.of(run))
    assert found.axes == ("strategy",)
    assert {(one.config.strategy, one.variation) for one in found.found} == {
        (strategy, variation) for strategy in ("average", "ward-cosine") for variation in ("steps=10", "dtype=bf16")
    }
    for one in found.found:
        if one.variation == "dtype=bf16":
            assert one.interaction.value == pytest.approx(0)
            assert one.together.value == pytest.approx(one.sharing.value)


def test_a_model_of_its_own_defaults_is_held_against_the_base_and_where_it_can_at_the_same_steps(composed) -> None:
    """What follows from the model's name may differ: its steps, its guidance, its features."""
    first, second = drawn(4), drawn(5)
    two = {("base", shares): first["base", shares] for shares in (False, True)}
    composed(two)  # 20 steps
    composed({key: rows + 0.01 for key, rows in two.items()}, steps=8)
    turbo = {("model=turbo", shares): second["steps=10", shares] for shares in (False, True)}
    for steps in (8, 20):
        run = composed(turbo, model="turbo", guidance=0.0, steps=steps)
    found = compositions(RunView.of(run)).found
    assert [(one.config.steps, {record.config.steps for record in one.both.values()}) for one in found] == [
        (8, {8}),
        (20, {20}),
    ]


def test_savings_are_of_what_the_bases_standard_takes(composed) -> None:
    found = only(composed(drawn()))
    standard = next(iter(found.shared.values())).plan.baseline_node_steps
    expected = {
        "shared": 1 - next(iter(found.shared.values())).plan.node_steps / standard,
        "varied": 1 - next(iter(found.varied.values())).plan.node_steps / standard,
    }
    assert found.saved(found.shared, "steps") == pytest.approx(expected["shared"])
    assert found.saved(found.varied, "steps") == pytest.approx(expected["varied"])
    assert found.saved(found.both, "rows") is None, "these records do not tell rows"
    counted = {
        place: record.model_copy(update={"plan": record.plan.model_copy(update={"nfe": 30, "baseline_nfe": 120})})
        for place, record in found.shared.items()
    }
    with_rows = Composition(
        found.config, "", "x=1", "vqa", 0.5, counted, counted, counted, found.of_both, found.of_both, found.of_both
    )
    assert with_rows.saved(counted, "rows") == pytest.approx(0.75)


def test_the_table_says_what_was_found(composed) -> None:
    run = composed(drawn(interaction=-0.2))
    sheet = CompositionTable().sheet(RunView.of(run))
    (row,) = [dict(zip(sheet.headings, map(str, row), strict=True)) for row in sheet.rows]
    found = only(run)
    assert row["with"] == "steps=10"
    assert row["verdict"] == "costs more together"
    assert (
        row["interaction"]
        == f"{found.interaction.value:+.3f} [{found.interaction.low:+.3f}, {found.interaction.high:+.3f}]"
    )
    assert sheet.data.loc[0, "interaction_low"] == found.interaction.low
    assert "steps 20" in sheet.caption


def test_a_variation_names_its_cells_and_what_follows_from_it_does_not(composed) -> None:
    records: tuple[Record, ...] = RunView.of(composed(drawn())).records
    assert set(varying_axes(records)) == {"variation", "seed"}
    assert "steps" not in shared_axes(records), "they have none in common"
    assert {series_name(record.config, ["variation"]) for record in records} == {"base", "steps=10"}


def test_there_is_nothing_to_say_without_variations_or_without_all_four(composed) -> None:
    scores = drawn()
    run = composed({key: rows for key, rows in scores.items() if key[0] == "base"})
    assert CompositionTable().sheet(RunView.of(run)) is None
    assert in_words(RunView.of(run)) is None
    shared_only = composed({("steps=10", False): scores["steps=10", False]})
    assert CompositionTable().sheet(RunView.of(shared_only)) is None


def test_cells_of_other_prompts_are_left_out_with_a_note(composed) -> None:
    scores = drawn()
    scores["steps=10", True] = scores["steps=10", True][:, :50]
    scores["steps=10", False] = scores["steps=10", False][:, :50]
    found = compositions(RunView.of(composed(scores)))
    assert not found.found
    assert "different numbers of prompts" in found.notes[0]
