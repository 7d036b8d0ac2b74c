import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.memory import is_out_of_memory
from generators.batching import Batches, ladder


def run(batches: Batches, count: int, limit: int) -> list[list[int]]:
    def work(rows: slice) -> list[int]:
        taken = list(range(count))[rows]
        if len(taken) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return taken

    return list(batches.map(count, work))


def test_rows_in_order():
    batches = Batches(4)
    assert run(batches, 10, limit=99) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (batches.size, batches.notes) == (4, [])


def test_halves_and_goes_on_with_the_same_rows():
    batches = Batches(8)
    assert run(batches, 7, limit=2) == [[0], [1], [2], [3], [4], [5], [6]]  # 7 -> 3 -> 1
    assert batches.size == 1
    assert batches.notes == [
        "memory ran out at batch size 7: went on with 3",
        "memory ran out at batch size 3: went on with 1",
    ]


def test_one_row_that_does_not_fit_is_the_users_to_mend():
    with pytest.raises(UserError, match="single row"):
        run(Batches(4), 3, limit=0)


def test_other_errors_pass():
    def broken(rows: slice) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(Batches(2).map(3, broken))


def test_empty_batch_size_is_refused():
    with pytest.raises(UserError):
        Batches(0)


def test_a_real_failed_allocation_is_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(error.value)


@given(size=st.integers(1, 300), counts=st.lists(st.integers(0, 700), min_size=1, max_size=8))
def test_for_a_compiler_rows_come_in_few_sizes_each_row_once(size: int, counts: list[int]):
    batches, shapes = Batches(size, few_sizes=True), set[int]()
    for count in counts:
        cut = run(batches, count, limit=size)
        assert [row for batch in cut for row in batch] == list(range(count))
        shapes |= {len(batch) for batch in cut}
        fitting = [max(each for each in ladder(size) if each <= count - batch[0]) for batch in cut]
        assert [len(batch) for batch in cut] == fitting, "as few calls as such sizes allow"
    assert len(shapes) <= math.log2(size) + 1
    assert shapes <= set(ladder(size))


@given(size=st.integers(2, 300), limit=st.integers(1, 300), count=st.integers(1, 700))
def test_memory_that_runs_out_adds_no_sizes(size: int, limit: int, count: int):
    batches = Batches(size, few_sizes=True)
    cut = run(batches, count, limit=limit)
    assert [row for batch in cut for row in batch] == list(range(count))
    assert {len(batch) for batch in cut} <= set(ladder(size))


def test_batches_without_a_row_that_is_wanted_are_passed_over_and_the_others_are_what_they_were():
    wanted = np.array([False, False, True, False, False, False, True])
    batches = Batches(2, wanted=wanted)
    found = [(rows, batches.rows) for rows in batches.map(7, lambda rows: rows)]
    assert found == [(slice(2, 4), slice(2, 4)), (slice(6, 7), slice(6, 7))]
