"""A denoiser cache in a sweep: its cells, what they are held against, and the FLOPs that were computed."""

from pathlib import Path
from typing import Any

import pytest
from diffusers.models.attention_dispatch import attention_backend
from tiny_flux import save_tiny_flux
from torch.utils.flop_counter import FlopCounterMode

from common.errors import UserError
from generators.denoiser_caches.base import get_denoiser_cache
from generators.executor import execute
from generators.noise import KeyedNoise
from generators.sharing.plan import SharingPlan, build_plan
from metrics.flops import price
from sweeps.events import Note
from sweeps.executors.base import get_executor
from sweeps.grid import cells
from sweeps.passes import sweep as run_sweep
from sweeps.plan import check, plan_pictures, plan_sweep
from sweeps.record import Record
from sweeps.references import equal_compute, seed_control
from sweeps.session import Session
from sweeps.spec import SweepSpec, make_spec

CACHE = "first-block:threshold=0.3"
ASKED = {"steps": "8", "tau": "0,1", "metric": "none", "max_sequence_length": 28, "strategy": "average"}
ASKED |= {"another_seed": False, "height": 16, "width": 16}
PROMPTS = ["a red fox", "a red dog", "nine dogs", "a tree by a lake"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_flux(tmp_path_factory.mktemp("flux"), guidance_embeds=True)


@pytest.fixture(scope="module")
def spec(folder: Path) -> Any:
    base = {"model": str(folder), "prompt": PROMPTS, **ASKED}
    return lambda **more: make_spec([base, more])


def run(spec: SweepSpec, folder: Path) -> list[Record]:
    return run_sweep(spec, folder, device="cpu", emit=lambda _: None)


@pytest.fixture(scope="module")
def both(spec, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Record]:
    """Cells without and with a cache, by cache and tau."""
    records = run(spec(denoiser_cache=["none", CACHE]), tmp_path_factory.mktemp("both") / "run")
    assert [record.status for record in records] == ["done"] * 4
    return {(record.config.denoiser_cache, f"{record.config.tau:f}"): record for record in records}


def test_none_changes_no_identity_and_no_name(spec) -> None:
    plain, none = spec(), spec(denoiser_cache="none")
    assert plain.default_name() == none.default_name() != spec(denoiser_cache=CACHE).default_name()
    assert "denoiser_cache" not in plain.changes_result()
    for cell in cells(plain, "cpu"):
        assert "denoiser_cache" not in cell.identity
    assert [cell.id for cell in cells(plain, "cpu")] == [cell.id for cell in cells(none, "cpu")]


def test_a_cache_and_its_parameters_are_of_a_cell_and_not_of_standard_images(spec) -> None:
    found = cells(spec(denoiser_cache=[CACHE, "none", "first-block:threshold=0.2"]), "cpu")
    assert [(cell.config.denoiser_cache, int(cell.config.tau)) for cell in found] == [
        (cache, tau) for cache in ("none", CACHE, "first-block:threshold=0.2") for tau in (0, 1)
    ]
    assert len({cell.id for cell in found}) == 6
    assert len({cell.source.key for cell in found}) == 1


def test_references_are_standard_images_without_a_cache(spec) -> None:
    shared = cells(spec(denoiser_cache=["none", CACHE]), "cpu")
    references = [*equal_compute(shared), seed_control(shared, [42])]
    assert [(reference.role, reference.config.denoiser_cache) for reference in references] == [
        ("fewer-steps", "none"),
        ("another-seed", "none"),
    ]


def test_all_are_held_against_the_same_standard_images(both) -> None:
    assert len({record.baseline for record in both.values()}) == 1
    assert {record.execution.reused for record in both.values()} == {0}, "beside a cache, all seconds are measured"
    assert both[CACHE, "0"].execution.rows == both[CACHE, "0"].plan.baseline_node_steps


def test_what_a_cache_skips_is_saved_in_flops_and_not_in_steps(both) -> None:
    saved = {key: record.flops.savings for key, record in both.items()}
    assert saved["none", "0"] == 0 < saved[CACHE, "0"]
    assert saved[CACHE, "1"] > max(saved[CACHE, "0"], saved["none", "1"])
    assert both[CACHE, "1"].plan == both["none", "1"].plan and both[CACHE, "0"].plan.savings == 0
    assert both[CACHE, "0"].execution.skipped and not both["none", "1"].execution.skipped
    other = {name: flops for name, flops in both["none", "0"].flops.components.items() if name != "denoiser"}
    assert {name: both[CACHE, "0"].flops.components[name] for name in other} == other


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("first-block", {"threshold": 0.3}),
        ("pyramid-attention", {"every": 3, "earliest": 950, "latest": 300}),
        ("taylorseer", {"interval": 2, "warmup": 2}),
    ],
)
def test_flops_are_those_that_were_computed(spec, name: str, parameters: dict[str, Any]) -> None:
    """Counted while it runs, with matrix products for attention, beside what the record would say."""
    cell = cells(spec(tau="1"), "cpu")[0]
    source, session = cell.source, Session("cpu", lambda _: None)
    conditioning = session.encoded(source).conditioning
    grouping, _ = session.grouping(source, cell.strategy, cell.config.features)
    family = session.family(source)
    plan = build_plan(grouping, cell.schedule, 1.0, source.steps)
    with attention_backend("_native_math"), FlopCounterMode(display=False) as counted:
        found = execute(
            plan, family, conditioning, source.prompts.keys, source.settings, noise=KeyedNoise(1), batch_size=2,
            cache=get_denoiser_cache(name, **parameters),
        )  # fmt: skip
    components = [part for part in family.components(source.settings) if part.name == "denoiser"]
    assert sum(found.skipped.values()) > 0
    assert price(components, 4, plan.node_steps, 4, found.skipped).total == counted.get_total_flops()
    assert price(components, 4, plan.node_steps, 4).total > counted.get_total_flops()


def test_a_kept_cell_is_kept_and_a_killed_one_is_made_again_the_same(spec, tmp_path: Path) -> None:
    asked = spec(denoiser_cache=CACHE, tau="1")
    (first,) = run(asked, tmp_path / "run")
    manifest = first.folder(tmp_path / "run") / "generation.json"
    pictures = manifest.read_bytes()
    (kept,) = run(asked, tmp_path / "run")
    assert kept == first and manifest.read_bytes() == pictures
    for lost in ("record.json", "generation.json"):
        (first.folder(tmp_path / "run") / lost).unlink()
    (again,) = run(asked, tmp_path / "run")
    assert again.flops == first.flops and again.execution.skipped == first.execution.skipped


def test_its_memory_stays_with_a_tree_which_is_a_wave_by_itself(spec, both, tmp_path: Path) -> None:
    (record,) = run(spec(denoiser_cache=CACHE, tau="0.4", wave=1), tmp_path / "run")
    trees = SharingPlan.load(record.folder(tmp_path / "run") / "plan.npz").roots
    assert 1 < trees < len(PROMPTS)
    assert f"denoised in {trees} waves of at most 1 rows" in record.execution.notes
    assert "a tree under a denoiser cache is not cut" in " ".join(record.execution.notes)
    assert record.execution.skipped.keys() == both[CACHE, "1"].execution.skipped.keys()


def test_ray_leaves_such_cells_to_this_process(spec, tmp_path: Path) -> None:
    """No worker is asked: none was started."""
    (cell,) = cells(spec(denoiser_cache=CACHE, tau="1"), "cpu")
    session = Session("cpu", lambda _: None)
    job = plan_pictures(cell, tmp_path, session)
    (outcome,) = get_executor("ray")().run([job], session)
    assert outcome.execution.skipped
    assert len(list((tmp_path / "images").iterdir())) == len(PROMPTS)


def test_predicted_costs_are_without_it_and_say_so(spec, tmp_path: Path) -> None:
    notes: list[str] = []
    asked = spec(denoiser_cache=CACHE, tau="1")
    session = Session("cpu", lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    plan_sweep(asked, check(asked, tmp_path, "cpu")[0], tmp_path, session, keep=False).costs(session)
    assert any("costs are without it" in note for note in notes)


def test_what_the_model_cannot_have_is_refused_before_anything_runs(tiny_spec) -> None:
    with pytest.raises(UserError, match="'first-block' is unavailable for UNet2DConditionModel"):
        cells(tiny_spec(denoiser_cache="first-block"), "cpu")
