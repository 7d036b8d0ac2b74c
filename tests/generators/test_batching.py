import pytest
import torch

from common.errors import UserError
from generators.batching import Batches, is_out_of_memory


def run(batches: Batches, count: int, limit: int) -> list[list[int]]:
    def work(rows: slice) -> list[int]:
        taken = list(range(count))[rows]
        if len(taken) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return taken

    return list(batches.each(count, work))


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
        list(Batches(2).each(3, broken))


def test_empty_batch_size_is_refused():
    with pytest.raises(UserError):
        Batches(0)


def test_a_real_failed_allocation_is_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(error.value)
