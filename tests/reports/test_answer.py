from dataclasses import asdict

import numpy as np
import pytest
from run_folders import figures_at, save_record, save_scores

from generators.sharing.plan import SharingPlan
from metrics.power import pairs_for_noninferiority
from metrics.vqa import VQAScore
from reports.answer import answer
from reports.base import RunView
from reports.claims import claims
from sweeps.record import Result


@pytest.fixture
def told(new_record):
    """The answer to cells of so many wins, ties and losses, by tau, within a delta; no files are behind them."""

    def made(cells: dict[str, tuple[int, int, int]], delta: float = 0.05, **axes: object):
        records = []
        for tau, (wins, ties, losses) in cells.items():
            n = wins + ties + losses
            rate = 0.5 + (wins - losses) / (2 * n)
            figures = {
                "vqa.win_rate": Result(value=rate, low=rate - 0.02, high=rate + 0.02, n=n),
                "vqa.wins": Result(value=wins),
                "vqa.ties": Result(value=ties),
                "vqa.losses": Result(value=losses),
            }
            records.append(new_record(tau, **axes).model_copy(update={"results": figures}))
        return answer(RunView.of(".", records, delta))

    return made


def test_of_the_taus_that_are_no_worse_the_one_that_saves_most_is_told(told) -> None:
    found = told({"0": (0, 1000, 0), "0.5": (500, 0, 500), "1": (490, 30, 480), "2": (100, 0, 900)})
    assert found.claimed
    assert found.question.startswith("How much of the denoising of mini-kandinsky can the prompts of mini_templates")
    claimed, against = found.lines[0], found.lines[-1]
    assert claimed.startswith("At tau 1 sharing saves ")
    assert "50.5% [47.5, 53.5] over 1,000 pairs: no worse within 5 points, corrected for 3 claims." in claimed
    assert "of FLOPs (47.4% of denoiser evaluations)" in claimed
    assert against == "A loss is certain from tau 2 on."


def test_a_loss_that_nobody_sees_is_not_called_one(new_record) -> None:
    figures = {
        "vqa.win_rate": Result(value=0.1, low=0.08, high=0.12, n=1000),
        "vqa.wins": Result(value=100),
        "vqa.ties": Result(value=0),
        "vqa.losses": Result(value=900),
    }

    def against(difference: float) -> str:
        results = {**figures, "vqa.vqa_difference": Result(value=difference)}
        record = new_record("1").model_copy(update={"results": results})
        return answer(RunView.of(".", [record], 0.05)).lines[-1]

    assert "A loss is certain from tau 1 on." in against(-0.01)
    found = against(-0.0004)
    assert "certain" not in found
    assert "At tau 1 more scores fall than rise, by more than chance, but by less than 0.001 on average" in found


def test_worse_by_less_than_delta_is_said_so(told) -> None:
    assert "worse, but by less than 5 points" in told({"0.5": (9600, 0, 10400)}).lines[0]


def test_where_nothing_can_be_claimed_the_smallest_delta_that_can_and_the_prompts_needed_are_told(told) -> None:
    found = told({"0.5": (50, 20, 50)})
    assert not found.claimed
    assert found.lines[0].startswith(
        "With 120 prompts no tau is shown to be no worse within 5 points. Within 10 points, tau 0.5 is: it saves "
    )
    needed = pairs_for_noninferiority(0.05, 20 / 120)
    assert f"{needed:,} prompts are needed (80% power for one claim alone; this run has 120)" in found.lines[-1]
    assert told({"0.5": (50, 20, 50)}, delta=0.1).claimed


def test_the_widest_delta_is_said_to_fail_too(told) -> None:
    found = told({"0.5": (3, 0, 3), "1": (2, 0, 4)})
    assert "within 5 points, or even within 20 points. Tau 0.5 comes nearest" in found.lines[0]


def test_without_delta_no_number_of_prompts_is_promised(told) -> None:
    assert "No number of prompts" in told({"0.5": (50, 20, 50)}, delta=0.0).lines[-1]


def test_a_loss_at_some_taus_alone_is_not_told_as_from_there_on(told) -> None:
    found = told({"0.5": (300, 0, 700), "1": (495, 10, 495)}, delta=0.01)
    assert "A loss is certain in 1 of the cells, at tau 0.5." in found.lines[-1]


def test_the_baseline_s_own_pictures_claim_nothing(new_run) -> None:
    found = answer(RunView.of(new_run(taus=["0"])))
    assert found.lines == ("Nothing was shared yet: no cell with tau above 0 has finished.",)
    assert not found.claimed


def test_without_scores_savings_are_told_and_how_to_score(new_record) -> None:
    found = answer(RunView.of(".", [new_record("1").model_copy(update={"results": {}})]))
    assert found.lines[0].startswith("At tau 1 sharing saves ")
    assert "bench score" in found.lines[1]


def test_savings_at_parity_and_another_seed_come_from_the_run_itself(new_run, new_record) -> None:
    run = new_run(n=40)
    view = RunView.of(run)
    other = new_record("0", strategy="another-seed").model_copy(update={"role": "another-seed"})
    lines = answer(RunView.of(run, [*view.records, other])).lines
    assert lines[2].startswith("Savings at parity, where the estimated VQA win rate falls below 45%: ")
    assert "of a lossless method they would demonstrate" in lines[2]
    assert "The seed control (A/A), the baseline from another seed, has a win rate of " in lines[3]


def test_each_series_is_told_corrected_as_part_of_all(new_run) -> None:
    view = RunView.of(new_run(n=60, series=[{"model": "a"}, {"model": "b"}]), delta=0.2)
    found = answer(view)
    assert "prompts of mini_templates" in found.question
    assert [name for name, _ in found.series] == ["a", "b"]
    assert f"corrected for {len(view.once(claims))} claims" in found.lines[0]
    assert "(a)" in found.lines[0]
    assert "falls below 30%: from " in found.lines[2]


# wins of 60 prompts; the fourth seed by itself is the luckiest
LOSING = [22, 19, 24, 30, 21, 20, 23, 22, 25, 18, 22, 21, 24, 22, 20, 21]
EVEN = [31, 26, 29, 34, 28, 30, 27, 32, 25, 31, 29, 30, 28, 33, 29, 29]


@pytest.fixture
def sixteen_seeds(tmp_path, new_record):
    """A run of 60 prompts whose seeds have so many wins at tau 1 and else losses; its plan has so many roots."""

    def made(wins: list[int], roots: int = 60) -> RunView:
        run = tmp_path / "sixteen"
        (run / "cells").mkdir(parents=True)
        rng, numbers, each = np.random.default_rng(0), np.arange(roots), 60 // roots
        plan = SharingPlan(
            n_prompts=60,
            steps=20,
            first=np.zeros(roots, int),
            stop=np.full(roots, 20),
            source=np.full(roots, -1),
            order=np.arange(60),
            lo=numbers * each,
            hi=(numbers + 1) * each,
            output=np.arange(60) // each,
            combiner="mean",
        )
        for seed, won in enumerate(wins, start=101):
            record = new_record("1", n=60, seed=seed)
            outcomes = rng.permutation([1] * won + [-1] * (60 - won))
            save_record(run, record.model_copy(update={"results": figures_at(outcomes, 1.0)}))
            save_scores(run, record, outcomes)
            plan.save(record.folder(run) / "plan.npz")
        return RunView.of(run)

    return made


def test_of_16_seeds_that_lose_the_luckiest_is_not_what_is_told(sixteen_seeds) -> None:
    view = sixteen_seeds(LOSING)
    told = answer(view)
    (claim,) = view.once(claims)
    assert (claim.seeds, claim.pairs, claim.verdict) == (16, 960, "worse")
    assert f"{100 * claim.rate.value:.1f}" == "36.9"
    assert claim.rate.high < 0.45
    assert not told.claimed
    assert told.lines[0].startswith(
        "With 60 prompts and 16 seeds no tau is shown to be no worse within 5 points. Within 20 points, tau 1 is: "
    )
    assert f"36.9% [{100 * claim.rate.low:.1f}, {100 * claim.rate.high:.1f}] over 960 pairs" in told.lines[0]
    assert told.lines[1].startswith(
        "It rests on 60 prompts, 16 seeds, 60 draws of noise a seed; the baseline's mean VQAScore is 0.80."
    )
    assert "A loss is certain from tau 1 on." in told.lines[-1]
    assert "seed 104" not in " ".join([*told.lines, *(text for pair in told.series for text in pair)])


def test_of_16_seeds_that_are_even_no_worse_is_told(sixteen_seeds) -> None:
    view = sixteen_seeds(EVEN)
    told = answer(view)
    (claim,) = view.once(claims)
    assert f"{100 * claim.rate.value:.1f}" == "49.1"
    assert 0.45 < claim.rate.low < 0.47
    assert told.claimed
    assert told.lines[0].startswith("At tau 1 sharing saves ")
    assert "49.1% [" in told.lines[0]
    assert ": no worse within 5 points." in told.lines[0], "one claim, whatever the number of seeds"
    assert not told.series


def test_of_few_seeds_the_prompts_and_the_seeds_that_are_needed_are_told(sixteen_seeds) -> None:
    view = sixteen_seeds(EVEN[:4])
    (claim,) = view.once(claims)
    assert claim.seeds_needed > 4
    assert claim.prompts_needed > 60
    assert (
        f"{claim.prompts_needed:,} prompts with 4 seeds or {claim.seeds_needed:,} seeds of these prompts are needed"
    ) in answer(view).lines[-1]


def test_seeds_are_the_unit_where_all_prompts_start_from_one_draw(sixteen_seeds) -> None:
    (claim,) = sixteen_seeds(EVEN, roots=1).once(claims)
    assert (claim.roots, claim.outcomes.degrees) == (1, 15)


def test_one_seed_of_one_draw_is_told_with_a_warning(sixteen_seeds) -> None:
    told = answer(sixteen_seeds([34], roots=1))
    assert "One seed whose prompts start from one draw of noise" in told.lines[1]
    assert "may be too narrow, by up to 1.6 times" in told.lines[1]


@pytest.fixture
def told_of_baseline(new_record):
    """The answer to a cell that wins 517 of 1,000 pairs against a baseline of this mean score."""

    def made(mean: float):
        record = new_record("1", n=1000)
        figures = {name: asdict(info) for name, info in VQAScore.results.items()}
        results = {**figures_at(np.repeat([1, -1], [517, 483]), 1.0), "vqa.vqa_mean_standard": Result(value=mean)}
        scorers = {"vqa": {**record.scorers["vqa"], "figures": figures}}
        return answer(RunView.of(".", [record.model_copy(update={"results": results, "scorers": scorers})]))

    return made


def test_a_washed_out_baseline_is_called_by_name_and_nothing_is_claimed(told_of_baseline) -> None:
    broken = told_of_baseline(0.03)
    assert not broken.claimed
    assert broken.lines[0].startswith("The baseline is broken: by this scorer its own pictures do not show")
    assert "(VQAScore: mean 0.03, where 0.1 or less is failure)" in broken.lines[0]
    assert "no worse" not in broken.lines[0]
    assert "win rate of 51" not in " ".join(broken.lines)
    sound = told_of_baseline(0.8)
    assert sound.claimed
    assert "the baseline's mean VQAScore is 0.80" in sound.lines[1]
