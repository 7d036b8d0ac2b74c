import sys
from pathlib import Path

import pytest

from miniature import audit
from miniature.audits.figure import Figure


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["audit", *map(str, arguments)])
    audit.main()


def test_a_family_that_is_not_trained_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--checkpoints", tmp_path, "--family", "flux", "karlo")
    assert f"{tmp_path} lacks parts of flux, karlo: train and export them" in capsys.readouterr().err


def test_single_families_are_printed_and_the_card_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "generator", lambda painter, judge: [Figure(f"(b) {painter.model}", 0.5)])
    monkeypatch.setattr(audit, "super_resolution", lambda painter, work: [Figure("(b) enlarged", 1.5)])
    card = tmp_path / "card.md"
    card.write_text("<!-- audit -->\nold\n<!-- /audit -->\n")
    run(monkeypatch, "--checkpoints", exported, "--card", card, "--family", "karlo", "flux")
    shown = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in shown.splitlines()] == [
        "| (b) mini-karlo",
        "| (b) enlarged",
        "| (b) mini-flux",
    ]
    assert "old" in card.read_text()
