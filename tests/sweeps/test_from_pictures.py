"""Prompts that start from finished pictures, in a sweep: what is made, what it costs, and who is refused."""

from pathlib import Path
from typing import Any

import pytest

from generators.sharing.plan import SharingPlan
from sweeps.events import Note
from sweeps.pictures import MANIFEST, PLAN, load_manifest
from sweeps.record import Record

ANY = "similarity=[-0.9]:share=[0.5]"  # whoever came before is near enough, and half the steps are skipped
MODM = f"modm:{ANY}"
ASKED: dict[str, Any] = {"strategy": [MODM, "average"], "steps": "6", "tau": "0,1"}


@pytest.fixture(scope="module")
def made(sweep, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, float], Record]]:
    run = tmp_path_factory.mktemp("pictures") / "run"
    records = sweep(run, **ASKED)
    assert [record.status for record in records] == ["done"] * 4
    return run, {(record.config.strategy, float(record.config.tau)): record for record in records}


def images(run: Path, record: Record) -> dict[str, str]:
    return load_manifest(run / "cells" / record.id).images


def test_tau_0_is_the_baseline_and_tau_1_is_not(made) -> None:
    run, records = made
    modm = {tau: record for (strategy, tau), record in records.items() if strategy.startswith("modm")}
    baseline = load_manifest(run / modm[0].baseline).images
    assert images(run, modm[0]) == baseline
    same = [baseline[name] == digest for name, digest in images(run, modm[1]).items()]
    assert same == [True, False, False, False], "the first alone has nobody before it"


def test_it_costs_what_its_plan_says_and_is_made_by_itself(made) -> None:
    run, records = made
    record = next(record for (strategy, tau), record in records.items() if strategy.startswith("modm") and tau)
    plan = SharingPlan.load(run / "cells" / record.id / PLAN)
    assert plan.from_pictures and plan.rounds.max() >= 1
    assert record.plan.node_steps == plan.node_steps == 6 + 3 * 3
    assert record.plan.savings == pytest.approx(1 - 15 / 24)
    assert record.execution.rows == 15 and record.execution.united == 0
    assert record.flops.savings > 0


def test_a_lost_picture_is_made_again_as_it_was(sweep, tmp_path: Path, made) -> None:
    _, records = made
    run = tmp_path / "run"
    (record,) = sweep(run, **(ASKED | {"strategy": MODM, "tau": "1"}))
    before, folder = images(run, record), run / "cells" / record.id
    assert before == images(made[0], next(one for key, one in records.items() if key[0].startswith("modm") and key[1]))
    (lost,) = folder.rglob(list(before)[3])
    lost.unlink()
    sweep(run, **(ASKED | {"strategy": MODM, "tau": "1"}))
    assert images(run, record) == before
    assert lost.exists() and (folder / MANIFEST).exists()


def test_it_is_not_cut_into_waves_and_says_so(sweep, tmp_path: Path) -> None:
    heard: list[Any] = []
    more = {"strategy": f"{MODM}:store=misses", "tau": "1", "wave": 1, "batch_size": "1"}
    (record,) = sweep(tmp_path / "run", **(ASKED | more), events=heard)
    assert record.status == "done" and len(images(tmp_path / "run", record)) == 4
    said = [event.text for event in heard if isinstance(event, Note)]
    assert "what starts from finished pictures is not cut: 3 rows at once where 1 were to be" in said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scheduler": "PNDMScheduler"}, "PNDMScheduler cannot begin with a picture before step"),
        ({"noise": "official"}, "one stream has no noise for finished pictures"),
    ],
)
def test_who_cannot_begin_there_is_refused_when_it_is_planned(sweep, tmp_path: Path, asked: Any, said: str) -> None:
    (record,) = sweep(tmp_path / "run", **(ASKED | {"strategy": MODM, "tau": "1"} | asked))
    assert record.status == "failed" and said in str(record.error)
    assert not list((tmp_path / "run" / "cells").rglob("*.png"))
