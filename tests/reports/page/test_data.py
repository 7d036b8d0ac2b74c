import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.base import RunView
from reports.claims import claims
from reports.page.data import Payload, to_json


@given(
    st.recursive(st.text() | st.integers() | st.none(), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
)
def test_json_comes_back_whole_and_holds_nothing_that_html_reads(value) -> None:
    text = to_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set("<>&'") & set(text)


def test_json_has_no_numbers_that_json_has_not() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json(float("nan"))


@pytest.fixture
def gathered(new_run):
    run = new_run(n=20, taus=("0", "0.5", "1"), series=[{"seed": 1}, {"seed": 2}], side=8)
    payload = Payload([RunView.of(run)])
    return run, payload, payload.gathered()


def test_series_share_what_is_the_same(gathered) -> None:
    _, payload, data = gathered
    assert payload.notes == []
    assert data["axes"] == ["seed"]
    assert [one["axes"] for one in data["series"]] == [{"seed": "1"}, {"seed": "2"}]
    assert len(data["prompts"]) == 1
    assert len(data["trees"]) == 1
    # tau 0 is standard's own pictures, and both seeds' are drawn alike: three sets, not eight
    assert len(data["sets"]) == 3
    assert [cell["pictures"] for cell in data["series"][0]["cells"]] == [0, 1, 2]


def test_scores_are_those_of_the_files_and_figures_those_of_the_records(gathered) -> None:
    run, _, data = gathered
    records = {record.id: record for record in RunView.of(run).records}
    for one in data["series"]:
        for cell in one["cells"]:
            record = records[cell["id"]]
            for kind, path in (("shared", record.scores(run)), ("baseline", record.baseline_scores(run))):
                np.testing.assert_allclose(cell[kind]["vqa"], pd.read_parquet(path)["vqa.vqa"], atol=1e-5)
            rate = record.results["vqa.win_rate"]
            assert cell["figures"]["vqa.win_rate"] == [rate.value, rate.low, rate.high]
            assert cell["steps"] == record.plan.savings
    assert data["curves"] == ["vqa.win_rate", "vqa.vqa_difference"]
    assert data["diversity"] == ["clip_diversity.clip_similarity"]


def test_what_cannot_be_read_is_told_and_costs_nothing_else(new_run) -> None:
    run = new_run(n=6, taus=("0", "1"), side=8)
    for path in run.glob("cells/*/plan.npz"):
        path.write_bytes(b"damaged")
    next(run.glob("cells/*/scores.parquet")).unlink()
    payload = Payload([RunView.of(run)])
    (one,) = payload.gathered()["series"]
    assert [cell["together"] for cell in one["cells"]] == [None, None]
    assert sorted(len(cell["shared"]) for cell in one["cells"]) == [0, 1]
    assert any("plan.npz" in note for note in payload.notes)
    assert any("scores.parquet" in note for note in payload.notes)
    assert all(cell["pictures"] is not None for cell in one["cells"])


def test_pictures_that_are_not_one_a_prompt_are_not_shown_under_others_prompts(new_run) -> None:
    run = new_run(n=6, taus=("1",), side=8)
    (missing,) = run.glob("cells/*/images/00002.png")
    missing.unlink()
    payload = Payload([RunView.of(run)])
    data = payload.gathered()
    assert data["sets"][data["series"][0]["cells"][0]["pictures"]]["places"] == [0, 1, -1, 2, 3, 4]
    assert str(missing) in payload.album.damaged[0]
    for manifest in run.glob("cells/*/generation.json"):
        manifest.unlink()  # and with it what says which picture is whose
    payload = Payload([RunView.of(run)])
    (one,) = payload.gathered()["series"]
    assert one["cells"][0]["pictures"] is None
    assert any("5 pictures of 6 prompts" in note for note in payload.notes)


def test_another_picture_in_a_pictures_place_is_not_shown(new_run) -> None:
    run = new_run(n=6, taus=("1",), side=8)
    (cell,) = run.glob("cells/*/images")
    (cell / "00002.png").write_bytes((cell / "00003.png").read_bytes())
    payload = Payload([RunView.of(run)])
    data = payload.gathered()
    assert data["sets"][data["series"][0]["cells"][0]["pictures"]]["places"] == [0, 1, -1, 2, 3, 4]
    assert "1 pictures are missing or damaged" in payload.album.damaged[0]


def test_a_seed_s_cell_has_the_verdict_of_all_seeds_and_their_rate(gathered) -> None:
    run, _, data = gathered
    pooled = {float(claim.config.tau): claim for claim in RunView.of(run).once(claims)}
    for series in data["series"]:
        for cell in series["cells"]:
            claim = pooled.get(cell["tau"])
            if claim is None:
                assert cell["pooled"] == cell["verdicts"] == {}
                continue
            assert cell["verdicts"] == {"vqa": claim.verdict}
            rate = [claim.rate.value, claim.rate.low, claim.rate.high]
            assert cell["pooled"] == {"vqa": {"seeds": 2, "rate": rate}}
