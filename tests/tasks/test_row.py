"""Rows: their published schema is the one that they have."""

import json
from pathlib import Path

import pytest

from common.errors import UserError
from tasks.row import Row, schema

COPY = Path(__file__).parents[2] / "docs" / "row.schema.json"


def test_the_published_schema_is_current():
    """`bench submit schema > docs/row.schema.json` writes it anew."""
    assert json.loads(COPY.read_text()) == schema()


def test_what_is_no_row_is_said(tmp_path):
    (tmp_path / "row.json").write_text("[]")
    with pytest.raises(UserError, match="is no row of a leaderboard"):
        Row.read(tmp_path / "row.json")
    with pytest.raises(UserError, match="is no row of a leaderboard"):
        Row.read(tmp_path / "none.json")
