"""The second pass: pictures that are denoised as one are those that are denoised one by one."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from rounding import same_but_for_rounding

from common.files import read_sealed, write_sealed
from sweeps.events import Note, StageStarted
from sweeps.grid import cells
from sweeps.passes import sweep as run_sweep
from sweeps.pictures import load_manifest
from sweeps.score import score
from sweeps.scorers import Scorers
from sweeps.session import Session

MANY = {"tau": "0,0.3,0.6", "seed": "1,2", "strategy": "ward-cosine,average"}


@pytest.fixture(scope="module")
def both(tiny_spec, tmp_path_factory: pytest.TempPathFactory):
    """The same sweep, together and one by one: folder, records, what was heard."""

    def run(isolate: bool):
        folder, heard = tmp_path_factory.mktemp("unions") / "run", []
        spec = tiny_spec(**MANY, isolate=isolate, another_seed=True, fewer_steps=True)
        return folder, run_sweep(spec, folder, device="cpu", emit=heard.append), heard

    return run(False), run(True)


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("[0-9]*.png"))}


def of_union(heard) -> list[str]:
    return [event.text for event in heard if isinstance(event, Note) and "as one" in event.text]


def test_the_pictures_are_the_same(both):
    (together, *_), (apart, *_) = both
    ours, theirs = pictures(together), pictures(apart)
    assert ours.keys() == theirs.keys()
    assert same_but_for_rounding(ours.values(), theirs.values())


def test_cells_of_all_taus_strategies_and_seeds_are_one_execution(both):
    (_, records, heard), (_, _, alone) = both
    assert of_union(alone) == []
    (note,) = of_union(heard)
    assert note.startswith("10 sets of pictures are denoised as one"), "two seeds x (standard + 2 strategies x 2 taus)"
    stages = [event for event in heard if isinstance(event, StageStarted) and event.stage == "denoise"]
    whole, *fewer_steps = [event.total for event in stages]
    assert len(fewer_steps) <= 6, "which have other steps each"
    assert f"{whole:,} node-steps" in note
    assert whole < sum(record.execution.rows for record in records if record.role == "sharing") + 2 * 4 * 3


def test_seconds_are_shares_that_say_so_and_add_up(both):
    (_, records, _), (_, measured, _) = both
    sharing = [record for record in records if record.role == "sharing"]
    assert all(record.shared_seconds for record in sharing)
    assert not any(record.shared_seconds for record in measured)
    own = [record for record in sharing if record.execution.rows]
    assert all(record.execution.united == 10 for record in own)
    each = {record.timings["denoise"] / record.execution.rows for record in own}
    assert max(each) == pytest.approx(min(each)), "by node-steps"


def test_alone_nothing_is_reused_and_the_rest_agrees(both):
    (_, records, _), (_, alone, _) = both
    for ours, theirs in zip(records, alone, strict=True):
        assert ours.plan == theirs.plan
        assert ours.flops == theirs.flops
        if theirs.role == "sharing":
            assert theirs.execution.reused == 0
            assert theirs.execution.rows == theirs.plan.node_steps
            assert ours.execution.rows == ours.plan.node_steps - ours.execution.reused * ours.plan.K


def test_other_combiners_are_executions_of_their_own(sweep, tmp_path):
    heard = []
    records = sweep(tmp_path / "run", combiner="mean,medoid", tau="0.3,0.6", events=heard)
    assert [record.status for record in records] == ["done"] * 4
    assert sorted(note.partition(" ")[0] for note in of_union(heard)) == ["2", "3"], "standard goes with the mean"


def test_what_memory_cannot_hold_at_once_is_denoised_in_waves(sweep, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.waves.free", lambda session: {"cpu": 1.0})
    heard = []
    records = sweep(tmp_path / "run", events=heard, batch_size=2)
    assert len(of_union(heard)) == 1, "together all the same"
    assert "waves of at most 2 rows" in " ".join(records[0].execution.notes)
    assert [record.status for record in records] == ["done", "done"]


@pytest.mark.parametrize("where", ["sweeps.executors.local._executed", "sweeps.generate.grouped_by_combiner"])
def test_a_group_that_fails_is_made_job_by_job(sweep, tmp_path, monkeypatch, where):
    module, name = where.rsplit(".", 1)
    work = getattr(importlib.import_module(module), name)

    def broken(jobs, *rest):
        if name == "grouped_by_combiner" or len(jobs) > 1:
            raise RuntimeError("the union fell over")
        return work(jobs, *rest)

    monkeypatch.setattr(where, broken)
    heard = []
    records = sweep(tmp_path / "run", events=heard)
    assert [record.status for record in records] == ["done", "done"]
    assert any("the union fell over" in event.text for event in heard if isinstance(event, Note))
    assert not any(record.shared_seconds for record in records)


def test_a_denoiser_cache_or_one_stream_of_noise_is_never_united(tiny_spec, tmp_path):
    spec = tiny_spec(noise="official", schedule="official", scheduler="DDPMScheduler")
    heard = []
    run_sweep(spec, tmp_path / "run", device="cpu", emit=heard.append)
    assert of_union(heard) == []


def test_one_set_alone_is_measured(sweep, tmp_path):
    (record,) = sweep(tmp_path / "run", tau="0")
    assert not record.shared_seconds, "it is standard's"


def test_seconds_of_the_baselines_pictures_count_for_every_cell_that_reuses_them(sweep, tiny_spec, tmp_path):
    cell, *_ = cells(tiny_spec(), "cpu")
    tree, _ = Session("cpu", lambda event: None).grouping(cell.source, cell.strategy, cell.config.features)
    _, first, second, *_ = np.unique(tree.score)
    one_pair = (first + second) / 2 / cell.schedule.phi(1.0, cell.source.steps)[0]
    records = sweep(tmp_path / "run", tau=f"0,{one_pair:.6f},0.6")
    assert [record.execution.reused for record in records] == [4, 2, 0]
    for record in records:
        made = sum(record.baseline_timings[stage] for stage in ("denoise", "decode", "write"))
        assert made > 0
        assert record.timings["reused"] == pytest.approx(made * record.execution.reused / 4)


def test_isolated_nothing_is_reused_and_no_seconds_count_twice(sweep, tmp_path):
    (record,) = sweep(tmp_path / "run", tau="0", isolate=True)
    assert (record.execution.reused, record.execution.rows) == (0, record.plan.node_steps)
    assert "reused" not in record.timings
    assert record.timings["denoise"] > 0


def test_encoding_is_among_the_baselines_seconds_alone(whole):
    for record in whole.records:
        assert record.baseline_timings["encode"] > 0
        assert "encode" not in record.timings, "reports count it once for both"


@pytest.mark.parametrize("lost", [False, True], ids=["the baseline is there", "the baseline is made again"])
def test_a_cell_that_was_made_beside_another_baseline_is_made_again(sweep, whole, copy, lost):
    (baseline,) = copy.glob("shared/*/generation.json")
    if lost:
        baseline.unlink()
    path = whole.records[1].folder(copy) / "generation.json"
    write_sealed(path, {**read_sealed(path)[0], "standard": "of another baseline"})
    heard = []
    records = sweep(copy, events=heard)
    assert [record.status for record in records] == ["done", "done"]
    assert json.loads(path.read_text())["standard"] == load_manifest(baseline.parent).hash
    assert f"the baseline of cell {whole.records[1].id} was made anew" in "".join(
        event.text for event in heard if isinstance(event, Note)
    )


def test_a_prompt_whose_numbers_overflow_fails_its_cells_by_name_and_others_go_on(tiny_spec, tmp_path, monkeypatch):
    """One latent of one seed is infinite, in a union of two seeds: in memory too they are denoised once."""
    from generators.noise import KeyedNoise, node_key

    spec, drawn, heard = tiny_spec(tau="0,0.6", seed="1,2"), KeyedNoise.initial, []
    own = node_key(cells(spec, "cpu")[0].source.prompts.keys[2:3])
    spoilt = []

    def initial(noise, keys, shape):
        values = drawn(noise, keys, shape)
        if noise.seed == 2 and own in keys:
            values[keys.index(own)] = float("inf")
            spoilt.append(noise)
        return values

    monkeypatch.setattr(KeyedNoise, "initial", initial)
    records = run_sweep(spec, tmp_path / "run", device="cpu", emit=heard.append)
    assert len(spoilt) == 1, "nothing is denoised a second time"
    assert of_union(heard)
    by_seed = {seed: [record for record in records if record.config.seed == seed] for seed in (1, 2)}
    assert {record.status for record in by_seed[1]} == {"done"}
    errors = [record.error for record in by_seed[2]]
    assert all(error and error.type == "UserError" and error.hint for error in errors)
    assert any("in fp32 at step 1 of 3: no picture of prompt 3 ('a blue car')" in error.message for error in errors)
    assert all("no picture of prompt 3" in error.message for error in errors), "a baseline's reason is its cells'"


def test_prompts_whose_encodings_overflow_fail_by_name(tiny_spec, tmp_path, monkeypatch):
    from generators.families.kandinsky import Kandinsky

    encode = Kandinsky.encode_batches

    def spoilt(self, *args):
        for conditioning in encode(self, *args):
            if args[2].seed == 2:
                conditioning.tensors["image_embeds"][1] = float("nan")
            yield conditioning

    monkeypatch.setattr(Kandinsky, "encode_batches", spoilt)
    spec = tiny_spec(tau="0.6", seed="1,2")
    good, bad = run_sweep(spec, tmp_path / "run", device="cpu", emit=lambda event: None)
    assert good.status == "done"
    assert "overflow in fp32 in encoding (image_embeds): no picture of prompt 2 ('a red wolf')" in bad.error.message


def test_pictures_of_one_colour_are_told_on_the_screen_in_the_record_and_in_the_summary(
    tiny_spec, tmp_path, monkeypatch
):
    from generators.families.kandinsky import Kandinsky
    from reports.base import RunView
    from reports.tables.summary import Summary

    decode = Kandinsky.decode

    def black(self, latents, *rest):
        pixels = decode(self, latents, *rest)
        pixels[::2] = 0
        return pixels

    monkeypatch.setattr(Kandinsky, "decode", black)
    heard: list = []
    folder, spec = tmp_path / "run", tiny_spec(tau="0.6", batch_size=4, noise="shared")
    (record,) = run_sweep(spec, folder, device="cpu", emit=heard.append)
    told = [event.text for event in heard if isinstance(event, Note)]
    for where in ("baseline", "tau 0.6"):
        assert any(f"seed 42, {where}: 2 of 4 pictures are of one colour" in text for text in told), told
        assert any(f"{where}: 1 of 4 pictures is another prompt's," in text for text in told)
    assert [note.partition(",")[0] for note in record.execution.notes][-2:] == [
        "2 of 4 pictures are of one colour", "1 of 4 pictures is another prompt's",
    ]  # fmt: skip
    assert (record.results["pictures.blank"].value, record.results["pictures.blank_standard"].value) == (2, 2)
    for path in folder.rglob("generation.json"):  # as an earlier release left it
        known = {"blank", "sha256"}
        path.write_text(
            json.dumps({name: part for name, part in json.loads(path.read_text()).items() if name not in known})
        )
    record = record.model_copy(update={"picture_sets": {}})
    scorers = {record.config.model: Scorers(None, ["none"], "cpu")}
    ((_, compared),) = score(folder, [record], scorers, heard.append)
    assert [len(one.manifest.blank) for one in (compared.ours, compared.baseline)] == [2, 2]
    sheet = Summary().sheet(RunView.of(folder, [record], 0.05))
    assert "pictures of one colour, which show nothing: 2 at tau 0.6, 2 of a baseline" in sheet.notes
