from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.results import print_places

REPORT = SimpleNamespace(page=None, tables=[], figures=[], markdown=None)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("http://me:sec/ret@server:5000", "MLflow   http://***@server:5000"),
        ("postgresql://me:sec@ret@db/mlflow", "MLflow   mlflow ui --backend-store-uri 'postgresql://***@db/mlflow'"),
        ("sqlite:////a/b@c.db", "MLflow   mlflow ui --backend-store-uri sqlite:////a/b@c.db"),
        ("sqlite:////my runs/mlflow.db", "MLflow   mlflow ui --backend-store-uri 'sqlite:////my runs/mlflow.db'"),
    ],
)
def test_the_last_line_shows_no_password_and_can_be_pasted(
    address: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_places(tmp_path, REPORT, address)
    assert capsys.readouterr().out.splitlines()[-1] == line
