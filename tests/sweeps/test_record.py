"""A record survives the way to disk and back; a damaged one is named."""

import json
import math
import random
import shutil

import pytest

from common.errors import UserError
from common.files import canonical_json, sha256_text
from sweeps.record import (
    CELLS,
    CellConfig,
    Record,
    Result,
    load_records,
    read_record,
    read_run,
    write_expected,
    write_record,
)

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


def sealed(run, tau="0.5", **more):
    """A record as a sweep writes it: its id is that of its identity."""
    identity = {"tau": tau}
    each = record(tau, identity=identity, **more)
    each = each.model_copy(update={"id": sha256_text(canonical_json(identity))[:16]})
    write_record(each.folder(run) / "record.json", each)
    return each


def test_no_bit_of_a_record_can_change(tmp_path):
    each = sealed(tmp_path, results={"vqa.win_rate": Result(value=0.512, low=0.4, high=0.6)}, baseline="shared/x")
    path, rng = each.folder(tmp_path) / "record.json", random.Random(0)
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            assert read_record(path) == each, "a space, or a letter's escape"
        except UserError:
            refused += 1
    assert refused > 350


def test_a_record_is_of_its_own_cell(tmp_path):
    ours, other = sealed(tmp_path, "0"), sealed(tmp_path, "1")
    shutil.copy(other.folder(tmp_path) / "record.json", ours.folder(tmp_path) / "record.json")
    with pytest.raises(UserError, match=rf"is of another cell, {other.id}"):
        read_record(ours.folder(tmp_path) / "record.json")
    shutil.copytree(other.folder(tmp_path), tmp_path / "cells" / "made-up")
    found = read_run(tmp_path)
    assert [each.id for each in found.records] == [other.id]
    assert len(found.damaged) == 2
    assert all("is of another cell" in sentence for sentence in found.damaged)


@pytest.mark.parametrize(
    "change", [{"id": "../../x"}, {"identity": {"tau": "9"}}, {"baseline": "../x"}, {"images": "/x"}]
)
def test_a_record_names_nothing_outside_of_its_run(tmp_path, change):
    each = sealed(tmp_path)
    path = each.folder(tmp_path) / "record.json"
    write_record(path, each.model_copy(update=change))
    with pytest.raises(UserError, match=r"of another cell|outside of its run"):
        read_record(path)


def test_a_run_says_which_of_its_cells_are_gone(tmp_path):
    cells = [sealed(tmp_path, tau) for tau in ("0", "0.5", "1")]
    write_expected(
        tmp_path, {each.id: {"role": each.role, "config": each.config.model_dump(mode="json")} for each in cells}
    )
    found = read_run(tmp_path)
    assert (found.damaged, found.missing, found.checked) == ([], [], True)
    shutil.rmtree(cells[1].folder(tmp_path))
    path = cells[2].folder(tmp_path) / "record.json"
    path.unlink()
    path.mkdir()
    found = read_run(tmp_path)
    assert [each.id for each in found.records] == [cells[0].id]
    assert "(tau 0.5, s, m, d, 1) has no record" in found.missing[0]
    assert "Is a directory" in found.damaged[0]
    assert "(tau 1, s, m, d, 1) is left out" in found.damaged[0]
    with pytest.raises(UserError, match="Is a directory"):
        load_records(tmp_path)
    (tmp_path / CELLS).write_text("{}")
    assert "list of cells" in read_run(tmp_path).damaged[-1]
    (tmp_path / CELLS).unlink()
    assert "cells.json is missing" in read_run(tmp_path).missing[0]


def test_records_without_a_hash_are_read_and_told(tmp_path):
    save(tmp_path, record())
    found = read_run(tmp_path)
    assert (len(found.records), found.damaged, found.missing, found.checked) == (1, [], [], False)
