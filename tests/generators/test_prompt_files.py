import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from generators.prompt_files import read_rows

# Anything one may type on a line: no control characters, line separators or surrogates.
LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(str.strip), min_size=1
)


def texts(path: Path) -> list[str]:
    return [text for _, text in read_rows(path)]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@settings(max_examples=25)
@given(prompts=LINES.filter(lambda prompts: not prompts[0].startswith("\ufeff")))
def test_every_format_gives_back_what_was_written(prompts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    import csv
    import io

    folder, rows = tmp_path_factory.mktemp("prompts"), io.StringIO()
    writer = csv.DictWriter(rows, ["id", "prompt"])
    writer.writeheader()
    writer.writerows({"id": at, "prompt": prompt} for at, prompt in enumerate(prompts))
    np.save(folder / "a.npy", np.array(prompts))
    files = [
        written(folder / "a.txt", "\n".join(prompts) + "\n"),
        written(folder / "b.TXT", "\r\n".join(prompts)),
        written(folder / "a.csv", rows.getvalue()),
        written(folder / "a.jsonl", "".join(json.dumps({"prompt": p, "id": 1}) + "\n" for p in prompts)),
        folder / "a.npy",
    ]
    for path in files:
        assert texts(path) == prompts


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.txt", b"\xef\xbb\xbfa cat")) == ["a cat"]
    assert texts(written(tmp_path / "a.csv", b"\xef\xbb\xbfprompt\na cat")) == ["a cat"]


@pytest.mark.parametrize("name", ["Prompt", " PROMPT ", "prompt_", "pro-mpt"])
def test_the_column_is_found_as_people_write_it(tmp_path: Path, name: str) -> None:
    assert texts(written(tmp_path / "a.csv", f"id,{name}\n1,a cat\n")) == ["a cat"]
    assert texts(written(tmp_path / "a.jsonl", json.dumps({name: "a cat", "id": 1}))) == ["a cat"]


def test_a_column_that_is_written_as_it_is_wanted_goes_first(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.csv", "Prompt,prompt\na dog,a cat\n")) == ["a cat"]


def test_lines_are_numbered(tmp_path: Path) -> None:
    assert list(read_rows(written(tmp_path / "a.txt", "a\nb\n"))) == [("line 1", "a"), ("line 2", "b")]
    assert list(read_rows(written(tmp_path / "a.csv", 'prompt\n"a\nb"\nc\n'))) == [("line 3", "a\nb"), ("line 4", "c")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a\nb\n\xff\xfe", r"a\.txt, line 3 is not UTF-8"),
        ("a.csv", b"prompt\n\xe9t\xe9", r"a\.csv, line 2 is not UTF-8"),
        ("a.csv", b"id,text\n1,a", r"a\.csv has no column 'prompt' \(known: id, text\)"),
        ("a.csv", b"id,promt\n1,a", "did you mean 'promt'"),
        ("a.csv", b"Prompt,PROMPT\na,b", r"a\.csv has several columns for one thing: 'Prompt', 'PROMPT'"),
        ("a.csv", b"prompt\na cat, a dog", r"line 2 has more columns than the header \(put \"quotes\""),
        ("a.csv", b'prompt\n"a cat', r"a\.csv, line 2 is not CSV"),
        ("a.csv", b"prompt\n" + b"x" * 200_000, r"line 2 is not CSV: field larger"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": ', r"a\.jsonl, line 2 is not JSON"),
        ("a.jsonl", b'{"prompt": "a"}\n\n{"prompt": "b"}', r"a\.jsonl, line 2 is not JSON"),
        ("a.jsonl", b'{"prompt": "a"}\n"b"', r"a\.jsonl, line 2 has no text under 'prompt'"),
        ("a.jsonl", b'{"text": "a"}', r"a\.jsonl, line 1 has no text under 'prompt'"),
        ("a.jsonl", b'{"prompt": 7}', r"a\.jsonl, line 1 has no text under 'prompt'"),
        ("a.jsonl", b"[" * 200_000, r"a\.jsonl, line 1 is not JSON"),
        ("a.npy", b"", "no plain .npy array"),
        ("a.npy", b"a cat\n", "no plain .npy array"),
        ("a.npy", pickle.dumps(["a cat"]), "no plain .npy array"),
        ("a.json", b"[]", r"no prompt file \(prompts are read from \.txt, \.csv, \.jsonl, \.npy\)"),
        ("a", b"", "no prompt file"),
    ],
)
def test_what_is_no_prompt_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        texts(written(tmp_path / name, content))


def test_a_row_without_a_prompt_reads_as_an_empty_one(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.csv", "id,prompt\n1,a\n2\n3,\n")) == ["a", "", ""]


@pytest.mark.parametrize("name", ["gone.txt", "gone.csv", "gone.jsonl", "gone.npy", "folder.txt", "folder.npy"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(UserError, match=f"cannot read .*{name}: (No such file|Is a directory)"):
        texts(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a cat", 7], dtype=object), "no plain .npy array: Object arrays cannot be loaded"),
        (np.array([b"a cat"]), r"holds 1-D \|S5, not 1-D unicode text"),
        (np.array([1.0]), "holds 1-D float64"),
        (np.array([["a cat"]]), "holds 2-D <U5"),
        (np.array("a cat"), "holds 0-D <U5"),
    ],
)
def test_arrays_of_something_else_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=message) as error:
        texts(tmp_path / "a.npy")
    assert "dtype=str" in str(error.value.hint)


def test_a_cut_off_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["a cat", "a dog"]))
    whole = (tmp_path / "a.npy").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "a.npy").write_bytes(whole[:length])
        with pytest.raises(UserError, match="no plain"):
            texts(tmp_path / "a.npy")
    huge = whole.replace(b"'shape': (2,), }" + b" " * 15, b"'shape': (900000000000000,), }" + b" ")
    assert len(huge) == len(whole)
    (tmp_path / "a.npy").write_bytes(huge)
    with pytest.raises(UserError, match="no plain"):
        texts(tmp_path / "a.npy")
