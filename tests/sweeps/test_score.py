"""The third pass: which pictures are the baseline's, and what is measured of the others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import asked

from common.errors import UserError
from common.files import canonical_json, sha256_text
from metrics.base import Metric
from sweeps.pictures import Manifest, finish, picture_name
from sweeps.record import PlanCost, Record
from sweeps.score import Compared, score
from sweeps.scorers import Scorers

PROMPTS = ("a red fox", "a red wolf", "a blue car", "a blue van")
BASELINE = ("1", "2", "3", "4")
OURS = ("9", "2", "1", "4")  # the second and the fourth are the baseline's; the third is that of another prompt


class Reading(Metric):
    """The number in a file, and a rounding error that no two batches have in common."""

    name, columns, figures, higher_is_better = "reading", ("number",), {}, True

    def __init__(self) -> None:
        super().__init__("none")
        self.seen: list[str] = []
        self.calls = 0

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, Any]:
        self.seen += [f"{path.parents[1].name}/{path.stem[-1]}" for path in images]
        self.calls += 1
        return {"number": np.array([float(path.read_text()) + 1e-8 * self.calls for path in images])}

    def compare(self, baseline: Any, ours: Any, same: Any, *, seed: int = 0) -> dict[str, Any]:
        return {}

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}


@pytest.fixture
def reading() -> Reading:
    return Reading()


@pytest.fixture
def scorers(reading: Reading) -> dict[str, Scorers]:
    scorers = Scorers(None, [], "cpu")
    scorers.metrics["reading"], scorers._sources["reading"] = reading, "none"
    return {asked("1").model: scorers}


def folder_of(folder: Path, numbers: Sequence[str], beside: str | None = None) -> Manifest:
    plan = PlanCost(n_prompts=4, steps_requested=1, K=1, node_steps=4, baseline_node_steps=4, savings=0)
    (folder / "images").mkdir(parents=True)
    for row, number in enumerate(numbers):
        (folder / "images" / picture_name(row)).write_text(number)
    return finish(folder, range(4), lambda images: Manifest(images=images, blank=[], plan=plan, baseline=beside))


@pytest.fixture
def baseline(tmp_path: Path) -> Manifest:
    manifest = folder_of(tmp_path / "shared/baseline", BASELINE)
    (tmp_path / "shared/baseline/prompts.json").write_text(canonical_json(PROMPTS))
    return manifest


def cell(run: Path, name: str, baseline: Manifest, numbers: Sequence[str] = OURS) -> Record:
    folder_of(run / "cells" / name, numbers, baseline.hash)
    identity = {"prompts": sha256_text(canonical_json(PROMPTS))}
    return Record(id=name, status="done", config=asked("1"), identity=identity, baseline="shared/baseline")


def scored(run: Path, records: Sequence[Record], scorers: dict[str, Scorers], **more: Any) -> list[Compared]:
    results = [result for _, result in score(run, records, scorers, lambda _: None, **more)]
    assert all(isinstance(result, Compared) for result in results), results
    return results  # type: ignore[return-value]


def test_a_picture_is_the_baselines_where_its_file_is_that_of_the_same_prompt(tmp_path, baseline, scorers):
    (compared,) = scored(tmp_path, [cell(tmp_path, "ours", baseline)], scorers)
    assert compared.same.tolist() == [False, True, False, True]


def test_a_picture_that_is_the_baselines_is_not_measured_again_and_ties_to_the_bit(
    tmp_path, baseline, scorers, reading
):
    (compared,) = scored(tmp_path, [cell(tmp_path, "ours", baseline)], scorers)
    assert sorted(name for name in reading.seen if name.startswith("ours")) == ["ours/0", "ours/2"]
    first, second = (one.scores.measured["reading"]["number"] for one in (compared.ours, compared.baseline))
    assert first[[1, 3]].tolist() == second[[1, 3]].tolist()


def test_every_picture_has_the_score_of_its_own_file(tmp_path, baseline, scorers):
    (compared,) = scored(tmp_path, [cell(tmp_path, "ours", baseline)], scorers)
    for folder, numbers in ((compared.ours, OURS), (compared.baseline, BASELINE)):
        assert folder.scores.measured["reading"]["number"] == pytest.approx([float(number) for number in numbers])


def test_one_folder_of_baselines_is_measured_once_for_all_cells_beside_it(tmp_path, baseline, scorers, reading):
    cells = [cell(tmp_path, name, baseline) for name in ("first", "second")]
    scored(tmp_path, cells, scorers, again=True)
    assert sorted(name for name in reading.seen if name.startswith("baseline")) == [f"baseline/{i}" for i in range(4)]


def test_what_was_measured_is_not_measured_again_unless_asked(tmp_path, baseline, scorers, reading):
    ours = cell(tmp_path, "ours", baseline)
    first = scored(tmp_path, [ours], scorers)
    seen = list(reading.seen)
    (again,) = scored(tmp_path, [ours], scorers)
    assert reading.seen == seen
    assert again.ours.scores.measured["reading"]["number"].tolist() == (
        first[0].ours.scores.measured["reading"]["number"].tolist()
    )
    scored(tmp_path, [ours], scorers, again=True)
    assert reading.seen == seen * 2


def test_pictures_beside_another_baseline_than_their_own_are_not_compared(tmp_path, baseline, scorers):
    stale = cell(tmp_path, "ours", baseline.model_copy(update={"images": {}}))
    ((_, error),) = score(tmp_path, [stale], scorers, lambda _: None)
    assert isinstance(error, UserError)
    assert "made again" in error.message
