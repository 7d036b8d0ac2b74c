"""The page for submitters shows the script that it comes with."""

from pathlib import Path

from scripts.check_commands import blocks

DOCS = Path(__file__).parents[2] / "docs"


def test_the_script_on_the_page_is_the_one_beside_it():
    (shown,) = [block for block in blocks((DOCS / "submit.md").read_text()) if block.language == "python"]
    assert shown.file == "fewer_steps.py"
    assert shown.text + "\n" == (DOCS / "examples" / shown.file).read_text()
