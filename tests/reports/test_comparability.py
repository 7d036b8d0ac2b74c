import pytest

from reports.comparability import mismatches, shorten_hash
from sweeps.record import Result

HASH = "0123456789abcdef" * 4


@pytest.fixture
def found(new_record):
    """By name, in what run B differs from run A: records of both, those of B changed."""

    def made(change=lambda record: record, **axes: object):
        ours = [new_record(tau) for tau in ("0", "1")]
        theirs = [change(new_record(tau, **axes)) for tau in ("0", "1")]
        return {each.what: each for each in mismatches({"A": ours, "B": theirs})}

    return made


def scored(**about: object):
    """A change of what scored by VQA."""

    def changed(record):
        return record.model_copy(update={"scorers": {**record.scorers, "vqa": {**record.scorers["vqa"], **about}}})

    return changed


def identified(**about: object):
    return lambda record: record.model_copy(update={"identity": {**record.identity, **about}})


def test_equal_runs_differ_in_nothing(found) -> None:
    assert found() == {}


def test_results_of_files_alone_have_no_scorer_to_differ_in(found) -> None:
    counted = {"pictures.duplicates": Result(value=3)}
    assert found(lambda record: record.model_copy(update={"results": {**record.results, **counted}})) == {}


@pytest.mark.parametrize("about", [{"checkpoint": "hf:o/m"}, {"version": 2}, {"sha256": HASH}, {"question": "Is it?"}])
def test_another_scorer_is_refused_by_name(found, about) -> None:
    (difference,) = found(scored(**about)).values()
    assert (difference.what, difference.verdict) == ("scorer of VQA", "refused")
    assert "only those of A's scorer are shown" in difference.follows
    assert "bench score RUN --metric vqa@both=CHECKPOINT" in difference.follows
    assert f"{next(iter(about))} {shorten_hash(str(next(iter(about.values()))))}" in difference.by_run["B"]
    assert not difference.apart


def test_one_checkpoint_from_two_places_is_one_scorer(new_record) -> None:
    runs = {
        "A": [scored(sha256=HASH, checkpoint="/here/vqa")(new_record())],
        "B": [scored(sha256=HASH, checkpoint="owner/vqa")(new_record())],
    }
    assert mismatches(runs) == []


def test_who_has_no_scores_is_flagged(found) -> None:
    def unscored(record):
        kept = {name: each for name, each in record.scorers.items() if name != "vqa"}
        return record.model_copy(update={"scorers": kept, "results": {}})

    assert found(unscored)["scores by VQA"].by_run == {"A": "there", "B": "none"}


def test_other_prompts_of_one_name_are_refused_as_one_series(found) -> None:
    (difference,) = found(identified(prompts=HASH)).values()
    assert (difference.what, difference.verdict) == ("prompts of mini_templates", "refused")
    assert difference.by_run == {"A": "100 prompts", "B": "100 prompts, hash 01234567"}


def test_other_prompt_sets_are_flagged(found) -> None:
    assert found(dataset="mini_styles")["prompt sets"].verdict == "flagged"


@pytest.mark.parametrize(
    ("about", "what"),
    [
        ({"weights": HASH}, "weights of mini-kandinsky"),
        ({"family": {"name": "kandinsky", "version": 2}}, "model family of mini-kandinsky"),
    ],
)
def test_what_made_the_pictures_keeps_series_apart(found, about, what) -> None:
    difference = found(identified(**about))[what]
    assert difference.verdict == "refused"
    assert difference.apart


def test_versions_and_parameters_and_settings_are_compared_where_both_runs_say(new_record) -> None:
    def record(version: int, linkage: str, dtype: str, algorithm: int):
        strategy = {"name": "ward-cosine", "version": version, "parameters": {"linkage": linkage}}
        about = {"strategy": strategy, "settings": {"seed": version, "dtype": dtype}, "algorithm": algorithm}
        return identified(**about)(new_record())

    found = mismatches({"A": [record(1, "ward", "fp32", 1)], "B": [record(2, "average", "fp16", 2)]})
    told = {each.what: dict(each.by_run) for each in found}
    assert told["algorithm version"] == {"A": "1", "B": "2"}
    assert told["settings of mini-kandinsky"] == {"A": "dtype fp32", "B": "dtype fp16"}, "the seed is an axis"
    assert '"average"' in told["version or parameters of strategy ward-cosine"]["B"]
    assert all(each.apart for each in found)
    assert mismatches({"A": [record(1, "ward", "fp32", 1)], "B": [new_record()]}) == []


def test_other_standard_pictures_are_refused_where_the_axes_do_not_say(found) -> None:
    difference = found(lambda record: record.model_copy(update={"baseline": "shared/other"}))
    assert list(difference) == ["baseline pictures of mini-kandinsky on mini_templates, seed 42"]
    assert list(found(seed=7)) == ["seed"], "other seeds have other standard pictures, and the axis says so"


def test_k_seed_tau_machine_and_versions_are_flagged_by_name(new_record) -> None:
    def elsewhere(record):
        return record.model_copy(
            update={
                "plan": record.plan.model_copy(update={"K": 21}),
                "machine": {"cpu": "64 cores"},
                "versions": {**record.versions, "torch": "2.9.0"},
            }
        )

    found = mismatches({"A": [new_record("0.5")], "B": [elsewhere(new_record("1", seed=7))]})
    assert {each.what: each.by_run["B"] for each in found} == {
        "K": "21",
        "seed": "7",
        "tau": "1",
        "machine": "cpu 64 cores",
        "library versions": "torch 2.9.0",
    }
    assert {each.verdict for each in found} == {"flagged"}
    assert not any(each.apart for each in found)
    assert found[0].sentence.startswith("flagged: K (A: 20; B: 21): ")


def test_what_scored_with_other_libraries_is_flagged_and_not_refused(new_record) -> None:
    runs = {
        name: [scored(packages={"torch": torch, "numpy": "2"}, device=device)(new_record())]
        for name, torch, device in (("A", "2.13.0", "cpu"), ("B", "2.9.0", "cuda"))
    }
    (difference,) = mismatches(runs)
    assert (difference.what, difference.verdict) == ("libraries or device of the VQA scorer", "flagged")
    assert difference.by_run == {"A": "torch 2.13.0, device cpu", "B": "torch 2.9.0, device cuda"}


def test_what_is_refused_comes_first(found) -> None:
    both = found(
        lambda record: scored(version=2)(record).model_copy(update={"machine": {}, "versions": {"torch": "1"}})
    )
    assert [each.verdict for each in both.values()] == ["refused", "flagged"]


def test_hashes_are_shortened_and_names_are_not() -> None:
    assert shorten_hash(HASH) == "0123456789ab…"
    assert shorten_hash(f"shared/{HASH}") == "0123456789ab…"
    assert shorten_hash("mini-kandinsky-vqa") == "mini-kandinsky-vqa"
