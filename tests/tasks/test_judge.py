"""The judge: a row says what the pictures are worth beside the baseline's, and nothing that its scores do not give."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_cards import manifest, submit, tiny_card, write_manifest

from common.errors import UserError
from common.files import sha256_file
from reports.paired_scores import metric_scores
from reports.pooling import pooled_outcomes, pooled_record
from sweeps.record import load_records
from tasks.judge import CONTROL, CardBaseline, card_run, judge, known_pixels, row_folder, verify
from tasks.row import Row
from tasks.submission import check


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def card(tiny):
    return tiny_card(tiny)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def baseline(card, runs):
    return CardBaseline.make(card, runs, "cpu")


@pytest.fixture(scope="module")
def submission(card, baseline, runs, tmp_path_factory):
    """Two points: random pictures at half the rows; and the baseline's own, but for one, at all of them."""
    folder = submit(tmp_path_factory.mktemp("submission") / "mine", card, points=("half", "all"))
    rows = manifest(folder)
    for row in rows:
        if row["point"] == "all":
            row["nfe"] = 6
            if (row["prompt"], row["seed"]) != ("0", "1"):
                own = baseline.pictures.files[card.seeds.index(int(row["seed"]))][int(row["prompt"])]
                shutil.copy(own, folder / row["file"])
    write_manifest(folder, rows)
    return check(folder, card).whole()


@pytest.fixture(scope="module")
def judged(submission, runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("row")
    return out, judge(submission, out, runs=runs, device="cpu")


def test_a_row_has_its_points_by_rising_savings(judged, card):
    _, row = judged
    everything, half = row.points
    assert (row.card, row.card_sha256, row.method.kind) == (card.name, card.hash, "submission")
    assert [point.name for point in row.points] == ["all", "half"]
    assert (half.nfe, half.baseline_nfe, half.savings, half.pictures, half.identical) == (24, 48, 0.5, 8, 0)
    assert (everything.savings, everything.identical) == (0, 7)
    assert set(row.scorers) == {"vqa", "clip_diversity"}
    assert next(iter(row.scorers)) == "vqa"


def test_what_is_the_baselines_own_ties(judged):
    everything = judged[1].points[0].results
    wins, ties, losses = (everything[f"vqa.{name}"].value for name in ("wins", "ties", "losses"))
    assert (wins + ties + losses, ties >= 7) == (8, True)
    assert everything["vqa.win_rate"].value == 0.5 + (wins - losses) / 16
    assert everything["vqa.win_rate"].n == 8


def test_the_verdict_is_that_of_the_interval(judged, card):
    for point in judged[1].points:
        rate = point.results["vqa.win_rate"]
        if point.verdict == "no worse":
            assert rate.low > 0.5 - card.delta
        elif point.verdict == "worse":
            assert rate.high < 0.5


def test_differences_and_means_agree_with_the_scores_beside_the_row(judged):
    out, row = judged
    table = pq.read_table(out / "scores.parquet").to_pandas()
    half = table[table["point"] == "half"]
    results = row.points[1].results
    assert results["vqa.vqa_mean"].value == pytest.approx(half["vqa.vqa"].mean())
    assert results["vqa.vqa_difference"].value == pytest.approx((half["vqa.vqa"] - half["baseline.vqa.vqa"]).mean())
    assert (half["nfe"].sum(), len(half)) == (24, 8)
    assert set(table["point"]) == {"half", "all", CONTROL}


def test_the_control_is_the_baseline_from_another_seed(judged, baseline):
    table = pq.read_table(judged[0] / "scores.parquet").to_pandas()
    control = table[table["point"] == CONTROL]
    first, second = baseline.pictures.hashes
    assert control["sha256"].tolist() == second + first
    assert control["baseline.sha256"].tolist() == first + second
    assert judged[1].seed_control["vqa.wins"].value == judged[1].seed_control["vqa.losses"].value


def test_the_judge_says_what_the_reports_of_a_run_say(judged, baseline):
    """Of the same pictures, the seed control's: pooled results, and the outcomes that claims are made of."""
    records = [record for record in load_records(baseline.run) if record.role == "another-seed"]
    pooled, control = pooled_record(baseline.run, records, metric_scores).results, judged[1].seed_control
    for name in ("vqa.vqa_difference", "pictures.duplicates", "clip_diversity.clip_vendi"):
        for part in ("value", "low", "high"):
            assert getattr(control[name], part) == pytest.approx(getattr(pooled[name], part), abs=1e-12)
    strict, rate = pooled["vqa.win_rate"], control["vqa.win_rate_any_difference"]
    assert (rate.value, rate.low, rate.high) == pytest.approx((strict.value, strict.low, strict.high))
    claimed = pooled_outcomes(baseline.run, records, "vqa", metric_scores)
    assert control["vqa.win_rate"].low == pytest.approx(claimed.estimate().low)
    assert [control[f"vqa.{name}"].value for name in ("wins", "ties", "losses")] == [
        claimed.wins, claimed.ties, claimed.losses
    ]  # fmt: skip


def test_examples_lie_from_the_worst_to_the_best(judged):
    out, row = judged
    examples = row.points[1].examples
    differences = [example.score - example.baseline_score for example in examples]
    assert differences == sorted(differences)
    table = pq.read_table(out / "scores.parquet").to_pandas()
    all_of_them = (table["vqa.vqa"] - table["baseline.vqa.vqa"])[table["point"] == "half"]
    assert differences[0] == all_of_them.min()
    assert differences[-1] == all_of_them.max()
    assert all((out / name).is_file() for one in examples for name in (one.file, one.baseline))
    assert len(list((out / "examples").iterdir())) == len(
        {n for p in row.points for e in p.examples for n in (e.file, e.baseline)}
    )


def test_the_row_of_another_method_is_not_replaced(judged, submission, runs):
    other = replace(submission, about=submission.about.model_copy(update={"name": "A method"}))
    with pytest.raises(UserError, match="holds the row of another method, a method"):
        judge(other, judged[0], runs=runs, device="cpu")


def test_what_a_row_says_can_be_computed_again(judged, card):
    out, row = judged
    assert verify(out, card) == row == Row.read(out / "row.json")


def test_the_baseline_is_made_once(card, baseline, runs):
    written = {path: path.stat().st_mtime_ns for path in card_run(card, runs).rglob("*.png")}
    again = CardBaseline.make(card, runs, "cpu")
    assert again.pictures.hashes == baseline.pictures.hashes
    assert written == {path: path.stat().st_mtime_ns for path in card_run(card, runs).rglob("*.png")}
    assert len(written) >= 8
    assert known_pixels(card, runs) == [seen.pixels for seen in baseline.pictures.seen]
    assert card_run(card, runs).is_dir()


def test_another_baseline_is_refused(card, baseline, runs, tiny):
    with pytest.raises(UserError, match="took 48 rows of the denoiser, the card says 56"):
        CardBaseline.read(tiny_card(tiny, rows=7), card_run(card, runs))


def test_copies_of_the_baseline_are_refused_at_less_cost(submission, card, runs, tmp_path):
    cheap = shutil.copytree(submission.folder, tmp_path / "cheap")
    write_manifest(cheap, [{**row, "nfe": 3} for row in manifest(cheap)])
    with pytest.raises(UserError, match="7 of its pictures are the baseline's own"):
        judge(check(cheap, card).whole(), tmp_path / "row", runs=runs, device="cpu")
    assert not (tmp_path / "row").exists()


def tampered(judged, tmp_path):
    return shutil.copytree(judged[0], tmp_path / "row")


def test_an_edited_row_is_refused(judged, card, tmp_path):
    out = tampered(judged, tmp_path)
    text = (out / "row.json").read_text()
    (out / "row.json").write_text(text.replace('"a method"', '"my method"'))
    with pytest.raises(UserError, match="was changed since it was written"):
        verify(out, card)


@pytest.mark.parametrize("what", ["nfe", "verdict", "identical", "parity", "seed_control", "result", "floor"])
def test_an_edited_row_that_was_hashed_again_is_refused(judged, card, tmp_path, what):
    out = tampered(judged, tmp_path)
    held = json.loads((out / "row.json").read_text())
    point = held["points"][1]
    if what == "result":
        point["results"]["vqa.win_rate"]["value"] += 0.1
    elif what == "parity":
        held["parity"]["value"] += 0.1
    elif what == "floor":
        held["scorers"]["vqa"]["indifference"] *= 2
    elif what == "seed_control":
        held["seed_control"]["vqa.win_rate"]["low"] = 0.49
    else:
        point[what] = {"nfe": 12, "verdict": "worse" if point["verdict"] == "no worse" else "no worse", "identical": 3}[
            what
        ]
    Row.model_validate({**held, "sha256": None}).write(out / "row.json")
    with pytest.raises(UserError, match=r"does not say what its scores give|is not the floor"):
        verify(out, card)


def test_another_picture_in_an_examples_place_is_refused(judged, card, tmp_path):
    out = tampered(judged, tmp_path)
    worst, *_, best = judged[1].points[1].examples
    shutil.copy(out / best.file, out / worst.file)
    with pytest.raises(UserError, match=r"half\.examples"):
        verify(out, card)


def test_edited_scores_are_refused(judged, card, tmp_path):
    out = tampered(judged, tmp_path)
    table = pq.read_table(out / "scores.parquet")
    better = np.array(table["vqa.vqa"].to_pylist()) * 0.5 + 0.5
    place = table.column_names.index("vqa.vqa")
    pq.write_table(table.set_column(place, "vqa.vqa", [better]), out / "scores.parquet")
    with pytest.raises(UserError, match=r"not what row\.json was computed from"):
        verify(out, card)
    row = Row.read(out / "row.json").model_copy(update={"scores_sha256": sha256_file(out / "scores.parquet")})
    row.write(out / "row.json")
    with pytest.raises(UserError, match="does not say what its scores give"):
        verify(out, card)


def test_a_row_of_another_version_of_its_card_is_refused(judged, tiny):
    with pytest.raises(UserError, match="is of another version of the card test-v1/tiny"):
        verify(judged[0], tiny_card(tiny, delta=0.1))


def test_rows_have_folders_of_their_names(card, tmp_path):
    assert row_folder(tmp_path, card, "DDIM, 14 steps").relative_to(tmp_path).as_posix() == "test-v1/tiny/ddim-14-steps"
    assert row_folder(tmp_path, card, "../..").name == "unnamed"
