"""What a sweep will cost before anything is here, against what the sweep itself says of the same cells."""

from pathlib import Path

import pytest

from generators.prompts import KnownPrompts
from sweeps import estimate as module
from sweeps.estimate import Estimate, estimates
from sweeps.grid import cells
from sweeps.references import seed_control
from sweeps.spec import make_spec

SPEC = {"model": "mini-kandinsky", "dataset": "mini_templates", "tau": "0,1", "limit": 6}


def planned(published=lambda *_: None, size=lambda _: None, study=None, **settings) -> list[Estimate]:
    missing: list[str] = []
    spec = make_spec([{**SPEC, **settings}])
    found = list(estimates(spec, study=study, published=published, size=size, on_missing=missing.append))
    assert missing == []
    return found


def test_without_knowing_more_nothing_is_shared() -> None:
    (one,) = planned()
    assert (one.prompts, one.steps) == (6, 20)
    assert one.node_steps == 3 * 6 * 20, "standard, another seed, tau 1"
    assert one.images == 3 * 6
    assert one.basis == module.STANDARD


def test_published_savings_are_used_where_there_are_no_embeddings() -> None:
    (one,) = planned(
        published=lambda model, dataset, tau: {("mini-kandinsky", "mini_templates", 1.0): 0.25}[model, dataset, tau]
    )
    assert one.node_steps == round(6 * 20 * (2 + 0.75))
    assert one.basis == module.PUBLISHED


def test_published_savings_are_met_to_the_evaluation_and_equal_compute_takes_what_they_leave() -> None:
    (one,) = planned(published=lambda *_: 0.6, equal_compute=True, seed_control=False, limit=7)
    sharing = round(7 * 20 * (1 - 0.6))
    assert sharing == 56, "8 evaluations a prompt"
    assert one.node_steps == 7 * 20 + sharing + 7 * 8
    assert one.images == 3 * 7


@pytest.mark.parametrize("settings", [{}, {"equal_compute": True}, {"seed": "1,2"}, {"seed_control": False}])
def test_pictures_and_evaluations_are_those_of_the_sweep_s_cells(settings) -> None:
    """By the grid: tau 0 is standard's pictures, another seed's are the next seed's where there is one."""
    spec = make_spec([{**SPEC, **settings}])
    (one,) = planned(**settings)
    grid = cells(spec, "cpu")
    seeds = sorted({cell.source.settings.seed for cell in grid})
    baselines = {cell.source.key for cell in grid}
    if spec.seed_control:
        baselines |= {seed_control([cell], seeds).source.key for cell in grid}
    own = [cell for cell in grid if cell.config.tau]
    assert one.images == 6 * (len(baselines) + len(own) * (1 + spec.equal_compute))
    assert one.node_steps == 20 * one.images, "an upper bound"


def test_flops_are_those_of_the_cost_model() -> None:
    from generators.catalogue import model
    from generators.families.base import get_family
    from metrics.flops import price
    from sweeps.grid import settings_of

    (one,) = planned(seed_control=False, tau="0")
    entry = model("mini-kandinsky")
    settings = next(settings_of(make_spec([SPEC]), entry, "cpu"))
    table = price(get_family("kandinsky").components_of(entry, settings), 6, 120, 6)
    assert one.flops == pytest.approx(table.total)
    assert one.denoising == pytest.approx(table.components["denoiser"])


def test_trees_of_text_embeddings_give_the_plan_s_node_steps(monkeypatch) -> None:
    import numpy as np

    from generators.prompts import prompt_set
    from generators.sharing.plan import build_plan
    from generators.sharing.schedule import get_schedule
    from generators.strategies.base import get_strategy

    rows = np.random.default_rng(0).normal(size=(1000, 8))
    monkeypatch.setattr("generators.text_encoders.base.text_embeddings", lambda name, prompts: rows[: len(prompts)])
    spec = make_spec([{**SPEC, "schedule": "official", "seed_control": False}])
    (one,) = estimates(spec, encoder="any", published=lambda *_: None, size=lambda _: None, on_missing=print)
    assert len(prompt_set("mini_templates")) > 6
    plan = build_plan(get_strategy("ward-cosine").tree(rows[:6]), get_schedule("official"), 1.0, 20)
    assert one.node_steps == 6 * 20 + plan.node_steps
    assert "text embeddings" in one.basis


def test_a_full_size_model_and_a_set_that_is_not_here_are_planned(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))
    (one,) = planned(size={"animals": 500}.get, model="sd15", dataset="animals", limit=None, steps=40)
    assert one.prompts == 500
    assert one.steps == 41, "PNDM makes one more"
    assert one.denoising == pytest.approx(one.node_steps * 2 * 803e9, rel=0.01), "guidance asks twice"
    assert one.weight_bytes == pytest.approx(2 * 1.03e9, rel=0.05), "fp16: UNet, VAE's decoder, text encoder"


def test_what_cannot_be_planned_is_told_and_the_rest_is(monkeypatch) -> None:
    missing: list[str] = []
    spec = make_spec([{**SPEC, "dataset": ["mini_templates", "mini_styles"], "limit": None}])
    monkeypatch.setattr(KnownPrompts, "unavailable", lambda known: "not here" if known.name == "mini_styles" else None)
    found = list(estimates(spec, published=lambda *_: None, size=lambda _: None, on_missing=missing.append))
    assert [each.dataset for each in found] == ["mini_templates"]
    assert "mini_styles" in missing[0]


def test_a_setting_of_one_family_does_not_stop_the_plan_of_another() -> None:
    kandinsky, sd = planned(model=["mini-kandinsky", "mini-sd"], prior_steps=2)
    assert (kandinsky.model, sd.model) == ("mini-kandinsky", "mini-sd")
    assert kandinsky.rest < planned()[0].rest, "the prior takes fewer steps"
