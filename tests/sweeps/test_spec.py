"""A YAML file and flags say the same; what cannot be meant is refused."""

import os
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from generators.model_entry import default_model
from generators.prompts import prompt_sets
from sweeps.spec import make_spec, presets, read_preset, read_yaml


def test_flags_and_yaml_say_the_same():
    written = yaml.safe_load("{tau: [0, 0.5, 1.0], seed: '0..2', steps: 20, dataset: [a, b], guidance: 4}")
    flags = {"tau": ["0..1:0.5"], "seed": ["0", "1,2"], "steps": ["20"], "dataset": ["a,b"], "guidance": ["4"]}
    assert make_spec([written]) == make_spec([flags])


def test_later_layers_win_and_none_is_not_given():
    spec = make_spec([{"steps": 40, "seed": 1}, {"steps": "20"}, {"seed": None}])
    assert (spec.steps, spec.seed) == ((20,), (1,))


def test_defaults_are_the_embedded_sweep():
    spec = make_spec([])
    assert spec.model == (default_model(),)
    assert spec.dataset == ("mini_templates",)
    assert len(spec.tau) == 9


def test_own_prompts_replace_the_default_set_and_join_a_named_one():
    assert make_spec([{"prompt": ["a, b"]}]).dataset == ()
    assert make_spec([{"prompt": ["a, b"]}]).prompt == ("a, b",), "commas belong to prompts"
    assert make_spec([{"prompt": "a", "dataset": "mini_scenes"}]).dataset == ("mini_scenes",)


def test_a_saved_spec_reads_back():
    spec = make_spec([{"tau": "0..1:0.1", "prompts": "mine.txt", "prior_guidance": 1, "scheduler": "DDIMScheduler"}])
    assert make_spec([yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json")))]) == spec


def test_the_name_follows_from_what_changes_images_and_nothing_else():
    name = make_spec([]).default_name()
    assert name.startswith("mini-kandinsky-mini_templates-")
    assert make_spec([{"device": "cuda", "batch_size": 4, "metric": "vqa", "tau": "0..2:0.25"}]).default_name() == name
    others = [{"tau": "0..1"}, {"seed": 1}, {"limit": 3}, {"negative_prompt": "red"}, {"prior_seed": 0}]
    assert len({name, *(make_spec([other]).default_name() for other in others)}) == 6


def test_the_name_is_one_folder_whatever_the_model():
    spec = make_spec([{"model": ["/some where/my model", "other"], "prompts": "../x y.txt"}])
    assert spec.default_name().startswith("my-model-and-1-more-x-y-")
    assert "/" not in spec.default_name()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"taus": "0"}, "did you mean 'tau'"),
        ({"limit": 0}, "limit"),
        ({"batch_size": "many"}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "2.5"}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"guidance": "strong"}, "guidance"),
        ({"model": []}, "model"),
        ({"model": "a,,b"}, "empty item"),
        ({"tau": None, "steps": "x"}, "whole number"),
        ({"guidance": "nan"}, "finite"),
        ({"prior_guidance": float("inf")}, "finite"),
        ({1: 2}, "no setting 1"),
        ({"prompt": 5}, "prompt"),
        ({"seed": []}, "seed"),
        ({"seed": "-1"}, "seed"),
        ({"steps": "999999999999"}, "steps"),
    ],
)
def test_what_cannot_be_meant_is_one_line(values, says):
    with pytest.raises(UserError) as error:
        make_spec([values])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        *("- a\n- b\n", "tau: [", "\x00", "just text", "tau: 2001-99-99"),
        *("tau: " + "[" * 20_000, "a: &a0 [1]\n" + "".join(f"k{i}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40))),
    ],
)
def test_a_file_that_is_no_spec_is_named(tmp_path, content):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UserError, match=r"mine\.yaml") as error:
        read_yaml(tmp_path / "mine.yaml")
    assert "\n" not in str(error.value)


def test_a_pipe_is_no_spec(tmp_path):
    os.mkfifo(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="it is a pipe"):
        read_yaml(tmp_path / "mine.yaml")


def test_of_a_long_value_that_is_refused_the_beginning_is_shown():
    with pytest.raises(UserError) as error:
        make_spec([{"height": [1] * 100_000}])
    assert len(str(error.value)) < 500


def test_the_last_layer_that_names_prompts_says_which():
    file = {"dataset": "mini_scenes", "limit": 3}
    assert make_spec([file, {"prompts": "mine.txt"}]).dataset == ()
    assert make_spec([file, {"seed": 1}]).dataset == ("mini_scenes",)
    assert make_spec([{"prompt": ["a"]}, file]).prompt == ()


def test_a_runs_own_spec_is_a_spec(tmp_path):
    (tmp_path / "sweep.yaml").write_text("schema_version: 1\nseed: [3]\n")
    assert read_yaml(tmp_path / "sweep.yaml") == {"seed": [3]}


def test_every_preset_is_a_spec_with_a_description():
    assert {"paper-table1", "smoke"} <= set(presets())
    for name, description in presets().items():
        assert description
        make_spec([read_preset(name)])


def test_the_papers_table_uses_its_codes_schedule():
    spec = make_spec([read_preset("paper-table1")])
    assert (spec.schedule, spec.steps, spec.guidance, spec.noise) == (("official",), (40,), (10.0,), ("official",))
    assert len(spec.dataset) == 4


def test_the_papers_grid_in_miniature_is_four_models_on_four_prompt_sets_with_seeds_to_compare():
    spec = make_spec([read_preset("mini_grid")])
    assert spec.model == ("mini-kandinsky", "mini-karlo", "mini-sd", "mini-flux")
    assert set(spec.dataset) == {name for name in prompt_sets() if name.startswith("mini_")}
    assert len(spec.dataset) == 4
    assert len(spec.seed) == 3
    assert (min(spec.tau), max(spec.tau)) == (0, 2)
    assert max(b - a for a, b in pairwise(spec.tau) if b <= 1) <= Decimal("0.25"), "where curves fall, points are dense"


def test_an_unknown_preset_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        read_preset("smoek")


def test_official_is_the_released_codes_settings_under_what_the_layer_says():
    spec = make_spec([{"official": True, "tau": "1"}])
    assert (spec.schedule, spec.noise, spec.strategy) == (("official",), ("official",), ("ward-cosine",))
    assert (spec.scheduler, spec.steps, spec.guidance) == (("DDPMScheduler",), (40,), (10.0,))
    assert (spec.prior_guidance, spec.prior_steps, spec.seed, spec.dtype) == (4, 25, (42,), "auto")
    assert make_spec([spec.model_dump(mode="json")]) == spec, "a run's own spec says it in full"
    flags = make_spec([{"official": True, "seed": "1,2", "schedule": "eq7"}])
    assert (flags.seed, flags.schedule, flags.noise) == ((1, 2), ("eq7",), ("official",))


def test_official_wins_over_layers_before_and_loses_to_layers_after():
    preset = {"guidance": 3, "seed": 7, "limit": 5}
    spec = make_spec([preset, {"official": True, "steps": 20}])
    assert (spec.guidance, spec.seed, spec.steps, spec.limit) == ((10.0,), (42,), (20,), 5)
    assert make_spec([{"official": True}, preset]).guidance == (3.0,)
    assert make_spec([preset, {"official": False}]) == make_spec([preset])


def test_official_is_yes_or_no():
    with pytest.raises(UserError, match="--official"):
        make_spec([{"official": "please"}])


def test_savings_are_an_axis_in_place_of_tau():
    spec = make_spec([{"savings": "0.50,0.3"}])
    assert (spec.tau, spec.savings) == ((), (Decimal("0.3"), Decimal("0.5")))
    assert make_spec([spec.model_dump(mode="json")]) == spec
    assert make_spec([{"savings": "0.3"}, {"tau": "1"}]).savings == ()
    assert make_spec([{"tau": "1"}, {"savings": "0.3"}]).tau == ()
    with pytest.raises(UserError, match="both say"):
        make_spec([{"tau": "1", "savings": "0.3"}])


def test_a_sweep_over_taus_keeps_the_name_that_it_had_before_there_were_savings():
    assert "savings" not in make_spec([{"tau": "1"}]).changes_result()
    assert make_spec([{}]).default_name() != make_spec([{"savings": "0.3"}]).default_name()


def test_former_keys_of_a_file_are_understood():
    spec = make_spec([{"another_seed": False, "fewer_steps": True, "attention": None}])
    assert (spec.seed_control, spec.equal_compute) == (False, True)
    assert make_spec([{"another_seed": False}, {"seed_control": True}]).seed_control
    with pytest.raises(UserError, match="equal_compute is given twice"):
        make_spec([{"fewer_steps": True, "equal_compute": False}])


def test_paths_in_a_file_follow_the_file(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/mine.yaml").write_text("prompts: a.txt\nmodel: [./mine, mini-sd, ../other, OWNER/NAME]\n")
    content = read_yaml(tmp_path / "deep/mine.yaml")
    assert content["prompts"] == str(tmp_path / "deep/a.txt")
    models = [str(tmp_path / "deep/mine"), "mini-sd", str(tmp_path / "deep/../other"), "OWNER/NAME"]
    assert content["model"] == models
    monkeypatch.chdir(tmp_path / "deep")
    assert read_yaml(Path("mine.yaml")) == yaml.safe_load(Path("mine.yaml").read_text()) | {
        "model": ["./mine", "mini-sd", "../other", "OWNER/NAME"]
    }


def test_a_file_of_prompts_is_its_name_and_content_wherever_it_lies(tmp_path):
    for folder, text in {"a": "x\n", "b": "x\n", "c": "y\n"}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.txt").write_text(text)
    names = [make_spec([{"prompts": str(tmp_path / folder / "mine.txt")}]).default_name() for folder in "abc"]
    assert names[0] == names[1] != names[2]
    assert "-mine-" in names[0]


def test_the_names_of_sweeps_without_a_file_of_prompts_stay():
    """Runs that were made without --name continue; names changed once, when cells' ids did."""
    assert make_spec([]).default_name() == "mini-kandinsky-mini_templates-4ff4a933"
    assert make_spec([{"tau": "0..1", "limit": 3}]).default_name() == "mini-kandinsky-mini_templates-a5b4b5f2"
    assert make_spec([{"official": True, "prompt": ["a"]}]).default_name() == "mini-kandinsky-prompts-da4a0d23"


def test_a_removed_setting_is_read_where_it_says_nothing_and_refused_where_it_does():
    assert make_spec([{"attention": None}]) == make_spec([])
    with pytest.raises(UserError, match=r"attention was removed: other kernels gained 0 to 3%"):
        make_spec([{"attention": "native_math"}])


def test_a_familys_own_setting_is_written_like_any_other_and_read_back():
    flags, written = make_spec([{"super_res_steps": "4"}]), make_spec([{"settings": {"super_res_steps": 4}}])
    assert flags == written == make_spec([yaml.safe_load(yaml.safe_dump(flags.model_dump(mode="json")))])
    assert flags.settings == {"super_res_steps": 4}
    assert flags.default_name() != make_spec([]).default_name()
    later = make_spec([{"settings": {"super_res_steps": 4, "noise_level": 10}}, {"super_res_steps": 5}])
    assert later.settings == {"noise_level": 10, "super_res_steps": 5}
    assert make_spec([{"settings": {"prior_steps": 3}}]).prior_steps == 3


def test_files_from_before_families_declared_their_settings_are_read():
    old = {"tau": "1", "super_res_steps": None, "max_sequence_length": None, "noise_level": None}
    assert make_spec([old]) == make_spec([{"tau": "1"}])
    assert make_spec([{**old, "noise_level": 100}]).settings == {"noise_level": 100}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"super_res_step": 4}, "did you mean 'super_res_steps'"),
        ({"super_res_steps": 1}, "super_res_steps = 1 cannot be used"),
        ({"settings": 5}, "settings is a mapping"),
    ],
)
def test_a_setting_that_no_family_has_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        make_spec([values])


def test_a_spec_without_families_own_settings_takes_no_torch():
    code = "import sys; from sweeps.spec import make_spec; make_spec([{'tau': '1'}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_column_goes_with_its_file_of_prompts() -> None:
    asked = {"prompts": "mine.csv", "column": "caption"}
    assert make_spec([asked, {"tau": 1}]).column == "caption"
    assert make_spec([{"prompts": "mine.csv"}, {"column": "text"}]).column == "text"
    assert make_spec([asked, {"prompts": "other.csv"}]).column is None
    assert make_spec([asked, {"dataset": "mini_templates"}]).column is None
    with pytest.raises(UserError, match="--column is of a file of prompts, and none is given"):
        make_spec([{"column": "caption"}])
    plain, named = make_spec([{"prompts": "mine.csv"}]), make_spec([asked])
    assert "column" not in plain.changes_result()
    assert plain.default_name() != named.default_name()


@pytest.mark.parametrize(
    ("axis", "written", "right"),
    [
        ("strategy", "cache:size=200,eviction=lru", "cache:size=200:eviction=lru"),
        ("strategy", "average,cache:similarity=[0.2, 0.6],share=[0.2, 0.6],size=9,single", "cache:similarity=[0.2, 0.6]"
         ":share=[0.2, 0.6]:size=9"),
        ("strategy", ["hdbscan:min_samples=2", "min_cluster_size=3"], "hdbscan:min_samples=2:min_cluster_size=3"),
        ("strategy", "size=200", "NAME:size=200"),
        ("schedule", "snr:shift=-2,bias=3", "snr:shift=-2:bias=3"),
        ("denoiser_cache", "none,taylorseer:interval=2,warmup=2", "taylorseer:interval=2:warmup=2"),
    ],
)  # fmt: skip
def test_a_parameter_that_a_comma_parted_from_its_name_is_refused_with_the_right_form(axis, written, right):
    with pytest.raises(UserError, match="is a parameter without a name") as refused:
        make_spec([{axis: written}])
    assert refused.value.hint == f"commas part values, colons join parameters: write {right!r}"
