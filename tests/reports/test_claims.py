import pytest

from metrics.hypotheses import holm, noninferiority_p, sign_test_p
from metrics.power import noninferiority_power
from reports.base import RunView
from reports.claims import SAME, adjusted, cell_claim, claims
from sweeps.record import Result

DELTA = 0.05


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
    assert found.pairs_needed == 780


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
    assert [(each.metric, float(each.record.config.tau)) for each in found] == [("vqa", 0.5), ("vqa", 1)]
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
    assert cell_claim(bare, "vqa", DELTA) is None
    assert cell_claim(record, "clip_diversity", DELTA) is None
    assert claims(RunView.of(".", [bare])) == []
