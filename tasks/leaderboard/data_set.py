"""The scores of all rows as one data set: a Parquet file, described in Croissant so that tools can read it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import atomic_write, sha256_file
from tasks.leaderboard.entries import Board, Entry

if TYPE_CHECKING:
    import pyarrow as pa

TABLE, CROISSANT = "scores.parquet", "croissant.json"
HOME = "https://github.com/reusebench/reusebench"
LICENCE = "MIT"
CITE = (
    "@software{reusebench, title={ReuseBench: a benchmark of computation reuse across prompts in text-to-image "
    "diffusion}, author={The ReuseBench authors}, url={https://github.com/reusebench/reusebench}}"
)
THEIRS = "baseline."
WITHOUT = "no croissant.json, which describes the scores to other tools: pip install 'reusebench[croissant]'"
# The columns, with what is in them; prompts are told by their place, for their texts may be others'.
COLUMNS = {
    "card": ("string", "The task card: model, prompts, seeds and scorers."),
    "card_sha256": ("string", "The hash of the card, by which its version is known."),
    "method": ("string", "The name of the method, as on the leaderboard."),
    "kind": ("string", "sharing, peer, baseline, control or submission."),
    "row_sha256": ("string", "The hash of the method's row."),
    "point": ("string", "The setting of the method."),
    "savings": ("double", "The share of the baseline's denoiser rows that the setting saves over all pictures."),
    "seed": ("int64", "The seed of the picture."),
    "prompt": ("int64", "The place of the prompt in the card's prompt set, from 0."),
    "nfe": ("double", "Rows of the denoiser that the picture took, by what the method says."),
    "picture_sha256": ("string", "The hash of the method's picture."),
    "baseline_sha256": ("string", "The hash of the baseline's picture of the same prompt and seed."),
    "score_name": ("string", "What was measured, as <scorer>.<column>."),
    "score": ("double", "Of the method's picture."),
    "baseline_score": ("double", "Of the baseline's picture."),
}


def write_data_set(boards: Sequence[Board], folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Write the scores of all rows that have theirs, and their description.

    Returns:
        The files, each with what it is; and what is left out, in sentences.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [part for board in boards for i in sorted(board.judged) for part in _tables(board.entries[i])]
    if not tables:
        return [], ["no row has its scores beside it, so there is no data set of them"]
    pq.write_table(pa.concat_tables(tables), folder / TABLE)
    written = [(TABLE, "all scores, a row a picture and score (Parquet)")]
    if find_spec("mlcroissant") is None:
        return written, [WITHOUT]
    atomic_write(folder / CROISSANT, description(sha256_file(folder / TABLE)))
    return [*written, (CROISSANT, "their description (Croissant)")], []


def description(table_sha256: str) -> str:
    """Return the Croissant description of `TABLE`, which lies beside it, as JSON."""
    import json
    import logging

    logging.getLogger("absl").setLevel(logging.ERROR)  # it recommends what cannot be known here, such as a DOI
    import mlcroissant as mlc

    types = {"string": mlc.DataType.TEXT, "double": mlc.DataType.FLOAT, "int64": mlc.DataType.INTEGER}
    fields = [
        mlc.Field(
            id=f"scores/{name}",
            name=name,
            description=about,
            data_types=[types[kind]],
            source=mlc.Source(file_object="table", extract=mlc.Extract(column=name)),
        )
        for name, (kind, about) in COLUMNS.items()
    ]
    metadata = mlc.Metadata(
        name="reusebench-leaderboard",
        description="Scores of pictures that methods of computation reuse made, beside those of the baseline's "
        "pictures of the same prompts and seeds: what the rows of the ReuseBench leaderboard are computed from.",
        url=HOME,
        license=[LICENCE],
        cite_as=CITE,
        creators=[mlc.Organization(name="The ReuseBench authors", url=HOME)],
        date_published=datetime.now(UTC).replace(tzinfo=None, microsecond=0),
        version=_version(),
        distribution=[
            mlc.FileObject(
                id="table",
                name=TABLE,
                content_url=TABLE,
                encoding_formats=["application/x-parquet"],
                sha256=table_sha256,
            )
        ],
        record_sets=[
            mlc.RecordSet(id="scores", name="scores", description="One record a picture and score.", fields=fields)
        ],
    )
    return json.dumps(metadata.to_json(), indent=1, ensure_ascii=False, default=str) + "\n"


def _version() -> str:
    """Return the version of this package as three numbers, as Croissant wants it."""
    from importlib.metadata import version

    return ".".join([*version("reusebench").split(".")[:3], "0", "0"][:3])


def _tables(entry: Entry) -> "Iterator[pa.Table]":
    """Yield a table for every score of a row's pictures, with `COLUMNS`; lists, as embeddings are, are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    assert entry.scores is not None
    schema = pq.read_schema(entry.scores)
    names = [
        field.name
        for field in schema
        if pa.types.is_floating(field.type) and f"{THEIRS}{field.name}" in schema.names and field.name != "nfe"
    ]
    own = ["point", "seed", "prompt", "nfe", "sha256", f"{THEIRS}sha256"]
    table = pq.read_table(entry.scores, columns=[*own, *names, *(f"{THEIRS}{name}" for name in names)])
    savings = {point.name: point.savings for point in entry.row.points}
    table = table.filter(pc.is_in(table["point"], pa.array(list(savings))))
    row = entry.row
    fixed = {
        "card": row.card,
        "card_sha256": row.card_sha256,
        "method": row.method.name,
        "kind": row.method.kind,
        "row_sha256": row.sha256,
    }
    kinds: dict[str, Any] = {"string": pa.string(), "double": pa.float64(), "int64": pa.int64()}
    for name in names:
        values = {
            **{column: pa.array([text] * table.num_rows) for column, text in fixed.items()},
            **{column: table[column] for column in ("point", "seed", "prompt", "nfe")},
            "savings": pa.array([savings[point] for point in table["point"].to_pylist()]),
            "picture_sha256": table["sha256"],
            "baseline_sha256": table[f"{THEIRS}sha256"],
            "score_name": pa.array([name] * table.num_rows),
            "score": table[name],
            "baseline_score": table[f"{THEIRS}{name}"],
        }
        yield pa.table({column: values[column] for column in COLUMNS}).cast(
            pa.schema([(column, kinds[kind]) for column, (kind, _) in COLUMNS.items()])
        )
