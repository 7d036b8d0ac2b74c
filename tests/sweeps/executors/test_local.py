"""A group of jobs denoised in this process: whose seconds are whose, and what a killed one leaves."""

from dataclasses import replace

import pytest
from rounding import same_but_for_rounding

from generators.denoising_checkpoints import DenoisingCheckpoints
from sweeps.events import Note, StageAdvanced, StageStarted


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
