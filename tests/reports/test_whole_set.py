"""What a sample's run says of the whole set: its table, its verdicts and its figure; and what others say of it."""

from dataclasses import replace

import pytest
from run_folders import save_record

from metrics.sampling import Strata, whole_mean, whole_outcomes
from reports.base import RunView
from reports.claims import SAME
from reports.figures.whole_set import WholeSetFigure
from reports.frame import wall_savings
from reports.run_comparison import compare
from reports.style import theme
from reports.tables.whole_set import WholeSetTable
from reports.whole_set import AFTER, NO_WORSE, NOT_SHOWN, WORSE, WholeSet, _judged, most_sharing, whole_sets
from sweeps.record import Sample, load_records

N = 40
SAMPLE = Sample(of=10 * N, strata=((5 * N, tuple(range(N // 2))), (5 * N, tuple(range(5 * N, 5 * N + N // 2)))))


@pytest.fixture
def sampled(new_run):
    """The view of a run whose 40 pictures a cell are of a sample of 400 prompts."""
    view = RunView.of(new_run(n=N, taus=("0", "0.5", "1")))
    records = tuple(record.model_copy(update={"sample": SAMPLE}) for record in view.records)
    return replace(view, records=records)


def test_the_table_says_that_it_is_an_estimate_for_all_from_some(sampled):
    sheet = WholeSetTable().sheet(sampled)
    assert "all 400 prompts of mini_templates, from 40 of them, taken at random" in sheet.caption
    assert [str(row[0]) for row in sheet.rows] == ["0.5", "1"], "tau 0 is the baseline"
    assert list(sheet.data.prompts) == [400, 400]
    assert list(sheet.data.made_prompts) == [N, N]
    narrower = sheet.data.win_rate_high - sheet.data.win_rate_low
    assert (narrower > 0).all()
    assert any("over draws of the sample" in note for note in sheet.notes)


def test_a_run_of_all_prompts_has_no_such_table_and_no_such_figure(run_folder):
    view = RunView.of(run_folder)
    assert WholeSetTable().sheet(view) is None
    with theme():
        assert WholeSetFigure().draw(view) is None


def test_the_figure_has_a_bar_a_tau_and_the_line_that_decides(sampled):
    with theme():
        (axes,) = WholeSetFigure().draw(sampled).axes
    lines = [list(line.get_ydata()) for line in axes.lines]
    assert [45.0, 45.0] in lines
    (bars,) = axes.collections
    assert len(bars.get_segments()) == len(sampled.once(whole_sets)) == 2
    assert "all 400 prompts" in axes.figure.get_suptitle()


def test_wall_time_of_a_sample_is_not_that_of_the_set(sampled):
    assert all(wall_savings(record) is None for record in sampled.records)


def outcome(new_record, tau: str, wins: int, losses: int, savings: float) -> WholeSet:
    record = new_record(tau)
    record = record.model_copy(update={"plan": record.plan.model_copy(update={"savings": savings})})
    won = [1] * wins + [-1] * losses + [0] * (100 - wins - losses)
    strata = Strata((0,) * 100, (1000,))
    found = whole_outcomes(won, strata)
    return WholeSet((record,), "vqa", 0.05, found, found, whole_mean(won, strata))


def test_taus_are_claimed_from_the_smallest_up_until_one_is_not_shown(new_record):
    judged = _judged(
        [
            outcome(new_record, "0.1", 0, 0, 0.0),
            outcome(new_record, "0.2", 3, 3, 0.1),
            outcome(new_record, "0.5", 20, 26, 0.3),
            outcome(new_record, "0.7", 4, 3, 0.4),
            outcome(new_record, "1", 5, 80, 0.6),
        ]
    )
    assert [one.verdict for one in judged] == [SAME, NO_WORSE, NOT_SHOWN, AFTER, WORSE]
    assert most_sharing(judged) is judged[1]
    assert judged[2].needed > 100
    assert judged[4].needed is None
    assert most_sharing(judged[:1]) is None, "what shares nothing is no answer"


def test_two_samples_of_one_set_are_two_prompt_sets_where_runs_are_compared(new_run, tmp_path):
    other = Sample(of=10 * N, strata=((10 * N, tuple(range(N))),))
    folders = []
    for name, sample in (("one", SAMPLE), ("two", other)):
        folders.append(new_run(name, n=N))
        for record in load_records(folders[-1]):
            save_record(folders[-1], record.model_copy(update={"sample": sample}))
    compared = compare(folders, tmp_path / "both")
    assert len({record.config.dataset for record in compared.records}) == 2
    assert any("taken at random" in mismatch.sentence for mismatch in compared.mismatches)
