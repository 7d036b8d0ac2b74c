"""A sweep of a tiny model, end to end: what is kept, what is made again, what fails alone."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rounding import same_but_for_rounding

from common.errors import UserError
from sweeps.events import CellFinished, Note, StageAdvanced, StageFinished, StageStarted
from sweeps.grid import cells
from sweeps.record import damaged_files, load_records
from sweeps.session import Session


def tables(records) -> list[dict]:
    """What two runs of one sweep have in common: all but seconds, hashes, what was denoised together, interruptions."""
    seconds = {"timings": True, "baseline_timings": True, "shared_seconds": True, "picture_sets": True, "scored": True}
    return [
        record.model_dump(exclude={**seconds, "execution": {"calls", "united", "first_call", "steady", "notes"}})
        for record in records
    ]


def kept(events) -> list[bool]:
    return [event.kept for event in events if isinstance(event, CellFinished)]


def notes(events) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Note))


def stages(events) -> list[str]:
    """Every stage but that of finding out what is there, which each sweep begins with."""
    return [event.stage for event in events if isinstance(event, StageStarted) and event.stage != "identify"]


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("[0-9]*.png"))}


def same_pictures(one: Path, other: Path) -> bool:
    files, others = pictures(one), pictures(other)
    return files.keys() == others.keys() and same_but_for_rounding(files.values(), others.values())


def test_sweep_costs_what_the_plan_says_and_ties_at_tau_0(sweep, tiny, tmp_path):
    records = sweep(tmp_path / "run", tau="0,0.3,0.6", metric=[f"vqa={tiny.vqa}", f"clip_diversity={tiny.clip}"])
    standard, *shared = records
    assert standard.plan.savings == 0
    assert standard.flops.savings == 0
    assert standard.execution.calls == 0, "standard images are there already"
    assert standard.execution.reused == 4
    assert standard.results["vqa.win_rate"].value == 0.5
    assert standard.results["vqa.ties"].value == 4
    assert standard.results["vqa.vqa_difference"].value == 0
    assert (
        standard.pictures(tmp_path / "run")[1].read_bytes()
        == standard.baseline_pictures(tmp_path / "run")[1].read_bytes()
    )
    for record in shared:
        own = 4 - record.execution.reused
        assert record.execution.rows == record.plan.node_steps - record.execution.reused * record.plan.K
        assert record.plan.baseline_node_steps == 4 * 3
        assert 0 < record.flops.savings < record.plan.savings, "what sharing does not reduce is in the denominator"
        assert sum(record.results[f"vqa.{name}"].value for name in ("wins", "ties", "losses")) == 4
        assert record.results["vqa.ties"].value >= 4 - own
        assert set(record.results) == set(standard.results)
    assert records == load_records(tmp_path / "run")


def test_same_command_keeps_everything(sweep, whole, copy):
    events = []
    assert sweep(copy, events=events) == whole.records
    assert kept(events) == [True, True]
    assert stages(events) == []


class Death(BaseException):
    """No `except Exception` hears it, as none hears a kill."""


@pytest.mark.parametrize("last", [1, 4, 9, 14, 20])
def test_a_sweep_cut_off_anywhere_ends_as_if_it_had_not_been(sweep, whole, tmp_path, last):
    heard = []

    def emit(event):
        heard.append(event)
        if len(heard) == last:
            raise Death

    with pytest.raises(Death):
        sweep(tmp_path / "cut", emit=emit)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("cells/*/record.json")}
    assert tables(sweep(tmp_path / "cut")) == tables(whole.records)
    assert pictures(tmp_path / "cut") == pictures(whole.run)
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished cells were not touched"


@pytest.mark.parametrize("victim", ["images/00001.png", "record.json", "generation.json", "plan.npz", "tree.npz"])
def test_a_damaged_file_is_noticed_and_its_cell_made_again(sweep, whole, copy, victim):
    path = whole.records[1].folder(copy) / victim
    content = path.read_bytes()
    path.unlink()  # standard's picture may be the same file
    path.write_bytes(content[: len(content) // 2])
    events = []
    assert tables(sweep(copy, events=events)) == tables(whole.records)
    assert path.name in notes(events)
    assert kept(events) == [True, victim.endswith(".npz")], "pictures of a plan that is the same again stay"
    assert same_pictures(copy, whole.run)


def test_a_damaged_standard_image_is_made_again_and_with_it_what_was_compared_with_it(sweep, whole, copy):
    (path,) = copy.glob("shared/*/images/00002.png")
    path.write_bytes(b"not a picture")  # and with it every cell's link to it
    events = []
    assert tables(sweep(copy, events=events)) == tables(whole.records)
    assert "00002.png is damaged" in notes(events)
    assert same_pictures(copy, whole.run)


@pytest.mark.parametrize("victim", ["record.json", "generation.json", "images"])
def test_what_is_not_ours_in_a_files_place_fails_its_cell_alone(sweep, whole, copy, victim):
    path = whole.records[1].folder(copy) / victim
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("mine")
    else:
        path.unlink()
        path.mkdir()
        (path / "mine.txt").write_text("mine")
    first, second = sweep(copy)
    assert (first.status, second.status) == ("done", "failed")
    assert str(path) in f"{second.error.message} {second.error.hint}"
    assert second.error.traceback is None
    assert (path if path.is_file() else path / "mine.txt").read_text() == "mine"


def test_baseline_pictures_that_cannot_be_read_are_made_again(sweep, whole, copy):
    (path,) = copy.glob("shared/*/images/00002.png")
    path.unlink()
    path.symlink_to(path.name)  # which not even root can open
    events = []
    assert [record.status for record in sweep(copy, events=events)] == ["done", "done"]
    assert "00002.png is damaged" in notes(events)
    assert same_pictures(copy, whole.run)


def test_a_done_record_is_not_replaced_by_a_failed_one(sweep, whole, copy, monkeypatch):
    from generators.families.kandinsky import Kandinsky

    def fall_over(*_):
        raise RuntimeError("the denoiser fell over")

    folder = whole.records[1].folder(copy)
    before = (folder / "record.json").read_bytes()
    (folder / "images/00001.png").unlink()
    monkeypatch.setattr(Kandinsky, "predict", fall_over)
    assert [record.status for record in sweep(copy)] == ["done", "failed"]
    assert (folder / "record.json").read_bytes() == before
    assert any(str(folder) in sentence for sentence in damaged_files(copy, load_records(copy))), "a report says so"
    monkeypatch.undo()
    assert tables(sweep(copy)) == tables(whole.records)


def test_a_folder_that_holds_another_cells_pictures_is_made_again(sweep, whole, copy):
    ours, theirs = (record.folder(copy) for record in whole.records)
    record = (theirs / "record.json").read_bytes()
    shutil.rmtree(theirs)
    shutil.copytree(ours, theirs)
    (theirs / "record.json").write_bytes(record)
    events = []
    assert tables(sweep(copy, events=events)) == tables(whole.records)
    assert f"is of another cell, {whole.records[0].id}" in notes(events)
    assert same_pictures(copy, whole.run)


def test_a_failing_cell_is_a_record_and_the_others_go_on(sweep, tmp_path, monkeypatch):
    from sweeps import plan

    build = plan.build_plan

    def broken(tree, schedule, tau, *rest):
        if tau == 0.3:
            raise RuntimeError("the denoiser fell over")
        return build(tree, schedule, tau, *rest)

    monkeypatch.setattr(plan, "build_plan", broken)
    records = sweep(tmp_path / "run", tau="0,0.3,0.6")
    assert [record.status for record in records] == ["done", "failed", "done"]
    assert records[1].error.type == "RuntimeError"
    assert records[1].error.message == "the denoiser fell over"
    assert "in broken" in records[1].error.traceback, "nobody's mistake: the record says where"
    monkeypatch.undo()
    events = []
    assert [record.status for record in sweep(tmp_path / "run", tau="0,0.3,0.6", events=events)] == ["done"] * 3
    assert kept(events) == [True, False, True], "the same command tries failed cells again, and only those"


def test_a_source_that_fails_takes_only_its_own_cells_along(sweep, tmp_path, monkeypatch):
    from generators.families.kandinsky import Kandinsky

    encode = Kandinsky.encode_batches

    def broken(self, prompts, keys, settings, *rest):
        if settings.seed == 1:
            raise UserError("seed 1 cannot be encoded", "take another")
        return encode(self, prompts, keys, settings, *rest)

    monkeypatch.setattr(Kandinsky, "encode_batches", broken)
    records = sweep(tmp_path / "run", seed="1,2", tau="0.6,0.8")
    assert [record.status for record in records] == ["failed", "failed", "done", "done"]
    assert records[0].error.message == "seed 1 cannot be encoded"
    assert records[1].error.hint == "take another"
    assert records[1].error.traceback is None


def test_a_failure_does_not_replace_a_record_that_is_done(sweep, whole, copy, monkeypatch):
    from sweeps import describe

    def broken(*_):
        raise RuntimeError("statistics fell over")

    monkeypatch.setattr(describe, "results", broken)
    records = sweep(copy, rescore=True)
    assert [record.status for record in records] == ["failed", "failed"], "it is reported"
    assert load_records(copy) == whole.records, "and nothing is lost"


def test_a_cell_whose_pictures_are_there_and_whose_record_failed_is_only_described_again(sweep, tmp_path, monkeypatch):
    from sweeps import describe

    def broken(*_):
        raise RuntimeError("statistics fell over")

    with monkeypatch.context() as patch:
        patch.setattr(describe, "results", broken)
        assert [record.status for record in sweep(tmp_path / "run")] == ["failed", "failed"]
    events = []
    assert [record.status for record in sweep(tmp_path / "run", events=events)] == ["done", "done"]
    assert kept(events) == [False, False]
    assert "denoise" not in stages(events)
    assert [record.status for record in load_records(tmp_path / "run")] == ["done", "done"]


@pytest.mark.parametrize("isolate", [True, False])
def test_a_full_disk_stops_the_sweep_in_one_line_and_loses_nothing(sweep, tmp_path, monkeypatch, isolate):
    heard = []

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def emit(event):
        heard.append(event)
        if stages(heard).count("denoise") == (2 if isolate else 1) and stages([event]) == ["decode"]:
            monkeypatch.setattr(Image.Image, "save", full)

    with pytest.raises(UserError, match="is full") as error:
        sweep(tmp_path / "run", emit=emit, isolate=isolate)
    assert "same command" in error.value.hint
    monkeypatch.undo()
    events = []
    records = sweep(tmp_path / "run", events=events, isolate=isolate)
    assert tables(records) == tables(sweep(tmp_path / "undisturbed", isolate=isolate))
    assert stages(events).count("denoise") == (2 if isolate else 1), "what was finished before was not made again"


def test_memory_that_runs_out_halves_the_batch_and_the_record_says_so(sweep, tmp_path, monkeypatch):
    from generators.families.kandinsky import Kandinsky

    predict = Kandinsky.predict

    def small(self, latents, *rest):
        if len(latents) > 2:
            raise RuntimeError("CUDA out of memory")
        return predict(self, latents, *rest)

    monkeypatch.setattr(Kandinsky, "predict", small)
    events = []
    records = sweep(tmp_path / "run", tau="0,0.1", batch_size=4, events=events)
    assert all(record.status == "done" for record in records)
    assert "memory ran out" in notes(events)
    own = [record for record in records if record.execution.calls]
    assert all(record.execution.batch_size == 2 for record in own)


def test_a_changed_conditioning_is_noticed_and_encoded_again(sweep, whole, copy):
    (path,) = copy.glob("shared/*/conditioning.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (whole.records[1].folder(copy) / "generation.json").unlink()
    events = []
    assert tables(sweep(copy, events=events)) == tables(whole.records)
    assert "conditioning.safetensors is damaged" in notes(events)
    assert same_pictures(copy, whole.run)


@pytest.mark.parametrize("content", [None, "[", '["another"]'])
def test_the_prompts_beside_the_images_are_mended(sweep, whole, copy, content):
    (path,) = copy.glob("shared/*/prompts.json")
    path.unlink() if content is None else path.write_text(content)
    assert kept_all(sweep, copy)
    assert path.read_bytes() == next(whole.run.glob("shared/*/prompts.json")).read_bytes()


def kept_all(sweep, run) -> bool:
    events = []
    sweep(run, events=events)
    return all(kept(events))


def test_a_kill_between_a_plan_and_its_pictures_leaves_no_pictures_of_another(sweep, copy, whole, monkeypatch):
    from generators.sharing.plan import SharingPlan, baseline_plan

    folder, save = whole.records[1].folder(copy), SharingPlan.save
    (folder / "tree.npz").unlink()
    (folder / "plan.npz").write_bytes((whole.records[0].folder(copy) / "plan.npz").read_bytes())  # another tau's

    def another(plan, path):
        save(baseline_plan(plan.n_prompts, plan.steps), path)

    def die(*_):
        raise Death

    monkeypatch.setattr(SharingPlan, "save", another)
    monkeypatch.setattr("sweeps.generate.reopen", die)
    with pytest.raises(Death):
        sweep(copy)
    assert not (folder / "generation.json").exists()


def test_encoding_is_no_part_of_clustering(tiny_spec):
    cell, *_ = cells(tiny_spec(), "cpu")
    events = []
    Session("cpu", events.append).grouping(cell.source, cell.strategy, cell.config.features)
    marks = [type(event).__name__ for event in events if isinstance(event, StageStarted | StageFinished)]
    assert stages(events) == ["encode", "cluster"]
    assert marks == ["StageStarted", "StageFinished"] * 2


def test_a_failed_cells_seconds_are_not_the_next_ones(sweep, tmp_path, monkeypatch, clock):
    from sweeps import plan

    build = plan.build_plan

    def broken(tree, schedule, tau, *rest):
        if tau == 0.3:
            clock.later += 1000
            raise RuntimeError("no plan")
        return build(tree, schedule, tau, *rest)

    monkeypatch.setattr(plan, "build_plan", broken)
    failed, done = sweep(tmp_path / "run", tau="0.3,0.6")
    assert (failed.status, done.status) == ("failed", "done")
    assert done.timings["plan"] < 1000
    assert done.timings["cluster"] > 0, "its tree counts for every cell that uses it"


def test_progress_adds_up(sweep, tiny, tmp_path):
    totals, done = [], []

    def emit(event):
        if isinstance(event, StageStarted):
            totals.append((event.stage, event.total))
            done.append(0)
        elif isinstance(event, StageAdvanced):
            done[-1] += event.done

    sweep(tmp_path / "run", metric=[f"vqa={tiny.vqa}"], emit=emit)
    for (stage, total), count in zip(totals, done, strict=True):
        assert count == total or stage in ("identify", "cluster", "plan"), stage


def test_every_cell_of_a_source_shares_its_conditioning_and_standard_images(sweep, tmp_path):
    events = []
    sweep(tmp_path / "run", tau="0,0.3,0.6", schedule="eq7,official", guidance="1,2", events=events)
    assert stages(events).count("encode") == 1, "guidance does not change the conditioning"
    assert len(list((tmp_path / "run").glob("shared/*/images"))) == 2
    assert len(list((tmp_path / "run").glob("cells/*/record.json"))) == 12


def test_what_reports_read_is_there(whole):
    record = whole.records[1]
    assert record.prompts(whole.run) == ["a red fox", "a red wolf", "a blue car", "a blue van"]
    assert len(record.pictures(whole.run)) == len(record.baseline_pictures(whole.run)) == 4
    assert json.loads((record.folder(whole.run) / "record.json").read_text())["asked"]["tau"] == "0.6"
    with np.load(record.folder(whole.run) / "tree.npz", allow_pickle=False) as tree:
        assert len(tree["parent"]) == 7


def test_another_weight_or_prompt_under_one_name_is_refused(sweep, copy, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr("generators.model_entry.ModelEntry.weights_hash", lambda _: "other weights")
    with pytest.raises(UserError, match="was made with other weights "):
        sweep(copy)


def test_another_machines_default_dtype_is_named(sweep, copy, monkeypatch):
    from generators.settings import GenerationSettings

    resolve = GenerationSettings.resolve.__func__
    half = classmethod(
        lambda cls, defaults, overrides=None, device="cpu": resolve(cls, defaults, {**overrides, "dtype": "bf16"})
    )
    monkeypatch.setattr(GenerationSettings, "resolve", half)
    with pytest.raises(UserError, match="was made with other dtype "):
        sweep(copy)
