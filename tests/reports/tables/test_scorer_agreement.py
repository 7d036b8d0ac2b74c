"""The agreement of a run's scorers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from generators.sharing.plan import SharingPlan
from metrics.agreement import rank_correlation, winner_agreement
from reports.base import RunView
from reports.tables.scorer_agreement import ScorerAgreement
from sweeps.record import Result, load_records

OTHER = "vqa@other"


def cells(sheet) -> list[dict[str, str]]:
    return [dict(zip(sheet.headings, map(str, row), strict=True)) for row in sheet.rows]


def add_scorer(run: Path, opinion: Callable[[np.ndarray], np.ndarray], **about: object) -> None:
    """A second scorer, whose scores are made of those of the first."""
    done = [record for record in load_records(run) if record.status == "done"]
    for path in {path for record in done for path in (record.scores(run), record.baseline_scores(run))}:
        scores = pd.read_parquet(path)
        scores.assign(**{f"{OTHER}.vqa": opinion(scores["vqa.vqa"].to_numpy())}).to_parquet(path)
    for record in done:
        ours, standard = (
            pd.read_parquet(path)[f"{OTHER}.vqa"] for path in (record.scores(run), record.baseline_scores(run))
        )
        better = 1 if about.get("higher_is_better", True) else -1
        rate = 0.5 + better * np.sign(ours - standard).mean() / 2
        added = {
            "results": {**record.results, f"{OTHER}.win_rate": Result(value=rate)},
            "scorers": {**record.scorers, OTHER: about},
        }
        (record.folder(run) / "record.json").write_text(record.model_copy(update=added).model_dump_json())


def test_a_run_with_one_scorer_has_no_such_table(run_folder) -> None:
    assert ScorerAgreement().sheet(RunView.of(run_folder)) is None


def test_scorers_of_one_opinion_agree_whatever_their_scales(run_folder) -> None:
    add_scorer(run_folder, lambda scores: np.exp(5 * scores))
    (row,) = cells(ScorerAgreement().sheet(RunView.of(run_folder)))
    assert row["scorers"] == "VQA and VQA (other)"
    assert row["rank correlation"].startswith("1.0000")
    assert row["same winner, %"].startswith("100.0")
    assert row["kappa"] == "1.0000"


def test_a_scorer_of_which_less_is_better_is_turned_round(run_folder) -> None:
    add_scorer(run_folder, lambda scores: -scores, higher_is_better=False)
    (row,) = cells(ScorerAgreement().sheet(RunView.of(run_folder)))
    assert row["rank correlation"].startswith("1.0000")
    assert row["same winner, %"].startswith("100.0")


def test_pictures_count_once_and_only_pairs_that_differ_are_compared(run_folder) -> None:
    rng = np.random.default_rng(0)
    add_scorer(run_folder, lambda scores: scores + rng.normal(0, 0.1, len(scores)))
    view = RunView.of(run_folder)
    pictures, pairs, prompts = [], [], []
    for record in view.records:
        ours, standard = (
            pd.read_parquet(path)[["vqa.vqa", f"{OTHER}.vqa"]].to_numpy()
            for path in (record.scores(run_folder), record.baseline_scores(run_folder))
        )
        own = ~SharingPlan.load(record.folder(run_folder) / "plan.npz").solo
        pictures, pairs = [*pictures, ours[own]], [*pairs, np.sign(ours - standard)[own]]
        prompts.append(np.flatnonzero(own))
    (row,) = ScorerAgreement().sheet(view).data.itertuples()
    assert 0 < row.pairs == sum(map(len, prompts)) < 36
    assert row.pictures == 12 + row.pairs
    of = np.concatenate([np.arange(12), *prompts])
    ranks = rank_correlation(*np.concatenate([standard, *pictures]).T, of)
    assert (row.rank_correlation, row.rank_correlation_low) == (ranks.value, ranks.low)
    winners = winner_agreement(*np.concatenate(pairs).T, np.concatenate(prompts))
    assert (row.same_winner, row.same_winner_low, row.same_winner_high) == (
        winners.share.value, winners.share.low, winners.share.high,
    )  # fmt: skip
    assert (row.by_chance, row.kappa) == (winners.by_chance, winners.kappa)


def test_seeds_and_taus_are_one_row_and_models_and_prompt_sets_are_not(grid) -> None:
    models = {("mini-kandinsky", "kandinsky", "image"): 0.0, ("mini-sd", "stable-diffusion", "text"): 0.1}
    run = grid(models, datasets={"mini_templates": 40, "mini_styles": 20}, taus=("0", "0.5"), seeds=(1, 2))
    add_scorer(run, np.sqrt)
    sheet = ScorerAgreement().sheet(RunView.of(run))
    assert len(sheet.rows) == 2 * 2
    assert sheet.headings[:3] == ["model", "dataset", "scorers"]
    row = sheet.data.set_index(["model", "dataset"]).loc["mini-sd", "mini_templates"]
    assert row.pictures == 2 * 40 * (1 + 2)
    assert row.effective_pairs == pytest.approx(40), "all agree: no more is known than of as many prompts"


def test_at_tau_0_there_is_no_pair_to_agree_on(new_run) -> None:
    run = new_run(taus=("0",))
    add_scorer(run, np.sqrt)
    (row,) = cells(ScorerAgreement().sheet(RunView.of(run)))
    assert (row["pairs"], row["same winner, %"], row["kappa"]) == ("0", "-", "-")
