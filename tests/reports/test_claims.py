import pytest

from metrics.hypotheses import holm, noninferiority_p, sign_test_p
from metrics.power import noninferiority_power
from reports.base import RunView
from reports.claims import BROKEN, SAME, adjusted, claim_of, claims, left_out
from reports.paired_scores import metric_scores
from sweeps.record import Result

DELTA = 0.05


def cell_claim(record, metric, delta):
    """The claim of a single cell, whose scores are on no disk."""
    return claim_of(RunView.of(".", [record], delta), [record], metric, metric_scores)


@pytest.fixture
def counted(new_record):
    """A record with so many wins, ties and losses."""

    def made(wins: int, ties: int, losses: int, tau: str = "0.5", **rate):
        n = wins + ties + losses
        figures = {
            "vqa.win_rate": Result(value=0.5 + (wins - losses) / (2 * n), **{"low": 0.4, "high": 0.6, **rate}),
            **{
                f"vqa.{name}": Result(value=each)
                for name, each in zip(("wins", "ties", "losses"), (wins, ties, losses), strict=True)
            },
        }
        return new_record(tau).model_copy(update={"results": figures})

    return made


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((520, 0, 480), "no worse"),
        ((300, 0, 700), "worse"),
        ((9600, 0, 10400), "worse by less than delta"),
        ((480, 0, 520), "undecided"),
        ((52, 0, 48), "underpowered"),  # the paper's Style Variations: an interval of 42 to 62%
        ((30, 0, 70), "worse"),
        ((80, 0, 20), "no worse"),
        ((2, 96, 2), "no worse"),
    ],
)
def test_one_claim_by_itself(counted, counts, verdict) -> None:
    (found,) = adjusted([cell_claim(counted(*counts), "vqa", DELTA)])
    assert (
        found.noninferiority_p
        == found.noninferiority_holm
        == noninferiority_p(counts[0], counts[2], sum(counts), DELTA)
    )
    assert found.two_sided_p == found.two_sided_holm == sign_test_p(counts[0], counts[2])
    assert found.verdict == verdict


def test_the_paper_s_style_variations_are_underpowered(counted) -> None:
    found = cell_claim(counted(52, 0, 48), "vqa", DELTA)
    assert found.underpowered
    assert found.power == noninferiority_power(100, DELTA) == pytest.approx(0.17, abs=0.01)
    assert found.prompts_needed == 780
    assert found.seeds_needed is None


def test_ties_that_were_seen_are_expected_again(counted) -> None:
    few, many = (cell_claim(counted(*counts), "vqa", DELTA) for counts in ((150, 0, 150), (30, 240, 30)))
    assert few.underpowered
    assert not many.underpowered


def test_the_baseline_s_own_pictures_claim_nothing_and_are_not_corrected_for(counted) -> None:
    same = cell_claim(counted(0, 100, 0, low=0.5, high=0.5), "vqa", DELTA)
    tied = cell_claim(counted(0, 100, 0), "vqa", DELTA)
    assert (same.verdict, same.noninferiority_p) == (SAME, None)
    assert not same.underpowered
    first, second = adjusted([same, tied])
    assert first == same
    assert second.noninferiority_holm == tied.noninferiority_p, "the only claim"
    assert second.two_sided_p == 1


def test_several_claims_are_corrected_within_their_metric_and_tau_0_is_none(new_run) -> None:
    run = new_run(n=60, taus=["0", "0.5", "1"])
    view = RunView.of(run, delta=0.1)
    found = view.once(claims)
    assert [(each.metric, float(each.config.tau)) for each in found] == [("vqa", 0.5), ("vqa", 1)]
    assert [each.noninferiority_holm for each in found] == holm([each.noninferiority_p for each in found])
    assert [each.two_sided_holm for each in found] == holm([each.two_sided_p for each in found])
    assert all(each.delta == 0.1 for each in found)


def test_each_metric_is_corrected_for_its_own_claims(new_record) -> None:
    records = []
    for tau in ("0.5", "1"):
        record = new_record(tau)
        other = {name.replace("vqa.", "pick."): figure for name, figure in record.results.items() if "vqa." in name}
        records.append(record.model_copy(update={"results": {**record.results, **other}}))
    found = claims(RunView.of(".", records))
    assert [each.metric for each in found] == ["vqa", "vqa", "pick", "pick"]
    assert [each.noninferiority_holm for each in found[:2]] == [each.noninferiority_holm for each in found[2:]]


def test_a_record_without_counts_claims_nothing(new_record) -> None:
    record = new_record("1")
    bare = record.model_copy(update={"results": {"vqa.win_rate": record.results["vqa.win_rate"]}})
    view = RunView.of(".", [bare])
    assert claims(view) == []
    assert "cannot read the scores" in left_out(view)[0]
    assert cell_claim(record, "clip_diversity", DELTA) is None


def test_all_seeds_of_a_way_to_share_are_one_claim(new_run) -> None:
    run = new_run(n=60, series=[{"seed": seed} for seed in (1, 2, 3)])
    view = RunView.of(run)
    found = view.once(claims)
    assert [(float(each.config.tau), each.seeds, each.prompts, each.pairs) for each in found] == [
        (0.5, 3, 60, 180),
        (1, 3, 60, 180),
    ]
    assert [each.noninferiority_holm for each in found] == holm([each.noninferiority_p for each in found])
    assert all(1 <= each.roots <= 60 for each in found)
    assert all(each.outcomes.effective <= each.pairs for each in found)


def test_seeds_whose_scores_cannot_be_read_claim_nothing_and_it_is_said(new_run) -> None:
    run = new_run(n=20, series=[{"seed": 1}, {"seed": 2}])
    records = RunView.of(run).records
    next(record for record in records if record.config.tau == 1).scores(run).unlink()
    view = RunView.of(run)
    assert [float(each.config.tau) for each in view.once(claims)] == [0.5]
    (note,) = left_out(view)
    assert note.startswith("VQA, tau 1 is left out: ")


def test_seeds_of_different_prompts_are_not_pooled(grid) -> None:
    models = {("mini-sd", "stable-diffusion", "text"): 0.0}
    grid(models=models, datasets={"mini_styles": 40}, taus=["1"], seeds=[1])
    run = grid(models=models, datasets={"mini_styles": 30}, taus=["1"], seeds=[2])
    view = RunView.of(run)
    assert view.once(claims) == []
    assert "different numbers of prompts" in left_out(view)[0]


@pytest.mark.parametrize(("mean", "verdict"), [(0.03, BROKEN), (0.1, BROKEN), (0.8, "no worse")])
def test_a_baseline_at_the_scorer_s_floor_carries_no_claim(counted, mean, verdict) -> None:
    record = counted(520, 0, 480)
    figures = {**record.scorers["vqa"]["figures"], "vqa_mean_standard": {"label": "VQAScore, baseline", "floor": 0.1}}
    record = record.model_copy(
        update={
            "results": {**record.results, "vqa.vqa_mean_standard": Result(value=mean)},
            "scorers": {"vqa": {"name": "vqa", "figures": figures}},
        }
    )
    claim = cell_claim(record, "vqa", DELTA)
    assert adjusted([claim])[0].verdict == verdict
    assert (claim.noninferiority_p is None) == claim.broken == (verdict == BROKEN)


def test_one_seed_from_few_draws_of_noise_is_warned_of(counted) -> None:
    record = counted(520, 0, 480)
    shared = record.model_copy(update={"config": record.config.model_copy(update={"noise": "shared"})})
    assert cell_claim(shared, "vqa", DELTA).one_noise
    assert not cell_claim(record, "vqa", DELTA).one_noise, "how many its plan's roots are is not known"
