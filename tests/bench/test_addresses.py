"""An address where a folder to write to is expected: refused in one line, and nothing is made."""

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [
        ("sweep", "--tau", "1"),
        ("sweep", "--tau", "1", "--dry-run"),
        ("compare", "--strategies", "none"),
        ("paper", "run", "table1"),
        ("paper", "tables", "runs/x"),
        ("report", "runs/x", "runs/y"),
        ("score", "pictures"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_an_address_is_no_place_for_what_is_made(bench, tmp_path, command):
    result = bench(*command, "--out", "s3://bucket/runs")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: s3:// is no folder on a disk")
    assert list(Path(tmp_path).iterdir()) == []
