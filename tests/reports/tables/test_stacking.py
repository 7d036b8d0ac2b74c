from collections.abc import Callable

import pytest

from reports.base import RunView
from reports.tables.stacking import Stacking
from sweeps.record import Record

CACHE = "first-block:threshold=0.1"


@pytest.fixture
def cell(new_record: Callable[..., Record]) -> Callable[..., Record]:
    """A record at a tau, whose cache left so much of the denoiser's FLOPs."""

    def made(tau: str, left: float = 1.0, **axes: object) -> Record:
        record = new_record(tau, **axes)
        components = {**record.flops.components, "denoiser": record.flops.components["denoiser"] * left}
        savings = 1 - sum(components.values()) / record.flops.baseline_total
        flops = {"components": components, "total": sum(components.values()), "savings": savings}
        return record.model_copy(update={"flops": record.flops.model_copy(update=flops)})

    return made


def rows(records: list[Record]) -> list[dict[str, str]]:
    sheet = Stacking().sheet(RunView.of("run", records))
    return [dict(zip(sheet.headings, map(str, row), strict=True)) for row in sheet.rows]


def test_neither_each_alone_and_both_at_the_same_tau(cell) -> None:
    records = [
        cell("0"),
        cell("0.5"),
        cell("1"),
        cell("0", 0.6, denoiser_cache=CACHE),
        cell("1", 0.7, denoiser_cache=CACHE),
    ]
    found = rows(records)
    assert [(row["denoiser cache"], row["tau"], row["reuse"]) for row in found] == [
        (CACHE, "0", "neither"),
        (CACHE, "0", "cache"),
        (CACHE, "1", "sharing"),
        (CACHE, "1", "both"),
    ]
    saved = [row["FLOPs saved, %"] for row in found]
    assert saved == [f"{100 * records[i].flops.savings:.1f}" for i in (0, 3, 2, 4)]
    flops = records[4].flops
    independent = flops.components | {"denoiser": records[2].flops.components["denoiser"] * 0.6}
    assert found[3]["if independent, %"] == f"{100 * (1 - sum(independent.values()) / flops.baseline_total):.1f}"
    assert [row["if independent, %"] for row in found[:3]] == ["-", "-", "-"]
    assert any("win rate" in heading for heading in found[0])


def test_every_cache_and_every_way_to_share_stand_by_themselves(cell) -> None:
    records = [
        cell(tau, 1.0 if cache == "none" else 0.5, denoiser_cache=cache, strategy=strategy)
        for strategy in ("average", "ward-cosine")
        for cache in ("none", CACHE, "taylorseer")
        for tau in ("0", "1")
    ]
    found = rows(records)
    assert [(row["strategy"], row["denoiser cache"]) for row in found[::4]] == [
        (strategy, cache) for strategy in ("average", "ward-cosine") for cache in (CACHE, "taylorseer")
    ]
    assert [row["reuse"] for row in found] == ["neither", "cache", "sharing", "both"] * 4


def test_nothing_where_there_is_nothing_to_stack(cell) -> None:
    view = RunView.of
    assert Stacking().sheet(view("run", [cell("0"), cell("1")])) is None
    assert Stacking().sheet(view("run", [cell("0", 0.5, denoiser_cache=CACHE)])) is None
    assert Stacking().sheet(view("run", [cell("0"), cell("1"), cell("1", denoiser_cache=CACHE)])) is None
