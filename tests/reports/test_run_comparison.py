import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from run_folders import save_record

from common.errors import UserError
from reports.base import RunView, tables
from reports.claims import claims
from reports.frame import varying_axes
from reports.render import write_view
from reports.run_comparison import compare, run_names
from reports.tables.claims import Claims
from reports.tables.summary import Summary
from sweeps.record import Record, load_records


def change(run: Path, changed: Callable[[Record], Record]) -> Path:
    for record in load_records(run):
        (record.folder(run) / "record.json").write_text(changed(record).model_dump_json())
    return run


@pytest.fixture
def runs(new_run, tmp_path):
    """Two runs of one prompt set by two models, each with two taus."""
    return [
        new_run(f"{model}-run", n=4, taus=["0", "1"], side=4, series=[{"model": model}]) for model in ("kandi", "sd")
    ]


def test_two_models_are_two_series_without_the_run_s_name(runs, tmp_path) -> None:
    view = compare(runs, tmp_path / "out")
    assert [series.name for series in view.series] == ["kandi", "sd"]
    assert view.mismatches == ()
    assert varying_axes(view.records) == ["model"]
    assert [record.config.model for record in view.records] == ["kandi", "kandi", "sd", "sd"]


def test_the_same_sweep_twice_is_told_apart_by_the_runs_names(new_run, tmp_path) -> None:
    view = compare([new_run("here", n=3), new_run("there", n=3)], tmp_path / "out")
    assert [series.name for series in view.series] == ["here", "there"]
    assert varying_axes(view.records) == ["run"]
    sheet = Summary().sheet(view)
    assert sheet.headings[0] == "run"
    assert [row[0].value for row in sheet.rows] == ["here"] * 3 + ["there"] * 3
    assert list(sheet.data["run"]) == ["here"] * 3 + ["there"] * 3
    assert "run" not in Summary().sheet(view.runs["here"]).data, "one run has no such axis"


def test_files_are_read_from_each_record_s_own_run(new_run, tmp_path) -> None:
    """Both runs have cells of the same ids; their prompts and pictures are their own."""
    here, there = new_run("here", n=3), new_run("there", n=3)
    for path in there.glob("shared/*/prompts.json"):
        path.write_text(json.dumps(["x", "y", "z"]))
    view = compare([here, there], tmp_path / "out")
    first, last = view.records[0], view.records[-1]
    assert last.prompts(view.path) == ["x", "y", "z"] != first.prompts(view.path)
    for record, run in ((first, here), (last, there)):
        plain = next(each for each in load_records(run) if each.id == record.id)
        for read in ("folder", "made", "prompts", "pictures", "baseline_pictures", "scores", "baseline_scores"):
            assert getattr(record, read)(view.path) == getattr(plain, read)(run), read
    assert "home" not in last.model_dump()


def test_every_table_and_figure_is_made_over_the_union(new_run, tmp_path) -> None:
    first = new_run("first", n=8, taus=["0", "1"], side=4, series=[{"seed": 1}, {"seed": 2}])
    second = new_run("second", n=8, taus=["0", "1"], side=4, series=[{"model": "other", "seed": 1}])
    out = tmp_path / "out"
    report = write_view(compare([first, second], out))
    assert report.notes == []
    names = {path.stem for path in report.tables}
    assert {"summary", "claims", "savings_at_parity", "seeds", "cost", "comparability"} <= names
    assert {"quality_savings", "diversity_savings", "savings_at_parity"} <= {path.stem for path in report.figures}
    assert report.markdown == out / "report/report.md"
    read = {name: pd.read_csv(out / f"report/tables/{name}.csv") for name in ("summary", "claims", "seeds")}
    assert len(read["summary"]) == 4, "seeds are one row"
    assert len(read["seeds"]) == 6
    assert set(read["claims"].model) == {"mini-kandinsky", "other"}
    assert set(read["claims"].seeds) == {"1 2", "1"}


def test_runs_that_differ_in_seed_alone_are_pooled_over_seeds(new_run, tmp_path) -> None:
    runs = [new_run(f"seed-{seed}", n=12, series=[{"seed": seed}]) for seed in (1, 2)]
    view = compare(runs, tmp_path)
    assert [each.what for each in view.mismatches] == ["seed"]
    assert list(Claims().sheet(view).data.seeds) == ["1 2", "1 2"]


def test_runs_of_other_weights_are_not(new_run, tmp_path) -> None:
    runs = [new_run(f"seed-{seed}", n=12, series=[{"seed": seed}]) for seed in (1, 2)]
    change(runs[1], lambda record: record.model_copy(update={"identity": {**record.identity, "weights": "1" * 64}}))
    view = compare(runs, tmp_path)
    assert varying_axes(view.records) == ["run", "seed"]
    assert [claim.seeds for claim in view.once(claims)] == [1] * 4
    assert [series.name for series in view.series] == ["seed-1", "seed-2"]


def test_figures_of_another_scorer_are_left_out_by_name_and_others_stay(runs, tmp_path) -> None:
    def rescored(record: Record) -> Record:
        scorers = {**record.scorers, "vqa": {**record.scorers["vqa"], "checkpoint": "hf:o/m"}}
        return record.model_copy(update={"scorers": scorers})

    change(runs[1], rescored)
    view = compare(runs, tmp_path / "out")
    (difference,) = view.mismatches
    assert difference.sentence.startswith(
        "refused: scorer of VQA (kandi-run: checkpoint mini-vqa; sd-run: checkpoint hf:o/m): its results are not on one"
    )
    first, second = view.series
    assert all("vqa.win_rate" in record.results and "vqa" in record.scorers for record in first.records)
    assert not any(name.startswith("vqa.") for record in second.records for name in record.results)
    assert all("clip_diversity.clip_similarity" in record.results for record in second.records)
    sheet = Summary().sheet(view)
    column = sheet.headings.index("VQA win rate, %")
    assert [(row[0].value, row[column].value != "-") for row in sheet.rows] == [
        ("kandi", True),
        ("kandi", True),
        ("sd", False),
        ("sd", False),
    ]


def test_prompts_that_share_a_name_alone_are_two_prompt_sets(new_run, tmp_path) -> None:
    runs = [new_run("few", n=4), new_run("many", n=6)]
    view = compare(runs, tmp_path / "out")
    (difference,) = view.mismatches
    assert (difference.what, difference.verdict) == ("prompts of mini_templates", "refused")
    assert [series.name for series in view.series] == ["mini_templates (4 prompts)", "mini_templates (6 prompts)"]


def test_as_many_other_prompts_are_told_apart_by_their_hash(new_run, tmp_path) -> None:
    runs = [new_run(name, n=4) for name in ("here", "there")]
    for run, digit in zip(runs, "ab", strict=True):
        identified = {"prompts": digit * 64}
        change(run, lambda record, more=identified: record.model_copy(update={"identity": {**record.identity, **more}}))
    names = [series.name for series in compare(runs, tmp_path / "out").series]
    assert names == ["mini_templates (aaaaaaaa)", "mini_templates (bbbbbbbb)"]


def test_a_series_is_named_by_as_few_axes_as_tell_it_apart(new_run, tmp_path) -> None:
    series = [{"model": "a", "guidance": 3.0}, {"model": "b", "guidance": 0.0}]
    runs = [new_run(each["model"], n=3, series=[each]) for each in series]
    assert [each.name for each in compare(runs, tmp_path / "out").series] == ["a", "b"]
    assert varying_axes(compare(runs, tmp_path / "out").records) == ["model", "guidance"], "tables have all"


def test_references_stay_with_their_own_run(new_run, new_record, tmp_path) -> None:
    runs = [new_run(name, n=100, taus=["0", "1"], side=2) for name in ("here", "there")]
    for run in runs:
        other = new_record("0", strategy="another-seed").model_copy(update={"role": "another-seed"})
        save_record(run, other)
    for series in compare(runs, tmp_path / "out").series:
        assert [record.home.name for record in series.held_against("another-seed")] == [series.name]


def test_names_are_as_much_of_the_paths_as_tells_them_apart(tmp_path) -> None:
    folders = [tmp_path / part for part in ("a/run", "b/run", "c/other")]
    assert run_names(folders) == ["a/run", "b/run", "c/other"]
    assert run_names(folders[1:]) == ["run", "other"]


def test_a_run_given_twice_or_alone_or_without_cells_is_refused(runs, new_run, tmp_path) -> None:
    with pytest.raises(UserError, match="given twice"):
        compare([runs[0], runs[0].parent / "." / runs[0].name], tmp_path)
    with pytest.raises(UserError, match="cannot be compared"):
        compare(runs[:1], tmp_path)
    with pytest.raises(UserError, match="empty has no finished cell"):
        compare([runs[0], new_run("empty", taus=["1"], fail=["1"])], tmp_path)


def test_comparability_is_a_table_of_comparisons_alone(runs, tmp_path) -> None:
    table = tables()["comparability"]()
    assert table.sheet(RunView.of(runs[0])) is None
    assert "nothing that is checked differs" in table.sheet(compare(runs, tmp_path)).caption
    change(runs[1], lambda record: record.model_copy(update={"machine": {"cpu": "64 cores"}}))
    sheet = table.sheet(compare(runs, tmp_path))
    assert sheet.headings == ["what differs", "kandi-run", "sd-run", "verdict"]
    assert [[str(entry) for entry in row] for row in sheet.rows] == [
        ["machine", "cpu 2 cores", "cpu 64 cores", "flagged"]
    ]
    assert sheet.notes[0].startswith("machine, flagged: wall time saved")
    assert list(sheet.data.run) == ["kandi-run", "sd-run"]
