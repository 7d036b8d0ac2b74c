"""The scores of all rows as one data set, which mlcroissant itself reads."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leaderboard_rows import a_row

from common.files import sha256_file
from tasks.card import card
from tasks.leaderboard import data_set
from tasks.leaderboard.data_set import COLUMNS, CROISSANT, TABLE, WITHOUT, write_data_set
from tasks.leaderboard.entries import Board, Entry
from tasks.row import ROW, SCORES


@pytest.fixture
def board(tmp_path):
    """One row of two points with its scores, which hold embeddings and the control too."""
    row = a_row("a method", losses=[0.0, 0.1], levels=[0.1, 0.3], folder=tmp_path / "rows")
    points = [*(point.name for point in row.points), "another seed"]
    n, draw = 2 * len(points), np.random.default_rng(3)
    table = pa.table(
        {
            "point": [name for name in points for _ in range(2)],
            "prompt": pa.array([0, 1] * len(points), pa.int32()),
            "text": ["a red car", "a blue car"] * len(points),
            "seed": pa.array([42] * n, pa.int64()),
            "nfe": pa.array([20.0] * n),
            "sha256": [f"{i:064d}" for i in range(n)],
            "baseline.sha256": ["b" * 64] * n,
            "vqa.vqa": draw.random(n),
            "baseline.vqa.vqa": draw.random(n),
            "clip_diversity.clip": [draw.random(4).tolist() for _ in range(n)],
            "baseline.clip_diversity.clip": [draw.random(4).tolist() for _ in range(n)],
        }
    )
    pq.write_table(table, tmp_path / "rows" / SCORES)
    row = row.model_copy(update={"scores_sha256": sha256_file(tmp_path / "rows" / SCORES)})
    row.write(tmp_path / "rows" / ROW)
    entry = Entry(tmp_path / "rows" / ROW, row.sealed())
    return Board(card("mini-sd-styles"), (entry,), None, {0: []}), table


def test_every_score_of_a_picture_is_a_record_and_embeddings_are_none(board, tmp_path) -> None:
    (tmp_path / "site").mkdir()
    write_data_set([board[0]], tmp_path / "site")
    written = pq.read_table(tmp_path / "site" / TABLE)
    assert written.column_names == list(COLUMNS)
    assert set(written["score_name"].to_pylist()) == {"vqa.vqa"}
    assert written["point"].to_pylist() == ["saves 0.1", "saves 0.1", "saves 0.3", "saves 0.3"]
    assert written["score"].to_pylist() == board[1]["vqa.vqa"].to_pylist()[:4]
    assert written["baseline_score"].to_pylist() == board[1]["baseline.vqa.vqa"].to_pylist()[:4]
    assert written["savings"].to_pylist() == [0.1, 0.1, 0.3, 0.3]


def test_mlcroissant_finds_nothing_wrong_and_reads_the_records(board, tmp_path) -> None:
    mlc = pytest.importorskip("mlcroissant", reason="pip install 'reusebench[croissant]'")
    (tmp_path / "site").mkdir()
    files, notes = write_data_set([board[0]], tmp_path / "site")
    assert ([name for name, _ in files], notes) == ([TABLE, CROISSANT], [])
    described = mlc.Dataset(jsonld=tmp_path / "site" / CROISSANT)
    assert not described.metadata.ctx.issues.errors
    records = list(described.records("scores"))
    assert len(records) == 4
    first = {name.partition("/")[2]: value for name, value in records[0].items()}
    assert first.keys() == COLUMNS.keys()
    assert first["method"] == b"a method"
    assert first["score"] == pytest.approx(board[1]["vqa.vqa"][0].as_py())
    assert described.metadata.license == ["MIT"]
    told = json.loads((tmp_path / "site" / CROISSANT).read_text())
    assert told["distribution"][0]["sha256"] == sha256_file(tmp_path / "site" / TABLE)


def test_without_the_extra_the_table_is_there_and_one_line_says_what_is_not(board, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(data_set, "find_spec", lambda name: None)
    (tmp_path / "site").mkdir()
    files, notes = write_data_set([board[0]], tmp_path / "site")
    assert [name for name, _ in files] == [TABLE]
    assert notes == [WITHOUT]
    assert not (tmp_path / "site" / CROISSANT).exists()
