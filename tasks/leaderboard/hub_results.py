"""Rows as evaluation results of the Hugging Face hub: ``.eval_results/*.yaml`` of a model's repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import atomic_write
from generators.catalogue import HUB_ID
from tasks.leaderboard.entries import Board, Entry, slug
from tasks.ranking import reaches_the_end, where_it_falls

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

PLACE = ".eval_results"  # in a model's repository
DIGITS = 6


def write_hub_results(boards: Sequence[Board], folder: Path, data_set: str) -> list[Path]:
    """Write a file a row, as it goes into the repository of whoever publishes the method; return their paths.

    Args:
        boards: the boards, in order; drafts are left out.
        folder: gets a folder a method, which holds what goes into its repository.
        data_set: the repository of the benchmark's data on the hub, as ``OWNER/NAME``: results are listed there.

    Raises:
        UserError: `data_set` is no name of a repository.
    """
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    if "@" in data_set or not HUB_ID.fullmatch(data_set):
        raise UserError(f"{data_set!r} names no data set of the hub", "write OWNER/NAME")
    paths = []
    for board in boards:
        for entry in board.entries if board.ranking else ():
            place = folder / slug(entry.name) / PLACE / f"{slug(entry.row.card)}.yaml"
            content = eval_result_entries_to_yaml(entries(entry, data_set))
            atomic_write(place, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
            paths.append(place)
    return paths


def entries(entry: Entry, data_set: str) -> "list[EvalResultEntry]":
    """Return the results of a row: savings at parity, in percent; its task is the card's name, as a slug."""
    from huggingface_hub import EvalResultEntry

    row = entry.row
    low, high = (f"{100 * end:.1f}" if end is not None else "?" for end in (row.parity.low, row.parity.high))
    least = "at least, " if reaches_the_end(row) else ""
    return [
        EvalResultEntry(
            dataset_id=data_set,
            task_id=slug(row.card),
            value=round(100 * where_it_falls(row)[0], DIGITS),
            source_url=row.method.url or None,
            notes=f"{row.method.name}: % of the denoiser's rows saved at parity, {least}95% interval {low} to {high}; "
            f"card {row.card_sha256[:12]}, row {(row.sha256 or '')[:12]}",
        )
    ]
