from decimal import Decimal

import pytest

from generators.sharing.plan import SharingPlan
from metrics.hypotheses import noninferiority_p
from reports.base import RunView
from reports.tables.seeds import Seeds
from reports.tables.summary import Summary, headline
from sweeps.record import Result


def summary(records, delta=0.05):
    """The summary of records whose scores are on no disk."""
    return Summary().sheet(RunView.of(".", records, delta))


def cells(table) -> list[dict[str, str]]:
    return [dict(zip(table.headings, map(str, row), strict=True)) for row in table.rows]


def test_a_row_says_what_was_saved_what_it_cost_and_how_sure_that_is(new_record) -> None:
    record = new_record("0.5").model_copy(
        update={
            "results": {
                "vqa.win_rate": Result(value=0.455, low=0.3684, high=0.5416, n=100, method="Tango score"),
                "vqa.win_rate_strict": Result(value=0.34, low=0.255, high=0.437, n=100, method="Wilson"),
                "vqa.wins": Result(value=34),
                "vqa.ties": Result(value=23),
                "vqa.losses": Result(value=43),
                "vqa.vqa_difference": Result(value=-0.009, low=-0.0177, high=0.0003, method="BCa bootstrap"),
                "clip_diversity.clip_similarity": Result(value=0.6375, low=0.6175, high=0.6575),
                "clip_diversity.clip_similarity_standard": Result(value=0.62, low=0.6, high=0.64),
            }
        }
    )
    assert cells(summary([record])) == [
        {
            "tau": "0.5",
            "steps saved, %": "29.5",
            "FLOPs saved, %": "26.2",
            "wall time saved, %": "21.5",
            "VQA win rate, %": "45.5 [36.8, 54.2]",
            "ties": "23",
            "VQAScore difference": "-0.0090 [-0.0177, +0.0003]",
            "non-inferiority p": "0.454",
            "CLIP similarity": "0.6375 [0.6175, 0.6575]",
            "CLIP similarity, standard": "0.6200 [0.6000, 0.6400]",
        }
    ]


@pytest.mark.parametrize("delta", [0.05, 0.1])
def test_no_worse_is_tested_at_the_delta_that_is_printed(new_record, delta) -> None:
    records = [new_record("0"), new_record("0.5")]
    sheet = summary(records, delta)
    wins, losses = (records[1].results[f"vqa.{name}"].value for name in ("wins", "losses"))
    p = float(noninferiority_p(wins, losses, 100, delta))
    assert [row["non-inferiority p"] for row in cells(sheet)] == ["-", f"{p:.3f}"], "at tau 0 there is nothing to test"
    assert any(f"delta = {100 * delta:g} points" in note for note in sheet.notes)
    assert sheet.data["vqa.no_worse_p"][1] == p
    assert (sheet.data.delta == delta).all()


def test_axes_that_vary_are_columns_and_the_rest_is_said_once(new_record) -> None:
    table = summary([new_record("0", guidance=1), new_record("0", guidance=2)])
    assert table.headings[:2] == ["guidance", "tau"]
    assert [row["guidance"] for row in cells(table)] == ["1", "2"]
    assert "model mini-kandinsky" in table.caption
    assert "100 prompts" in table.caption
    assert "guidance" not in table.caption


def test_seeds_are_pooled_in_a_row_and_stand_in_a_table_of_their_own(new_run) -> None:
    run = new_run(n=40, series=[{"seed": seed} for seed in (1, 2, 3)])
    view = RunView.of(run)
    table, of_seeds = Summary().sheet(view), Seeds().sheet(view)
    rows, singles = cells(table), cells(of_seeds)
    assert [(row["tau"], row["seeds"]) for row in rows] == [("0", "3"), ("0.5", "3"), ("1", "3")]
    assert [row["seed"] for row in singles if row["tau"] == "1"] == ["1", "2", "3"]
    assert list(table.data.seeds) == ["1 2 3"] * 3
    assert rows[0]["VQA win rate, %"] == "50.0 [50.0, 50.0]", "the baseline's own pictures"
    for name in ("win_rate", "vqa_difference", "vqa_mean", "vqa_mean_standard"):
        means = of_seeds.data.groupby("tau")[f"vqa.{name}"].mean()
        assert list(table.data[f"vqa.{name}"]) == pytest.approx(list(means)), "of seeds with equally many prompts"
    assert list(table.data["vqa.ties"]) == list(of_seeds.data.groupby("tau")["vqa.ties"].sum())
    assert any("two-way clustered over prompts and seeds (VQA win rate)" in note for note in table.notes)
    assert Seeds().sheet(RunView.of(new_run(name="one"))) is None


def test_both_arms_mean_scores_and_the_roots_stand_beside_the_rate(new_run) -> None:
    run = new_run(n=40)
    table = Summary().sheet(RunView.of(run))
    for row, record in zip(cells(table), RunView.of(run).records, strict=True):
        assert row["VQAScore"].startswith(f"{record.results['vqa.vqa_mean'].value:.4f}")
        assert row["VQAScore, baseline"].startswith("0.8000")
        assert int(row["roots"]) == SharingPlan.load(record.folder(run) / "plan.npz").roots
    assert any(note.startswith("roots: ") for note in table.notes)


def test_notes_name_methods_and_checkpoints(new_record) -> None:
    notes = " ".join(summary([new_record("0.5")]).notes)
    assert "Tango score (VQA win rate)" in notes
    assert "VQA mini-vqa" in notes


def test_failed_cells_are_notes_with_what_to_do(new_record, failed_record) -> None:
    table = summary([new_record("0"), failed_record])
    assert len(table.rows) == 1
    assert "tau 0.75" in table.notes[-1]
    assert "00003.png" in table.notes[-1]
    assert "run the same sweep again" in table.notes[-1]


def test_a_sweep_without_a_finished_cell_still_has_a_summary(failed_record) -> None:
    table = summary([failed_record])
    assert (table.rows, table.caption) == ([], "no finished cell")


def test_a_figure_that_one_cell_lacks_is_a_dash(new_record) -> None:
    lacking = new_record("1").model_copy(update={"results": {}})
    assert [row["VQA win rate, %"][0] for row in cells(summary([new_record("0"), lacking]))] == ["5", "-"]


def test_a_new_metric_s_figures_show_up_unasked() -> None:
    names = [
        "pick.win_rate",
        "pick.wins",
        "pick.ties",
        "pick.pick_difference",
        "pick.pick_mean",
        "pick.pick_mean_standard",
        "pick.other",
        "fid.fid",
        "fid.fid_difference",
    ]
    assert headline(names) == [
        *("pick.win_rate", "pick.ties", "pick.pick_difference", "pick.pick_mean", "pick.pick_mean_standard"),
        "fid.fid",
    ]


def test_taus_are_written_as_decimals(new_record) -> None:
    record = new_record("10")
    written = record.model_copy(update={"config": record.config.model_copy(update={"tau": Decimal("1E+1")})})
    assert cells(summary([written]))[0]["tau"] == "10"


def test_what_sharing_is_held_against_stands_below_it(tmp_path, new_record) -> None:
    fewer, seed = (
        new_record(tau, strategy=role).model_copy(update={"role": role, "id": role})
        for role, tau in (("fewer-steps", "1"), ("another-seed", "0"))
    )
    table = Summary().sheet(RunView.of(tmp_path, [seed, fewer, new_record("0"), new_record("1")]))
    assert [(row["strategy"], row["tau"]) for row in cells(table)] == [
        ("ward-cosine", "0"),
        ("ward-cosine", "1"),
        ("equal-compute baseline", "1"),
        ("seed control (A/A)", "0"),
    ]
