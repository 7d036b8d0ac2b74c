"""A record survives the way to disk and back; a damaged one is named."""

import json
import math

import pytest

from common.errors import UserError
from sweeps.record import CellConfig, Record, Result, load_records, read_record

AXES = {
    "model": "m", "dataset": "d", "strategy": "s", "features": "f", "schedule": "eq7", "combiner": "mean", "steps": 20,
    "seed": 1, "noise": "per-root", "scheduler": "default", "guidance": 4.0,
}  # fmt: skip


def record(tau="0.5", seed=1, **more) -> Record:
    return Record(id=f"{seed}-{tau}", status="done", config=CellConfig(**{**AXES, "seed": seed}, tau=tau), **more)


def save(run, each: Record):
    path = each.folder(run) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(each.model_dump_json())
    return path


def test_every_number_survives(tmp_path):
    values = [0.1, 1 / 3, 1e-300, math.inf, -math.inf, math.nan]
    each = record(figures={f"m.{i}": Result(value=value, low=value) for i, value in enumerate(values)})
    back = read_record(save(tmp_path, each))
    assert [repr(figure.value) for figure in back.results.values()] == [repr(value) for value in values]
    assert str(back.config.tau) == "0.5"


def test_records_come_in_the_order_of_their_numbers(tmp_path):
    for seed, tau in [(10, "2"), (2, "10"), (2, "9.5"), (10, "0.5")]:
        save(tmp_path, record(tau, seed))
    assert [(each.config.seed, str(each.config.tau)) for each in load_records(tmp_path)] == [
        (2, "9.5"), (2, "10"), (10, "0.5"), (10, "2"),
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["", "{", "{}", "null", '{"schema_version": 2}', "\x00\xff"])
def test_a_damaged_record_is_named_and_told_what_to_do(tmp_path, content):
    path = save(tmp_path, record())
    path.write_text(content, encoding="latin-1")
    for read in (lambda: read_record(path), lambda: load_records(tmp_path)):
        with pytest.raises(UserError, match=r"record\.json") as error:
            read()
        assert "run the same sweep again" in error.value.hint


def test_a_cell_that_failed_early_has_no_standard_images(tmp_path):
    with pytest.raises(UserError, match="no baseline"):
        record().baseline_pictures(tmp_path)


def test_records_from_before_conditioning_was_recorded_still_load(tmp_path):
    path = save(tmp_path, record())
    before = json.loads(path.read_text())
    del before["conditioned_on"]
    path.write_text(json.dumps(before))
    assert read_record(path).conditioned_on is None
