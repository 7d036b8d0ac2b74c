"""A group of jobs denoised in this process: whose seconds are whose, and what a killed one leaves."""

import shutil
from dataclasses import replace

import pytest
from rounding import same_but_for_rounding

from generators.denoising_checkpoints import DenoisingCheckpoints
from sweeps import generate
from sweeps.events import Note, StageAdvanced, StageFinished, StageStarted
from sweeps.unfinished import Unfinished


class Death(BaseException):
    """No `except Exception` hears it, as none hears a kill."""


@pytest.fixture
def killed(sweep):
    """Run a sweep that is killed in its second denoising step, a checkpoint of the first being on disk."""

    def run(folder, **settings):
        stages = []

        def emit(event):
            if isinstance(event, StageStarted):
                stages.append(event.stage)
            if isinstance(event, StageAdvanced) and stages[-1] == "denoise":
                stages.append("denoise")
                if stages.count("denoise") == 3:
                    raise Death

        with pytest.raises(Death):
            sweep(folder, emit=emit, save_every=0, **settings)
        assert list(folder.rglob("state-*.safetensors"))

    return run


def pictures(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("images/[0-9]*.png"))}


def done(events, stage):
    """What was done in all stages of this name, in their units."""
    found, open_stages = 0, []
    for event in events:
        match event:
            case StageStarted(stage=name):
                open_stages.append(name)
            case StageFinished():
                open_stages.pop()
            case StageAdvanced(done=units) if open_stages[-1] == stage:
                found += units
            case _:
                pass
    return found


THREE = {"tau": "0,0.3,0.6", "batch_size": 3}


@pytest.fixture(scope="module")
def undisturbed(sweep, tmp_path_factory):
    """Cells of three taus in batches that no step fills: composed otherwise, pictures differ in their last bits."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    sweep(folder, **THREE)
    return pictures(folder)


@pytest.mark.parametrize("manifests", [0, 1, 2])
def test_killed_before_any_manifest_nothing_is_denoised_or_decoded_again(
    sweep, undisturbed, tmp_path, monkeypatch, manifests
):
    finish, written = generate.finish, []

    def killed(*arguments):
        if len(written) == manifests:
            raise Death
        written.append(finish(*arguments))
        return written[-1]

    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(generate, "finish", killed)
        sweep(tmp_path / "run", **THREE)
    heard = []
    records = sweep(tmp_path / "run", events=heard, **THREE)
    assert [record.status for record in records] == ["done"] * 3
    assert (done(heard, "denoise"), done(heard, "decode")) == (0, 0)
    assert pictures(tmp_path / "run") == undisturbed
    assert not (tmp_path / "run" / "states").exists()


@pytest.mark.parametrize("which", ["shared", "cells"])
def test_what_is_lost_of_a_finished_run_is_made_in_the_batches_that_it_was_made_in(sweep, undisturbed, tmp_path, which):
    first = sweep(tmp_path / "run", **THREE)
    run = tmp_path / "run"
    lost = first[-1].baseline_scores(run).parent if which == "shared" else first[-1].folder(run)
    (lost / "generation.json").unlink()
    shutil.rmtree(lost / "images")
    heard = []
    records = sweep(tmp_path / "run", events=heard, **THREE)
    assert [record.status for record in records] == ["done"] * 3
    assert pictures(tmp_path / "run") == undisturbed
    whole = 3 * 4 + sum(record.execution.rows for record in first)
    assert 0 < done(heard, "denoise") < whole, "batches in which nothing of it is are passed over"
    assert [record.results for record in records] == [record.results for record in first]


def test_killed_while_decoding_what_is_written_counts_and_a_torn_picture_does_not(
    sweep, undisturbed, tmp_path, monkeypatch
):
    written, told = [], Unfinished.written

    def killed(self, place, content):
        if len(written) == 4:
            raise Death
        written.append(place)
        told(self, place, content)

    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(Unfinished, "written", killed)
        sweep(tmp_path / "run", **THREE)
    folder, prompt = written[0]
    torn = folder / "images" / f"{prompt:05d}.png"
    torn.write_bytes(torn.read_bytes()[:-9])
    heard = []
    records = sweep(tmp_path / "run", events=heard, **THREE)
    assert [record.status for record in records] == ["done"] * 3
    assert done(heard, "denoise") == 0
    assert 0 < done(heard, "decode") <= len(undisturbed) - 3
    assert pictures(tmp_path / "run") == undisturbed
    assert "pictures were there" in " ".join(records[-1].execution.notes)


def test_what_is_measured_is_decoded_as_a_whole(sweep, tmp_path, monkeypatch):
    """Killed in the middle of the second set's pictures: those of the first are there, and their seconds known."""
    written, told = [], Unfinished.written

    def killed(self, place, content):
        if len(written) == 6:
            raise Death
        written.append(place)
        told(self, place, content)

    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(Unfinished, "written", killed)
        sweep(tmp_path / "run", isolate=True)
    heard = []
    (record, _) = sweep(tmp_path / "run", isolate=True, events=heard)
    assert done(heard, "denoise") > 0, "of the cells"
    assert done(heard, "decode") == 2 * 4, "the seconds of a part are not those of all"
    assert record.baseline_timings["denoise"] > 0, "those of the process that was killed"


def test_a_group_that_was_begun_is_not_taken_up_where_its_cells_are_not_asked_for(sweep, tmp_path, monkeypatch):
    def killed(*_):
        raise Death

    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(generate, "finish", killed)
        sweep(tmp_path / "run", **THREE)
    (group,) = (tmp_path / "run" / "states").glob("group-*.jsonl")
    group.write_text(group.read_text().replace('"cells/', '"cells/0', 1))
    assert [record.status for record in sweep(tmp_path / "run", **THREE)] == ["done"] * 3
    assert not (tmp_path / "run" / "states").exists()


def test_seconds_of_a_union_are_shared_out_by_denoiser_evaluations(whole):
    record = whole.records[1]
    assert 0 < record.execution.rows < 4 * 3
    a_row = record.timings["denoise"] / record.execution.rows
    assert record.baseline_timings["denoise"] / (4 * 3) == pytest.approx(a_row)


def test_seconds_before_a_kill_count(sweep, killed, tmp_path, monkeypatch):
    save = DenoisingCheckpoints.save
    with monkeypatch.context() as patch:
        patch.setattr(DenoisingCheckpoints, "save", lambda self, point: save(self, replace(point, seconds=1e6)))
        killed(tmp_path / "run")
    record = sweep(tmp_path / "run", save_every=0)[1]
    assert record.timings["denoise"] + record.baseline_timings["denoise"] > 1e6


def test_a_checkpoint_is_of_the_plan_that_was_denoised_and_of_no_other(sweep, killed, whole, tmp_path):
    """Killed as a union, then made one by one: the same prompts and settings, other nodes."""
    killed(tmp_path / "run")
    heard = []
    records = sweep(tmp_path / "run", isolate=True, save_every=0, events=heard)
    assert [record.status for record in records] == ["done", "done"]
    assert not [event.text for event in heard if isinstance(event, Note) and "resumed" in event.text]
    for ours, theirs in zip(records, whole.records, strict=True):
        files = [path.read_bytes() for path in ours.pictures(tmp_path / "run")]
        assert same_but_for_rounding(files, [path.read_bytes() for path in theirs.pictures(whole.run)])


IN_WAVES = {"tau": "0,0.3,0.6", "batch_size": 2, "wave": 2}


@pytest.fixture(scope="module")
def in_waves(sweep, tmp_path_factory):
    """The cells of three taus in waves of two rows, and what was heard."""
    folder, heard = tmp_path_factory.mktemp("waves") / "run", []
    records = sweep(folder, events=heard, **IN_WAVES)
    return pictures(folder), records, heard


def test_in_waves_no_more_rows_are_denoised_at_once_and_records_are_those_of_the_whole(
    sweep, undisturbed, in_waves, tmp_path
):
    made, records, heard = in_waves
    whole = sweep(tmp_path / "run", **{**IN_WAVES, "wave": None})
    assert max(event.done for event in heard if isinstance(event, StageAdvanced)) <= 2
    assert same_but_for_rounding(made.values(), undisturbed.values())
    for ours, theirs in zip(records, whole, strict=True):
        assert (ours.id, ours.plan, ours.flops) == (theirs.id, theirs.plan, theirs.flops)
        assert ours.execution.rows == theirs.execution.rows
        assert ours.execution.rows == 0 or "waves of at most 2 rows" in " ".join(ours.execution.notes)
    (total,) = [event.total for event in heard if isinstance(event, StageStarted) and event.stage == "denoise"]
    assert done(heard, "denoise") == total, "of all waves together"


@pytest.mark.parametrize("written", [1, 9])
def test_killed_in_a_wave_finished_waves_are_kept_and_a_damaged_pictures_wave_is_made_again(
    sweep, in_waves, tmp_path, monkeypatch, written
):
    whole, records, heard = in_waves
    places, told = [], Unfinished.written

    def killed(self, place, content):
        if len(places) == written:
            raise Death
        places.append(place)
        told(self, place, content)

    before, again = [], []
    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(Unfinished, "written", killed)
        sweep(tmp_path / "run", events=before, save_every=None, **IN_WAVES)
    ours = sweep(tmp_path / "run", events=again, save_every=None, **{**IN_WAVES, "wave": None})
    total, widest = done(heard, "denoise"), 2 * 3
    assert 0 <= done(before, "denoise") + done(again, "denoise") - total <= widest, "at most one wave"
    (begun,) = [event for event in again if isinstance(event, StageStarted) and event.stage == "denoise"]
    assert begun.before + done(again, "denoise") == begun.total == total, "what was there counts as done"
    assert pictures(tmp_path / "run") == whole, "in the waves that it was begun in"
    assert [one.execution.calls for one in ours] == [one.execution.calls for one in records]
    assert not (tmp_path / "run" / "states").exists()
    # of what is lost after all, the wave is made again, in the same batches
    (lost,) = (path for path in [ours[-1].folder(tmp_path / "run") / "images" / "00003.png"] if path.exists())
    lost.write_bytes(lost.read_bytes()[:-9])
    heard_of_it = []
    sweep(tmp_path / "run", events=heard_of_it, **{**IN_WAVES, "wave": None})
    assert 0 < done(heard_of_it, "denoise") < total
    assert pictures(tmp_path / "run") == whole


def test_what_trunks_left_that_is_damaged_is_denoised_again(sweep, in_waves, tmp_path, monkeypatch):
    places, told = [], Unfinished.written

    def killed(self, place, content):
        if list((tmp_path / "run/states").glob("trunk-*")):
            raise Death
        places.append(place)
        told(self, place, content)

    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(Unfinished, "written", killed)
        sweep(tmp_path / "run", **IN_WAVES)
    for left in (tmp_path / "run/states").glob("trunk-*"):
        content = bytearray(left.read_bytes())
        content[-1] ^= 1
        left.write_bytes(content)
    sweep(tmp_path / "run", **IN_WAVES)
    assert pictures(tmp_path / "run") == in_waves[0]


def test_a_picture_that_is_damaged_after_its_wave_was_done_has_its_wave_made_again(
    sweep, in_waves, tmp_path, monkeypatch
):
    def killed(*_):
        raise Death

    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(generate, "finish", killed)
        sweep(tmp_path / "run", **IN_WAVES)
    damaged = min((tmp_path / "run").rglob("images/00000.png"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    again = []
    sweep(tmp_path / "run", events=again, **IN_WAVES)
    assert 0 < done(again, "denoise") < done(in_waves[2], "denoise")
    assert pictures(tmp_path / "run") == in_waves[0]


def test_one_stream_of_noise_is_not_cut_and_says_so(sweep, tmp_path):
    heard, official = [], {"noise": "official", "schedule": "official", "scheduler": "DDPMScheduler"}
    records = sweep(tmp_path / "run", events=heard, tau="0", wave=1, **official)
    assert {record.status for record in records} == {"done"}
    told = [event.text for event in heard if isinstance(event, Note)]
    assert "what draws from one stream of noise is not cut: 4 rows at once where 1 were to be" in told
