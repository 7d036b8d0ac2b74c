from pathlib import Path

from miniature.audits.card import fill, replace_rows, sizes
from miniature.audits.figure import Figure


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    card = "before\n<!-- audit -->\nold\nold\n<!-- /audit -->\nbetween\n<!-- sizes -->\nkept\n<!-- /sizes -->\n"
    assert fill(card, "audit", "| new |") == card.replace("old\nold", "| new |")
    assert fill(card, "nothing", "| new |") == card


def test_sizes_name_every_weights_file_once(exported: Path) -> None:
    rows = sizes(exported).splitlines()[2:]
    assert len(rows) == len(list(exported.rglob("*.safetensors")))
    assert any("`flux/text_encoder_2` | T5EncoderModel" in row for row in rows)
    (karlo,) = [row for row in rows if "`karlo/text_proj` | UnCLIPTextProjModel" in row]
    assert "M | 0.3 MiB" in karlo


def test_one_audits_rows_are_replaced_where_they_stood() -> None:
    card = "text\n| audit | measured |\n| (a) old | 1 |\n| (a) older | 2 |\n| (b) kept | 3 |\nmore\n"
    assert replace_rows(card, "(a)", [Figure("(a) new", 0.5)]) == (
        "text\n| audit | measured |\n| (a) new | 0.500 |  |  |\n| (b) kept | 3 |\nmore\n"
    )
