import pytest

from scripts.check_commands import blocks, check, main

PAGE = """# Title

```bash
printf hello > greeting      # a comment

cat greeting \\
    greeting
test -f nowhere
```

<!-- not run: needs a GPU -->
```bash
bench sweep --model flux-dev
```

<!-- file: mine.py -->
```python
answer = 42
```

```python
import mine
```

```
not a command
```

```python
assert mine.answer == 42
```
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_commands_run_in_order_in_one_folder_and_a_failure_is_told(page, capsys) -> None:
    assert main([str(page)]) == 1
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if str(page) in line]
    assert [row[1] for row in rows] == [
        "`printf hello > greeting`",
        "`cat greeting greeting`",
        "`test -f nowhere`",
        "`bench sweep --model flux-dev`",
        "`(python)`",
    ]
    assert [row[2] for row in rows] == ["ran", "ran", "**exit 1**: no output", "not run: needs a GPU", "ran"]


def test_what_takes_too_long_is_stopped(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nsleep 60\n```\n")
    (outcome,) = check(page, run=True, limit=0.2)
    assert outcome.failed
    assert "stopped" in outcome.result


def test_a_block_knows_its_first_line() -> None:
    assert [block.line for block in blocks(PAGE)] == [4, 13, 18, 22, 30]
