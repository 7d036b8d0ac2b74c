from reports.base import RunView
from reports.tables.cost import Cost


def rows(run: RunView) -> list[dict[str, str]]:
    sheet = Cost().sheet(run)
    return [dict(zip(sheet.headings, map(str, row), strict=True)) for row in sheet.rows]


def test_savings_in_steps_flops_and_seconds_with_their_ratio(new_record) -> None:
    record = new_record("0.5")
    saved = record.plan.savings
    wall = 1 - (1 + 0.5 + 20 * (1 - saved) + 0.123456789 + 3.5) / 24.5
    standard, shared = rows(RunView.of("run", [new_record("0"), record]))
    assert shared == {
        "tau": "0.5",
        "steps saved, %": f"{100 * saved:.1f}",
        "FLOPs saved, %": f"{100 * record.flops.savings:.1f}",
        "wall time saved, %": f"{100 * wall:.1f}",
        "wall/steps saved": f"{wall / saved:.4f}",
        "clustering and planning, s": "0.5000",
    }
    assert standard["wall/steps saved"] == "-"


def test_energy_where_it_was_measured(new_record) -> None:
    measured = new_record("1").model_copy(update={"joules": 300.0, "baseline_joules": 400.0})
    (row,) = rows(RunView.of("run", [measured]))
    assert float(row["J an image"]) == 300 / measured.plan.n_prompts
    assert row["energy saved, %"] == "25.0"
    (row,) = rows(RunView.of("run", [new_record("1")]))
    assert "J an image" not in row


def test_fewer_steps_are_there_and_another_seed_is_not(new_record) -> None:
    others = [
        new_record("1", strategy=role).model_copy(update={"role": role, "id": role})
        for role in ("fewer-steps", "another-seed")
    ]
    found = rows(RunView.of("run", [new_record("1"), *others]))
    assert [row["strategy"] for row in found] == ["ward-cosine", "equal-compute baseline"]


def test_nothing_without_timings(new_record) -> None:
    assert Cost().sheet(RunView.of("run", [new_record("1").model_copy(update={"baseline_timings": {}})])) is None
