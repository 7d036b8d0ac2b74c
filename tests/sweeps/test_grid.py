"""A cell's identity: everything that changes its images, and nothing else."""

import pytest

from common.errors import UserError
from generators.catalogue import model
from sweeps.grid import cells, own_settings, parse_schedule, parse_strategy, prompts_of, settings_of
from sweeps.spec import make_spec


@pytest.fixture
def ids(tiny_spec):
    return lambda **settings: [cell.id for cell in cells(tiny_spec(**settings), "cpu")]


def test_what_does_not_change_images_does_not_change_identity(ids, tmp_path):
    (tmp_path / "same.txt").write_text("a red fox\na red wolf\na blue car\na blue van\n")
    base = ids()
    assert ids(device="cuda", batch_size=1, metric="vqa=x") == base
    assert ids(tau="0.00,0.60") == base
    assert ids(prompt=[], prompts=str(tmp_path / "same.txt")) == base, "where prompts come from is not what they are"
    assert ids(prior_seed=42) == base, "the pictures' seed is the prior's too"
    assert ids(strategy="ward-cosine", features="image_embeds") == base


@pytest.mark.parametrize(
    "change",
    [
        {"tau": "0.1"},
        {"seed": 43},
        {"steps": 4},
        {"guidance": 2},
        {"schedule": "official"},
        {"noise": "shared"},
        {"scheduler": "DDIMScheduler"},
        {"strategy": "none"},
        {"limit": 3},
        {"prompt": ["a red fox", "a red wolf", "a blue van", "a blue car"]},
        {"negative_prompt": "red"},
        {"prior_steps": 3},
        {"prior_guidance": 1},
        {"prior_seed": 1},
        {"height": 64},
        {"width": 64},
        {"dtype": "bf16"},
    ],
)
def test_whatever_changes_images_changes_identity(ids, change):
    assert not set(ids(tau="0.6")) & set(ids(**{"tau": "0.6", **change}))


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("strategy", "ward-cosine,average"),
        ("strategy", ["flat-threshold:similarity=0.5", "flat-threshold:similarity=0.9"]),
        ("features", "image_embeds,text_embeds"),
        ("schedule", "eq7,official"),
        ("combiner", "mean,medoid"),
        ("tau", "0.6,0.9"),
    ],
    ids=["strategy", "parameters", "features", "schedule", "combiner", "tau"],
)
def test_every_way_to_share_is_a_cell_of_its_own(axis, values):
    settings = {"model": "mini-karlo", "limit": 2, "tau": "0.6", axis: values}
    found = cells(make_spec([settings]), "cpu")
    assert len(found) == 2
    first, second = found
    assert first.source.key == second.source.key, "and both are held against one baseline"
    place = first.config.model_dump(), second.config.model_dump()
    assert [name for name in place[0] if place[0][name] != place[1][name]] == [axis]
    assert first.identity[axis] != second.identity[axis]


def test_another_seed_of_the_prior_is_another_conditioning(tiny_spec):
    sources = [cells(tiny_spec(tau="0", prior_seed=seed), "cpu")[0].source for seed in (1, 2)]
    assert sources[0].conditioning_key != sources[1].conditioning_key
    assert sources[0].key != sources[1].key


def test_weights_change_identity(ids, monkeypatch):
    before = ids()
    monkeypatch.setattr("generators.model_entry.ModelEntry.weights_hash", lambda _: "other")
    assert not set(before) & set(ids())


def test_cells_of_a_source_stand_together_and_tau_runs_fastest(tiny_spec):
    found = cells(tiny_spec(seed="1,2", schedule="eq7,official", tau="0,1"), "cpu")
    assert [(c.config.seed, c.config.schedule, str(c.config.tau)) for c in found] == [
        (seed, schedule, tau) for seed in (1, 2) for schedule in ("eq7", "official") for tau in ("0", "1")
    ]
    assert len({cell.source.key for cell in found}) == 2


def test_equal_cells_are_one(tiny_spec, tiny):
    again = f"{tiny.model.parent}/./{tiny.model.name}"
    assert len(cells(tiny_spec(model=[str(tiny.model), again]), "cpu")) == 2


def test_conditioning_is_shared_where_it_is_the_same(tiny_spec):
    found = cells(tiny_spec(guidance="1,2", steps="2,3", noise="per-root,shared", tau="0", seed="1,2"), "cpu")
    assert len({cell.source.key for cell in found}) == 16
    assert len({cell.source.conditioning_key for cell in found}) == 2, "one for each seed of the prior"
    fixed = cells(tiny_spec(seed="1,2", prior_seed=5, tau="0"), "cpu")
    assert len({cell.source.conditioning_key for cell in fixed}) == 1


def test_k_is_the_schedulers_own(tiny_spec):
    (cell,) = cells(tiny_spec(tau="0", steps=7), "cpu")
    assert cell.source.steps == cell.identity["K"] == 7


def test_a_scheduler_is_the_same_by_name_and_by_default(tiny_spec):
    assert len(cells(tiny_spec(scheduler="default,DDPMScheduler", tau="0"), "cpu")) == 1


def test_a_strategys_parameters_are_parsed_and_refused():
    assert parse_strategy("ward-cosine").name == "ward-cosine"
    for text in ("ward-cosine:speed=9", "ward-cosine:fast", "ward", "ward-cosine:x=["):
        with pytest.raises(UserError):
            parse_strategy(text)


def test_several_prompt_sources_are_several_sets(tiny_spec, tmp_path):
    (tmp_path / "mine.txt").write_text("one\ntwo\nthree\n")
    sets = prompts_of(tiny_spec(dataset="mini_scenes", prompts=str(tmp_path / "mine.txt"), prompt=["a", "b"], limit=2))
    assert [(each.name, len(each)) for each in sets] == [("mini_scenes", 2), ("mine", 2), ("prompts", 2)]


def test_two_sets_of_one_name_are_refused(tiny_spec, tmp_path):
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match=r"two prompt sets are called 'prompts': .*prompts\.txt and --prompt"):
        prompts_of(tiny_spec(prompts=str(tmp_path / "prompts.txt"), prompt=["one"]))


def test_a_schedule_is_in_the_identity_by_no_more_than_it_sees(tiny_spec):
    schedules = "eq7,official,snr,snr:shift=1"
    eq7, official, snr, late = (c.identity["schedule"] for c in cells(tiny_spec(schedule=schedules, tau="1"), "cpu"))
    assert eq7 == {"name": "eq7", "version": 1}, "as in records made before there were others"
    assert official == {"name": "official", "version": 1}
    assert snr["parameters"] == {"shift": -2.0}
    assert late == {**snr, "parameters": {"shift": 1.0}}
    assert len(snr["log_snr"]) == 3
    (other,) = cells(tiny_spec(schedule="snr", tau="1", scheduler="DDIMScheduler", steps=4), "cpu")
    assert len(other.identity["schedule"]["log_snr"]) == 4


def test_a_schedules_parameters_are_parsed_and_refused():
    assert parse_schedule("snr:shift=-2").parameters == {"shift": -2.0}
    for text in ("snr:speed=9", "snr:fast", "eq7:shift=1", "snr:shift=late", "sn"):
        with pytest.raises(UserError):
            parse_schedule(text)


def test_a_schedule_that_follows_noise_is_refused_where_none_is_told(tiny_spec):
    with pytest.raises(UserError, match="does not say how noisy"):
        cells(tiny_spec(schedule="snr", scheduler="EDMEulerScheduler"), "cpu")


def test_a_setting_is_given_to_the_models_that_have_it_and_refused_where_none_has():
    spec = make_spec([{"model": "mini-kandinsky,mini-karlo", "super_res_steps": 3, "prior_steps": 4}])
    karlo, kandinsky, sd = (model(name) for name in ("mini-karlo", "mini-kandinsky", "mini-sd"))
    assert own_settings(spec, karlo) == {"super_res_steps": 3, "prior_steps": 4}
    assert own_settings(spec, kandinsky) == {"prior_steps": 4}
    assert own_settings(spec, sd) == {}
    (settings,) = settings_of(spec, kandinsky, "cpu")
    assert "super_res_steps" not in settings.model_dump()
    with pytest.raises(UserError, match=r"mini-kandinsky has no setting super_res_steps; of: .*karlo") as error:
        list(settings_of(make_spec([{"super_res_steps": 3}]), kandinsky, "cpu"))
    assert "mini-sd" not in str(error.value)
    with pytest.raises(UserError, match="mini-sd has no setting prior_steps; of: "):
        list(settings_of(make_spec([{"model": "mini-sd", "prior_steps": 3}]), sd, "cpu"))


def test_the_released_codes_prior_settings_stand_for_nothing_where_there_is_no_prior():
    spec = make_spec([{"model": "mini-sd", "official": True, "noise": "shared"}])
    (settings,) = settings_of(spec, model("mini-sd"), "cpu")
    assert settings.embedding_seed == settings.seed == 42


def test_only_what_a_familys_conditioning_depends_on_names_it():
    def keys(**asked):
        spec = make_spec([{"model": "mini-karlo", "tau": "0", "limit": 2, **asked}])
        (cell,) = cells(spec, "cpu")
        return cell.source.key, cell.source.conditioning_key

    plain, enlarged, embedded = keys(), keys(super_res_steps=3), keys(prior_steps=3)
    assert plain[0] != enlarged[0] and plain[1] == enlarged[1]
    assert plain[1] != embedded[1]
