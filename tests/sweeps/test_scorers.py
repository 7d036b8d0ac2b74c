"""What is scored again and what is not, and what a record says of it."""

import re
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from generators.catalogue import model
from metrics.base import Metric
from sweeps.events import CellFinished, Note, StageStarted
from sweeps.scorers import Asked, Scorers, measure, slug


def tables(records) -> list[dict]:
    """What two runs of one sweep have in common: all but the seconds."""
    return [record.model_dump(exclude={"timings"}) for record in records]


def kept(events) -> list[bool]:
    return [event.kept for event in events if isinstance(event, CellFinished)]


def notes(events) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def stages(events) -> list[str]:
    """Every stage but that of finding out what is there, which each sweep begins with."""
    return [event.stage for event in events if isinstance(event, StageStarted) and event.stage != "identify"]


def test_scores_alone_are_made_again(sweep, tiny, copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("images/*.png")}
    vqa = [f"vqa={tiny.vqa}"]
    events = []
    scored = sweep(copy, metric=vqa, events=events)
    assert set(stages(events)) == {"score"}, "another metric makes no image"
    assert all("vqa.win_rate" in record.results for record in scored)
    assert all(record.scorers["vqa"]["higher_is_better"] for record in scored)
    events = []
    assert tables(sweep(copy, metric=vqa, events=events, rescore=True)) == tables(scored)
    assert set(stages(events)) == {"score"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.fixture
def upgraded(monkeypatch):
    """Another torch, as far as anything can tell; the version that there is."""
    from sweeps import generate, machine, passes

    then = machine.versions()
    for module in (generate, passes):
        monkeypatch.setattr(module, "versions", lambda: {**then, "torch": "99.0"})
    monkeypatch.setattr(
        "metrics.vqa_backends.in_process.packages",
        lambda *names: {name: then[name] for name in names} | {"torch": "99.0"},
    )
    return then["torch"]


@pytest.fixture
def scored(sweep, tiny, copy):
    """The default tiny sweep with VQA scores, in `copy`."""
    return sweep(copy, metric=[f"vqa={tiny.vqa}"])


def test_other_library_versions_keep_what_is_there_and_are_flagged_once(sweep, tiny, copy, scored, request):
    then = request.getfixturevalue("upgraded")
    events = []
    assert sweep(copy, metric=[f"vqa={tiny.vqa}"], events=events) == scored
    assert kept(events) == [True, True]
    assert notes(events) == [
        f"{what} that are kept were made with torch {then} (now 99.0)" for what in ("pictures", "scores")
    ]


def test_scoring_again_says_what_made_the_pictures_and_what_scored_them(sweep, tiny, copy, scored, request):
    then = request.getfixturevalue("upgraded")
    for record in sweep(copy, metric=[f"vqa={tiny.vqa}"], rescore=True):
        assert record.versions["torch"] == then
        assert record.machine["device"] == "cpu"
        assert record.scorers["vqa"]["packages"]["torch"] == "99.0"


def test_a_narrower_metric_and_another_way_to_its_folder_score_nothing_again(sweep, tiny, copy, monkeypatch):
    both = sweep(copy, metric=[f"vqa={tiny.vqa}", f"clip_diversity={tiny.clip}"])
    events = []
    assert sweep(copy, metric=[f"vqa={tiny.vqa.parent}/./vqa"], events=events) == both
    assert stages(events) == []
    again = sweep(copy, metric=[f"clip_diversity:images=2={tiny.clip}"])
    assert again[1].results.keys() == both[1].results.keys(), "the other metric's figures stay"
    assert again[1].scorers["clip_diversity"]["images"] == 2


def test_memory_that_runs_out_while_encoding_or_scoring_is_in_the_record(sweep, tiny, tmp_path, monkeypatch):
    from generators.families.kandinsky import Kandinsky
    from metrics.vqa import VQAScore

    encode, measure = Kandinsky.encode_batches, VQAScore.measure

    def small_encode(self, prompts, keys, settings, batches):
        batches.size = 2
        batches.notes.append("memory ran out at batch size 4: went on with 2")
        return encode(self, prompts, keys, settings, batches)

    def small_measure(self, images, prompts):
        if len(images) > 2:
            raise RuntimeError("CUDA out of memory")
        return measure(self, images, prompts)

    monkeypatch.setattr(Kandinsky, "encode_batches", small_encode)
    monkeypatch.setattr(VQAScore, "measure", small_measure)
    events = []
    (record,) = sweep(tmp_path / "run", tau="0.1", noise="shared", metric=[f"vqa={tiny.vqa}"], events=events)
    assert record.status == "done"
    assert "encoding: memory ran out at batch size 4: went on with 2" in record.execution.notes
    assert "scoring vqa: memory ran out at batch size 4" in "".join(notes(events))


def test_memory_that_runs_out_in_a_worker_makes_smaller_batches(sweep, stand_in, tmp_path):
    (stand_in.checkpoint / "memory").write_text("3")
    events = []
    records = sweep(tmp_path / "run", metric=[f"vqa=t2v:{stand_in.checkpoint}"], events=events)
    assert [record.status for record in records] == ["done", "done"]
    assert "scoring vqa: memory ran out at batch size 4: went on with 2" in notes(events)
    assert records[1].scorers["vqa"]["worker"] == {"name": "t2v", "version": 1}
    assert len((stand_in.checkpoint / "loads").read_text().split()) == 1


def test_a_worker_that_crashes_costs_scores_and_no_image(sweep, stand_in, tmp_path):
    metric = [f"vqa=t2v:{stand_in.checkpoint}"]
    (stand_in.checkpoint / "crash").touch()
    for record in sweep(tmp_path / "run", metric=metric):
        assert record.status == "failed"
        assert "the worker t2v ended early (exit status 7)" in record.error.message
    (stand_in.checkpoint / "crash").unlink()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("shared/*/images/*.png")}
    assert len(made) == 4
    assert [record.status for record in sweep(tmp_path / "run", metric=metric)] == ["done", "done"]
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_model_whose_default_scorer_is_not_set_up_is_refused_with_both_ways_out(monkeypatch, tmp_path):
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"t2v:clip-flant5-xxl here: .*`bench setup vqa`") as error:
        _ = Scorers(model("kandinsky-2.2"), (), "cpu").identities
    assert "--metric clip_diversity" in error.value.hint


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("clip_diversity:image=9", "did you mean 'images'"),
        ("clip_diversity:device=cuda", "no parameter 'device'"),
        ("clip_diversity:images", "is no metric"),
        ("clip_diversity:images=[", "is no value"),
        ("clip_diversity:images=1", "cannot compare 1"),
        ("vqa@My.VQA=x", "write vqa@my-vqa"),
    ],
)
def test_a_metrics_parameters_are_refused(tiny, tiny_spec, metric, says):
    with pytest.raises(UserError, match=re.escape(says)):
        Scorers(model(str(tiny.model)), tiny_spec(metric=metric).metric, "cpu")


def test_a_metric_is_a_name_parameters_and_a_checkpoint():
    assert Asked.parse("vqa") == Asked("vqa", None, {}, None)
    assert Asked.parse("clip=ViT-L-14:openai") == Asked("clip", None, {}, "ViT-L-14:openai")
    assert Asked.parse("clip:images=all=/a=b") == Asked("clip", None, {"images": "all"}, "/a=b")
    assert Asked.parse("clip@mine:images=2=hf:a/b@c") == Asked("clip", "mine", {"images": 2}, "hf:a/b@c")


@pytest.mark.parametrize(
    ("checkpoint", "says"),
    [
        ("t2v:clip-flant5-xxl", "clip-flant5-xxl"),
        ("hf:Qwen/Qwen2.5-VL-3B-Instruct", "qwen2-5-vl-3b-instruct"),
        ("ViT-L-14:openai", "vit-l-14-openai"),
        ("embedded:vqa", "vqa"),
        ("/scorers/My VQA=2/", "my-vqa-2"),
    ],
)
def test_a_further_scorer_is_called_by_the_end_of_its_checkpoints_path(checkpoint, says):
    assert slug(checkpoint) == says


@pytest.fixture
def scorers(tiny):
    """The names of what is asked for, beside scorers that a run has."""
    return lambda *asked, known=None: list(Scorers(model(str(tiny.model)), asked, "cpu", known).metrics)


def test_the_first_scorer_of_a_metric_has_its_name_and_further_ones_their_checkpoints(scorers, tiny):
    further = ["vqa=t2v:clip-flant5-xl", "vqa@mine=hf:a/b", f"clip_diversity={tiny.clip}", "clip_diversity:images=2"]
    names = ["vqa", "vqa@clip-flant5-xl", "vqa@mine", "clip_diversity", "clip_diversity@vit-l-14-openai"]
    assert scorers(f"vqa={tiny.vqa}", *further) == names


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["vqa=a/b", "vqa@other=a/b"], "is asked for twice with a/b"),
        (["vqa=a/b", "vqa=c/d", "vqa=e/d"], "--metric vqa@NAME=e/d"),
        (["vqa@d=a/b", "vqa@d=c/d"], "--metric vqa@NAME=c/d"),
        (["vqa=a/b", "vqa=.."], "--metric vqa@NAME=.."),
    ],
)
def test_scorers_that_could_not_be_told_apart_are_refused(scorers, asked, says):
    with pytest.raises(UserError, match=re.escape(says)):
        scorers(*asked)


def test_in_a_run_a_scorer_keeps_its_name_and_no_other_takes_it(scorers, tiny, tmp_path):
    there = Scorers(None, [f"vqa={tiny.vqa}"], "cpu").identities["vqa"]
    moved = tmp_path / "moved"
    moved.symlink_to(tiny.vqa)
    known = {"vqa": [{"sha256": "another"}], "vqa@old": [there]}
    assert scorers(f"vqa={moved}", known=known) == ["vqa@old"]
    known = {"vqa": [{"sha256": "another"}], "vqa@other": []}
    assert scorers(f"vqa={moved}", f"vqa@other={tiny.vqa}", known=known) == ["vqa@moved", "vqa@other"]


def test_two_scorers_of_one_metric_stand_side_by_side_in_a_record(sweep, tiny, copy, stand_in):
    both = [f"vqa={tiny.vqa}", f"vqa=t2v:{stand_in.checkpoint}"]
    _, record = sweep(copy, metric=both)
    assert {name.partition(".")[0] for name in record.results} == {"pictures", "vqa", "vqa@checkpoint"}
    first, second = (record.scorers[name] for name in ("vqa", "vqa@checkpoint"))
    assert (first["name"], first["metric"]) == ("vqa", "vqa")
    assert (second["name"], second["metric"]) == ("vqa@checkpoint", "vqa")
    assert (first["checkpoint"], second["checkpoint"]) == (str(tiny.vqa), f"t2v:{stand_in.checkpoint}")
    assert first["sha256"] != second["sha256"]
    assert "{}" in first["question"]
    assert "{}" in second["question"]
    assert {"torch", "transformers"} <= first["packages"].keys()
    assert first["figures"]["win_rate"]["label"] + " (checkpoint)" == second["figures"]["win_rate"]["label"]


def test_scores_of_one_scorer_survive_the_failure_of_the_next(sweep, tiny, copy, stand_in, monkeypatch):
    from metrics.vqa import VQAScore

    both, measured, measure = [f"vqa={tiny.vqa}", f"vqa=t2v:{stand_in.checkpoint}"], [], VQAScore.measure
    monkeypatch.setattr(
        VQAScore, "measure", lambda self, *rest: measured.append(self.checkpoint) or measure(self, *rest)
    )
    (stand_in.checkpoint / "crash").touch()
    assert {record.status for record in sweep(copy, metric=both)} == {"failed"}
    assert measured.count(str(tiny.vqa)) == 1, "standard's pictures"
    (stand_in.checkpoint / "crash").unlink()
    assert {record.status for record in sweep(copy, metric=both)} == {"done"}
    assert measured.count(str(tiny.vqa)) == 2, "and those of the cell whose pictures are not standard's"


class Reader(Metric):
    """What it reads, and how many words at once."""

    name, columns, results, higher_is_better = "reader", ("letters",), {}, True

    def measure(self, images, prompts):
        self.read = [*getattr(self, "read", []), [len(prompt.split()) for prompt in prompts]]
        assert [image.name for image in images] == [f"{prompt}.png" for prompt in prompts]
        return {"letters": np.array([len(prompt) for prompt in prompts])}

    def compare(self, standard, ours, same, *, seed=0):
        return {}

    def identity(self):
        return {}


def test_prompts_of_one_length_are_scored_together_and_scores_stay_with_their_pictures():
    prompts = ["a b", "abc", "a bcde", "abcdef", "a", "ab cd e"]
    reader = Reader("none", batch_size=2)
    scorers = Scorers(None, ["none"], "cpu")
    scorers.metrics["reader"] = reader
    scorers._sources["reader"] = "none"
    ((_, columns, _),) = measure(scorers, ["reader"], [Path(f"{each}.png") for each in prompts], prompts, print)
    assert columns["letters"].tolist() == list(map(len, prompts))
    assert reader.read == [[1, 1], [1, 2], [2, 3]]


def test_a_metrics_parameter_that_a_comma_parted_is_refused_and_a_checkpoint_is_none():
    with pytest.raises(UserError, match="'foo=2' is a parameter") as refused:
        Scorers(None, ("clip_diversity:images=all", "foo=2"), "cpu")
    assert refused.value.hint and "'clip_diversity:images=all:foo=2'" in refused.value.hint
    assert list(Scorers(None, ("none", "vqa=hf:nowhere/at-all"), "cpu").metrics) == ["vqa"]
