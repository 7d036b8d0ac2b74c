import pytest

from metrics.power import pairs_for_noninferiority
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
    assert "50.5% [48.5, 52.5] over 1,000 pairs: no worse within 5 points, corrected for 3 claims." in claimed
    assert "of FLOPs (47.4% of denoiser evaluations)" in claimed
    assert against == "A loss is certain from tau 2 on."


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
    assert lines[1].startswith("Savings at parity, where the estimated VQA win rate falls below 45%: ")
    assert "of a lossless method they would demonstrate" in lines[1]
    assert "The seed control (A/A), the baseline from another seed, has a win rate of " in lines[2]


def test_each_series_is_told_corrected_as_part_of_all(new_run) -> None:
    view = RunView.of(new_run(n=60, series=[{"model": "a"}, {"model": "b"}]), delta=0.2)
    found = answer(view)
    assert "prompts of mini_templates" in found.question
    assert [name for name, _ in found.series] == ["a", "b"]
    assert f"corrected for {len(view.once(claims))} claims" in found.lines[0]
    assert "(a)" in found.lines[0]
    assert "falls below 30%: from " in found.lines[1]
