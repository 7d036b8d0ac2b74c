"""What is said of the pictures that a set lost, from results alone; tests/bench/test_set_losses.py makes them."""

from pathlib import Path

import pytest
from run_folders import asked, record_at

from reports.base import RunView
from reports.tables.set_losses import SetLosses, losses
from sweeps.record import Record, Result

N = 120


def counted(tau: str, duplicates: int, low: float, role: str = "sharing", vendi: float = 1.0) -> Record:
    share, name = duplicates / N, "pictures.duplicates"
    near = {
        f"clip_diversity.clip{end}": value
        for end, value in {
            "_near_duplicates": Result(value=0),
            "_near_duplicates_standard": Result(value=0),
            "_near_duplicates_difference": Result(value=0, low=-0.03, high=0.03, n=N),
            "_vendi_ratio": Result(value=vendi, low=vendi - 0.04, high=vendi + 0.04, n=N),
        }.items()
    }
    exact = {
        name: Result(value=duplicates),
        f"{name}_standard": Result(value=0),
        f"{name}_difference": Result(value=share, low=low, high=share + 0.05, n=N),
    }
    return record_at(asked(tau), N).model_copy(update={"role": role, "results": {**exact, **near}})


def said(*records: Record) -> list[str]:
    return losses(RunView.of(Path("none"), records))


def test_a_loss_is_named_with_its_place_and_beside_what_chance_gives():
    exact, near = said(counted("1", 12, 0.04), counted("2", 30, 0.1), counted("0", 0, -0.03, "another-seed"))
    assert exact == (
        "duplicates: 30 of 120 pictures at tau 2, 12 of 120 pictures at tau 1 are another prompt's picture, bit for "
        "bit (the baseline has 0; the seed control has 0): the set lost pictures"
    )
    assert near.startswith("duplicates: no picture is nearly another prompt's picture (CLIP diversity)")


@pytest.mark.parametrize(("duplicates", "low", "control"), [(2, -0.01, 0), (12, 0.04, 9)])
def test_what_the_interval_or_the_seed_control_explains_is_no_loss(duplicates, low, control):
    exact = said(counted("1", duplicates, low), counted("0", control, 0.01, "another-seed"))[0]
    assert "too few to tell from chance" in exact
    assert "the set lost" not in exact


def test_less_diversity_than_both_is_said_and_less_than_one_of_them_is_not():
    lost = said(counted("1", 0, -0.03, vendi=0.8), counted("0", 0, -0.03, "another-seed"))
    assert lost[-1] == (
        "diversity (CLIP diversity): tau 1 has 80.0% [76.0, 84.0] of the baseline's; the seed control has 100.0% "
        "[96.0, 104.0]"
    )
    control = counted("0", 0, -0.03, "another-seed", vendi=0.82)
    assert not any(text.startswith("diversity") for text in said(counted("1", 0, -0.03, vendi=0.8), control))


def test_runs_that_counted_nothing_have_no_table(new_record):
    view = RunView.of(Path("none"), [new_record()])
    assert SetLosses().sheet(view) is None
    assert losses(view) == []
