"""Sharing beside baselines of as many rows, from score files."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import reusebench as rb
from reports.base import RunView
from reports.paired_scores import metric_scores
from reports.tables.equal_rows import EqualRows, compared
from sweeps.record import EQUAL, read_run

PROMPTS = ["a red circle", "a red square", "a blue circle", "a blue square", "two red circles", "a green ring"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of mini-sd with its equal-rows baselines."""
    folder = tmp_path_factory.mktemp("equal") / "run"
    plan = rb.plan(
        model="mini-sd", prompt=PROMPTS, steps=8, tau="0,1.2", metric=["vqa=embedded:vqa"], seed="1,2",
        equal_rows=True, audit=False, seed_control=False, folder=folder,
    )  # fmt: skip
    assert rb.score(rb.generate(plan)).failed == []
    return folder


def test_all_spend_as_many_rows_to_half_a_step(run: Path):
    records = read_run(run).records
    sharing = {record.config.seed: record for record in records if record.role == "sharing" and record.config.tau}
    found = [record for record in records if record.role in EQUAL]
    assert {record.role for record in found} == set(EQUAL)
    for record in found:
        own = sharing[record.config.seed]
        assert record.plan.baseline_nfe == own.plan.baseline_nfe
        assert abs(record.plan.nfe - own.plan.nfe) <= len(PROMPTS)
        rows = record.plan.nfe - 2 * (record.plan.node_steps - (record.plan.unguided_steps or 0))
        assert rows == (record.plan.unguided_steps or 0), "a row where guidance is off, two where it is on"
        denoiser = {name: one.flops.components["denoiser"] for name, one in (("sharing", own), ("this", record))}
        assert denoiser["this"] / denoiser["sharing"] == pytest.approx(record.plan.nfe / own.plan.nfe)


def test_the_lead_is_the_mean_of_the_scores_differences(run: Path):
    view = RunView.of(run, read_run(run).records)
    rivals = compared(view, notes := [])
    assert not notes
    assert [rival.records[0].role for rival in rivals] == ["sharing", *EQUAL]
    for rival in rivals[1:]:
        gaps = [
            metric_scores(ours.scores(run), "vqa") - metric_scores(theirs.scores(run), "vqa")
            for ours, theirs in zip(rival.sharing, rival.records, strict=True)
        ]
        assert rival.lead.value == pytest.approx(np.mean(gaps))
        assert rival.lead.low <= rival.lead.value <= rival.lead.high
        assert (
            rival.lead.high - rival.lead.low >= 2 * stats.norm.ppf(0.975) * np.mean(gaps, axis=0).std() / 6**0.5 * 0.9
        )
    sheet = EqualRows().sheet(view)
    assert str(sheet.rows[0][-1]) == "-"
    assert list(sheet.data.what) == ["sharing", *EQUAL]
    assert ((sheet.data.nfe_savings > 0) & (sheet.data.nfe_savings < 1)).all()


def test_a_run_of_fewer_steps_alone_has_no_such_table(run: Path):
    records = [record for record in read_run(run).records if record.role in ("sharing", "fewer-steps")]
    assert EqualRows().sheet(RunView.of(run, records)) is None
