import csv
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from generators.prompt_files import mended, read_prompt_file

# Anything one may type on a line: no control characters, line separators or surrogates.
LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(
        lambda text: text.strip() and mended([text]) == ([text], 0)
    ),
    min_size=1,
)


def texts(path: Path) -> list[str]:
    return list(read_prompt_file(path).prompts)


def table(prompts: list[str], delimiter: str) -> str:
    rows = io.StringIO()
    writer = csv.writer(rows, delimiter=delimiter)
    writer.writerow(["id", "prompt"])
    writer.writerows(enumerate(prompts))
    return rows.getvalue()


def notes(path: Path) -> str:
    return " / ".join(read_prompt_file(path).notes)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@settings(max_examples=25)
@given(prompts=LINES)
def test_every_format_gives_back_what_was_written(prompts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("prompts")
    np.save(folder / "a.npy", np.array(prompts))
    pq.write_table(pa.table({"id": list(range(len(prompts))), "prompt": prompts}), folder / "a.parquet")
    files = [
        written(folder / "a.txt", "\n".join(prompts) + "\n"),
        written(folder / "b.TXT", "\r\n".join(prompts)),
        *(written(folder / f"{at}.csv", table(prompts, delimiter)) for at, delimiter in enumerate(",;\t|")),
        written(folder / "a.tsv", table(prompts, "\t")),
        written(folder / "utf16.csv", table(prompts, ";").encode("utf-16")),
        written(folder / "a.jsonl", "".join(json.dumps({"prompt": p, "id": 1}) + "\n" for p in prompts)),
        written(folder / "a.json", json.dumps(prompts)),
        written(folder / "b.json", json.dumps([{"id": at, "Prompt": prompt} for at, prompt in enumerate(prompts)])),
        written(folder / "c.json", json.dumps({"prompts": prompts})),
        folder / "a.npy",
        folder / "a.parquet",
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
    assert read_prompt_file(written(tmp_path / "a.txt", "a\nb\n")).where == ("line 1", "line 2")
    found = read_prompt_file(written(tmp_path / "a.csv", 'prompt\n"a\nb"\nc\n'))
    assert (found.where, found.prompts) == (("line 3", "line 4"), ("a\nb", "c"))
    assert read_prompt_file(written(tmp_path / "b.csv", "sep=;\nprompt;id\na, b;1\n")).where == ("line 3",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a\nb\n\xff\xfe", r"a\.txt, line 3 is not UTF-8"),
        ("a.csv", b"prompt\n\xe9t\xe9", r"a\.csv, line 2 is not UTF-8"),
        ("a.csv", b"id,name\n1,a", r"a\.csv has no column 'prompt'; its columns: 'id', 'name' \(say which: --column"),
        ("a.csv", b"id,promt\n1,a", r"its columns: 'id', 'promt' \(--column 'promt'\?\)"),
        ("a.csv", b"a red fox\na red wolf", "no column 'prompt'; its columns: 'a red fox'"),
        ("a.csv", b"Prompt,PROMPT\na,b", r"a\.csv has several columns that may be the prompts: 'Prompt', 'PROMPT'"),
        ("a.csv", b"id,caption,Text\n1,a,b", r"several columns that may be the prompts: 'caption', 'Text' \(say which"),
        ("a.csv", b"prompt,id,id\na,1,2", "several columns called 'id'"),
        ("a.csv", b"\nprompt\na", r"a\.csv, line 1 is empty \(the first line names the columns"),
        ("a.csv", b"prompt;id\na;1;2", r"line 2 has more columns than the header \(put \"quotes\" around semicolons"),
        ("a.csv", b"prompt,seed\na,1\nb,-1", r"a\.csv, line 3: the seed '-1' is no whole number from 0 to 2\^63 - 1"),
        ("a.csv", b"prompt,seed\na,9223372036854775808", "line 2: the seed '9223372036854775808' is no whole"),
        ("a.tsv", b"prompt\tid\na\t1\t2", r"a\.tsv, line 2 has more columns than the header \(keep tabs"),
        ("a.txt", b"\xff\xfea\x00b", r"a\.txt is not UTF-16"),
        ("a.csv", b"prompt\na cat, a dog", r"line 2 has more columns than the header \(put \"quotes\""),
        ("a.csv", b'prompt\n"a cat', r"a\.csv, line 2 is not CSV"),
        ("a.csv", b"prompt\n" + b"x" * 200_000, r"line 2 is not CSV: field larger"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": ', r"a\.jsonl, line 2 is not JSON"),
        ("a.jsonl", b'{"prompt": "a"}\n\n{"prompt": "b"}', r"a\.jsonl, line 2 is empty"),
        ("a.jsonl", b'{"prompt": "a"}\n"b"', r"a\.jsonl, line 2 has no text under 'prompt'"),
        ("a.jsonl", b'{"prompt": "a"}\n{"text": "b"}\n{"prompt": null, "seed": 1.5}', "line 3: the seed '1.5' is no"),
        ("a.jsonl", b'{"prompt": 7}', r"a\.jsonl, line 1 has no text under 'prompt'"),
        ("a.jsonl", b"[" * 200_000, r"a\.jsonl, line 1 is not JSON"),
        ("a.npy", b"", "no plain .npy array"),
        ("a.npy", b"a cat\n", "no plain .npy array"),
        ("a.npy", pickle.dumps(["a cat"]), "no plain .npy array"),
        ("a.json", b"[", r"a\.json is not JSON"),
        ("a.json", b"7", r'a\.json holds no list of prompts \(write \["a cat", "a dog"\]'),
        ("a.json", b"{}", "holds no list of prompts"),
        ("a.json", b'{"00001": "a cat"}', "holds no list of prompts"),
        ("a.json", b'["a cat", 7]', r"a\.json, entry 2 is no text"),
        ("a.json", b'[{"prompt": 7}]', r"a\.json, entry 1 has no text under 'prompt'"),
        ("a.json", b'{"prompt": ["a"], "id": [1, 2]}', "lists of several lengths: 'prompt' has 1, 'id' has 2"),
        ("a.parquet", b"PAR1 is not all", r"cannot read .*a\.parquet"),
        (
            "a.xlsx",
            b"",
            r"no prompt file \(prompts are read from \.txt, \.csv, \.tsv, \.jsonl, \.json, \.parquet, \.npy",
        ),
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


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet", ".npy"])
def test_a_pipe_a_device_and_a_huge_file_are_told_at_once(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    with (tmp_path / f"huge{suffix}").open("wb") as file:
        file.truncate(1 << 40)
    for name, message in (("pipe", "it is a pipe"), ("device", "it is a device"), ("huge", "bytes, and .* the most")):
        with pytest.raises(UserError, match=message):
            texts(tmp_path / f"{name}{suffix}")


def test_json_that_is_nested_beyond_reading_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep.jsonl").write_text('{"prompt": "a fox"}\n' + "[" * 100_000 + "\n")
    with pytest.raises(UserError, match=r"line 2 is not JSON: it is nested too deep"):
        texts(tmp_path / "deep.jsonl")


# Tables as people write them


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        ("id;prompt\n1;a cat, a dog\n2;one, two, three\n", ["a cat, a dog", "one, two, three"]),
        ('id,prompt\n1,"a cat; a dog"\n2,a; b; c\n', ["a cat; a dog", "a; b; c"]),
        ("id|prompt\n1|a, b; c\n", ["a, b; c"]),
        ("prompt\tid\na, b; c | d\t1\n", ["a, b; c | d"]),
        ("prompt, in English;id\na cat, a dog;1\nb;2\n", ["a cat, a dog", "b"]),
        ("id,prompt\n1,a cat\n\n", ["a cat"]),
        ("id,prompt\n1,a cat\n,\n,,\n  ,\n", ["a cat"]),
        ('id,prompt\n1,"say ""hi"", please"\n', ['say "hi", please']),
        ("id,prompt\r\n1,a cat\r\n", ["a cat"]),
        ("sep=|\nid|prompt\n1|a cat, b\n", ["a cat, b"]),
    ],
)
def test_the_delimiter_is_the_headers(tmp_path: Path, content: str, prompts: list[str]) -> None:
    column = "prompt, in English" if "English" in content else None
    assert list(read_prompt_file(written(tmp_path / "a.csv", content), column).prompts) == prompts


def test_blank_lines_at_the_end_count_for_nothing_and_those_between_stay(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.txt", "a\nb\n\n  \n\n")) == ["a", "b"]
    assert texts(written(tmp_path / "a.txt", "a\n\nb\n\n")) == ["a", "", "b"]
    assert texts(written(tmp_path / "a.csv", "prompt,id\na,1\n\nb,2\n\n\n")) == ["a", "", "b"]
    assert texts(written(tmp_path / "a.jsonl", '{"prompt": "a"}\n\n \n')) == ["a"]
    assert texts(written(tmp_path / "a.json", '["a", ""]')) == ["a", ""], "an entry is no line"


def test_what_shows_nothing_is_left_out_and_counted(tmp_path: Path) -> None:
    family, persian = "\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    content = f"\ufeffa\u200b cat\na \ufeffd\u00adog\nth\u200de {family}\u2060\n{persian}\n\u200c a\u200c b\n"
    path = written(tmp_path / "a.txt", content)
    assert texts(path) == ["a cat", "a dog", f"the {family}", persian, " a b"]
    assert "a.txt: its byte order mark (UTF-8) is no text, and left out / " in notes(path)
    assert "a.txt: invisible characters (zero width, soft hyphens) left out: 7" in notes(path)
    header = written(tmp_path / "a.csv", "\u200bprompt,\ufeffid\na cat,x\u200b\n")
    assert read_prompt_file(header).columns == {"prompt": ("a cat",), "id": ("x\u200b",)}, "other cells stay"
    assert notes(written(tmp_path / "b.txt", "a cat\n")) == ""


def test_a_column_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "SKU,Alt Text,prompt\nA1,a fox,no\n")
    assert read_prompt_file(path).prompts == ("no",)
    for asked in ("Alt Text", "alt_text", "ALTTEXT"):
        found = read_prompt_file(path, asked)
        assert (found.prompts, found.column) == (("a fox",), "Alt Text")
    assert found.columns == {"SKU": ("A1",), "Alt Text": ("a fox",), "prompt": ("no",)}
    with pytest.raises(UserError, match=r"a\.csv has no column 'alt txt' \(did you mean 'Alt Text'\?\)"):
        read_prompt_file(path, "alt txt")
    with pytest.raises(UserError, match=r"a\.txt has no columns, so none called 'text' \(leave --column out\)"):
        read_prompt_file(written(tmp_path / "a.txt", "a fox\n"), "text")


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("caption,prompt", "prompt"),
        ("text,Prompts", "Prompts"),
        ("prompts,prompt", "prompt"),
        ("text,Positive Prompt", "Positive Prompt"),
        ("id,Text", "Text"),
        ("id,CAPTION", "CAPTION"),
    ],
)
def test_whoever_writes_prompt_means_it(tmp_path: Path, header: str, meant: str) -> None:
    path = written(tmp_path / "a.csv", f"{header}\nx,y\n")
    assert read_prompt_file(path).column == meant
    assert f"prompts are its column {meant!r}" in notes(path)


def test_seeds_and_negative_prompts_are_columns_too(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "prompt,Seed,Negative Prompt,sku\na,7,blurry\u200b,x\nb,,,y\nc,8.0, ,z\n")
    found = read_prompt_file(path)
    assert (found.seeds, found.negative_prompts) == ((7, None, 8), ("blurry", None, None))
    told = "prompts are its column 'prompt', seeds are its column 'Seed', negative prompts are its column"
    assert f"{told} 'Negative Prompt'; no picture is generated from 'sku'" in notes(path)
    assert "soft hyphens) left out: 1 " in notes(path)
    frame = pa.table({"prompt": ["a", "b"], "seed": [7.0, None], "size": [{"h": 1}, None], "on": [True, None]})
    pq.write_table(frame, tmp_path / "a.parquet")
    found = read_prompt_file(tmp_path / "a.parquet")
    assert (found.seeds, found.negative_prompts, found.where[1]) == ((7, None), None, "row 2")
    assert (found.columns["size"], found.columns["on"]) == (('{"h": 1}', ""), ("true", ""))
    two = written(tmp_path / "b.csv", "prompt,seed,Seed\na,1,2\n")
    assert read_prompt_file(two).seeds == (1,), "the one that is written as it is wanted"
    with pytest.raises(UserError, match="several columns for one thing: 'seeds', 'seed'"):
        read_prompt_file(written(tmp_path / "c.csv", "prompt,seeds,seed\na,1,2\n"))


def test_json_says_prompts_in_several_ways(tmp_path: Path) -> None:
    def found(content: object) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        read = read_prompt_file(written(tmp_path / "a.json", json.dumps(content)))
        return read.prompts, dict(read.columns)

    assert found(["a", "b"]) == (("a", "b"), {})
    assert found([{"prompt": "a", "id": 1}, {"prompt": "b"}]) == (("a", "b"), {"prompt": ("a", "b"), "id": ("1", "")})
    assert found({"prompts": ["a", "b"]}) == (("a", "b"), {"prompts": ("a", "b")})
    assert found({"text": ["a"], "size": [[1, 2]]}) == (("a",), {"text": ("a",), "size": ("[1, 2]",)})
    assert found({"version": 2, "data": [{"prompt": "a"}]}) == (("a",), {"prompt": ("a",)})
    assert "what it says beside its lists is not used: 'version'" in notes(tmp_path / "a.json")
    assert found({"x1": {"prompt": "a"}, "x2": {"prompt": "b"}})[1] == {"id": ("x1", "x2"), "prompt": ("a", "b")}
    assert found({"x1": {"prompt": "a", "id": "7"}})[1] == {"key": ("x1",), "prompt": ("a",), "id": ("7",)}
    assert found({"prompts": []}) == ((), {"prompts": ()}) or found({"prompts": []}) == ((), {})


# Sets as they are published: some of their rows


def test_parti_prompts(tmp_path: Path) -> None:
    """Lines of google-research/parti, PartiPrompts.tsv: no quoting, and one prompt begins with a quote."""
    path = written(
        tmp_path / "PartiPrompts.tsv",
        "Prompt\tCategory\tChallenge\tNote\n"
        "bond\tAbstract\tBasic\tBiology-inspired concepts with multiple meanings\n"
        "peace\tAbstract\tBasic\t\n"
        "42\tAbstract\tBasic\tSimple numbers but challenging\n"
        'A robot painted as graffiti on a brick wall. The words "Fly an airplane" are written on the wall. A sidewalk '
        "is in front of the wall, and grass is growing out of cracks in the concrete.\tOutdoor Scenes\tComplex\t\n"
        '"G I G G L E" painted in thick colorful lettering as graffiti on a faded red brick wall with a splotch of '
        "exploding white paint.\tIllustrations\tWriting & Symbols\t\n",
    )
    found = read_prompt_file(path)
    assert found.prompts[:3] == ("bond", "peace", "42")
    assert found.prompts[4].startswith('"G I G G L E" painted in')
    assert found.columns["Challenge"] == ("Basic", "Basic", "Basic", "Complex", "Writing & Symbols")
    assert (
        "prompts are its column 'Prompt'; no picture is generated from 'Category', 'Challenge', 'Note'"
        in found.notes[0]
    )


def test_draw_bench(tmp_path: Path) -> None:
    """Lines of DrawBench as its sheet is exported to CSV: every cell in quotes, or those that need them."""
    for content in (
        "Prompts,Category\nA red colored car.,Colors\nA black colored car.,Colors\n",
        '"Prompts","Category"\n"A red colored car.","Colors"\n"A black colored car.","Colors"\n',
    ):
        found = read_prompt_file(written(tmp_path / "DrawBench.csv", content))
        assert found.prompts == ("A red colored car.", "A black colored car.")
        assert found.columns["Category"] == ("Colors", "Colors")


def test_genai_bench(tmp_path: Path) -> None:
    """Entries of linzhiqiu/t2v_metrics, genai_image.json: an object of objects by id, with ratings by model."""
    entries = {
        "00001": {
            "id": "00001",
            "prompt": "A baker pulling freshly baked bread out of an oven in a bakery.",
            "prompt in Chinese": "\u4e00\u4f4d\u9762\u5305\u5e08",
            "models": {"DALLE_3": [5, 5, 5], "SDXL_Turbo": [2, 4, 3]},
        },
        "00002": {
            "id": "00002",
            "prompt": "A photographer capturing a fleeting moment in a vibrant city street.",
            "prompt in Chinese": "\u4e00\u4f4d\u6444\u5f71\u5e08",
            "models": {"DALLE_3": [4, 5, 5], "SDXL_Turbo": [3, 5, 5]},
        },
    }
    found = read_prompt_file(written(tmp_path / "genai_image.json", json.dumps(entries, indent=4)))
    assert found.prompts == tuple(entry["prompt"] for entry in entries.values())
    assert list(found.columns) == ["id", "prompt", "prompt in Chinese", "models"]
    assert found.columns["id"] == ("00001", "00002")
    assert json.loads(found.columns["models"][1]) == entries["00002"]["models"]


def test_gen_eval(tmp_path: Path) -> None:
    """Lines of djghosh13/geneval, prompts/evaluation_metadata.jsonl: what is nested stays JSON."""
    path = written(
        tmp_path / "evaluation_metadata.jsonl",
        '{"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}\n'
        '{"tag": "counting", "include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}], '
        '"prompt": "a photo of two clocks"}\n'
        '{"tag": "position", "include": [{"class": "sink", "count": 1}, {"class": "tie", "count": 1, "position": '
        '["above", 0]}], "prompt": "a photo of a tie above a sink"}\n',
    )
    found = read_prompt_file(path)
    assert found.prompts == ("a photo of a bench", "a photo of two clocks", "a photo of a tie above a sink")
    assert found.columns["tag"] == ("single_object", "counting", "position")
    assert found.columns["include"][0] == '[{"class": "bench", "count": 1}]'
    assert found.columns["exclude"] == ("", '[{"class": "clock", "count": 3}]', "")
