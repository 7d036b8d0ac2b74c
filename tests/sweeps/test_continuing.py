"""A sweep goes on in the folder that holds its cells, however it is asked for; another one does not."""

import os
from pathlib import Path

import pytest

from common.errors import UserError
from sweeps.continuing import continued, run_name
from sweeps.passes import sweep as run_sweep
from sweeps.record import load_records
from sweeps.spec import SweepSpec, make_spec
from sweeps.store import open_store, refuse_another, saved_spec

ASKED = {"model": "mini-sd", "dataset": "mini_styles", "limit": 4, "tau": "0,1", "seed": "1,2", "another_seed": False}


def begun(folder: Path, spec: SweepSpec | None = None) -> None:
    with open_store(folder, spec or make_spec([ASKED])):
        (folder / "shared/0").mkdir(parents=True)
        (folder / "shared/0/conditioning.npz").write_text("")


@pytest.mark.parametrize(
    "other",
    [
        {"seed": "2,1"},
        {"seed": "1..2"},
        {"tau": "1.0,0.00"},
        {"strategy": "ward-cosine", "schedule": "eq7", "combiner": "mean", "noise": "per-root"},
        {"features": "pooled"},
        {"steps": 20},
        {"guidance": 3.0},
        {"scheduler": "PNDMScheduler"},
        {"dtype": "fp32", "height": 64, "width": 64, "negative_prompt": ""},
        {"denoiser_cache": "none"},
        {"features": "default,pooled"},
    ],
    ids=str,
)
def test_a_default_that_is_written_out_and_another_order_are_the_same_sweep(tmp_path, other):
    usual = make_spec([ASKED])
    begun(tmp_path / usual.default_name())
    spec = make_spec([ASKED, other])
    assert run_name(spec, tmp_path, "cpu") == usual.default_name(), "it is not made again elsewhere"
    there = continued(spec, tmp_path / usual.default_name(), "cpu")
    refuse_another(tmp_path / usual.default_name(), there)
    assert there == usual, "and stays as it was asked for first"


def test_a_value_is_added_in_other_words(tmp_path):
    begun(tmp_path / "run")
    there = continued(make_spec([ASKED, {"tau": "1,0.5,0", "seed": "2,1", "guidance": 3}]), tmp_path / "run", "cpu")
    assert there == make_spec([ASKED, {"tau": "0,0.5,1"}])
    refuse_another(tmp_path / "run", there)


@pytest.mark.parametrize("other", [{"seed": 1}, {"tau": 1}, {"steps": 24}, {"seed": "1,2,3"}, {"limit": 3}], ids=str)
def test_another_sweep_is_another(tmp_path, other):
    begun(tmp_path / make_spec([ASKED]).default_name())
    begun(tmp_path / "run")
    spec = make_spec([ASKED, other])
    assert run_name(spec, tmp_path, "cpu") == spec.default_name()
    there = continued(spec, tmp_path / "run", "cpu")
    assert there == spec
    with pytest.raises(UserError, match=f"another sweep: it differs in {next(iter(other))}") as refused:
        refuse_another(tmp_path / "run", there)
    if "tau" in other:
        assert "or name those too to add cells: 0, 1" in refused.value.hint


def test_a_folder_is_the_same_by_whichever_path(tiny, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "mine.txt").write_text("a fox\na wolf\n")
    (tmp_path / "model").symlink_to(tiny.model, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(tiny.model, tmp_path)
    usual = make_spec([{"model": str(tiny.model), "prompts": str(tmp_path / "mine.txt"), "tau": "0"}])
    begun(tmp_path / "runs" / usual.default_name(), usual)
    for model, prompts in [
        (relative, "mine.txt"),
        (f"{tiny.model}/../{tiny.model.name}", "inner/../mine.txt"),
        (f"./{relative}/", "./mine.txt"),
    ]:
        spec = make_spec([{"model": model, "prompts": prompts, "tau": "0"}])
        there = continued(spec, tmp_path / "runs" / usual.default_name(), "cpu")
        refuse_another(tmp_path / "runs" / usual.default_name(), there)
        assert run_name(spec, tmp_path / "runs", "cpu") == usual.default_name()


def test_a_tau_is_added_to_a_run_and_what_is_there_is_kept(tiny_spec, tmp_path):
    folder, kept = tmp_path / "run", []
    run_sweep(tiny_spec(tau="0,1", equal_compute=True), folder, device="cpu", emit=lambda event: None)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/images/*.png")}
    more = tiny_spec(tau="0.5,1,0", strategy="average,ward-cosine", equal_compute=True)
    run_sweep(more, folder, device="cpu", emit=kept.append)
    assert [str(tau) for tau in saved_spec(folder).tau] == ["0", "0.5", "1"]
    assert saved_spec(folder).strategy == ("ward-cosine", "average"), "what was there stays first"
    records = load_records(folder)
    ways = {(record.config.strategy, str(record.config.tau)) for record in records if record.role == "sharing"}
    assert ways == {(way, tau) for way in ("ward-cosine", "average") for tau in ("0", "0.5", "1")}
    assert all(record.status == "done" for record in records)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing is made again"


def test_a_folder_in_which_nothing_was_made_is_anyones(tmp_path):
    with open_store(tmp_path / "run", make_spec([ASKED])):
        pass
    other = make_spec([ASKED, {"limit": 2}])
    with open_store(tmp_path / "run", other):
        pass
    assert saved_spec(tmp_path / "run") == other
