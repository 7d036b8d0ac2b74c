"""Whose picture is it: by columns as people write them, by known layouts' names, by order only where that is said."""

import json
from pathlib import Path

import pytest
from PIL import Image

from common.errors import UserError
from reusebench.external_images import Manifest
from reusebench.pairing import Pairing

PROMPTS = ["a red fox", "a blue car, parked", "a van; 2 dogs!"]
FILES = ["c.png", "a.jpg", "b.webp"]


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures whose order is not that of the prompts."""
    for name in FILES:
        draw(tmp_path / "theirs" / name)
    return tmp_path / "theirs"


def table(path: Path, column: str, files: list[str]) -> Path:
    rows = [{"Prompt": text, column: file, "seed": 1} for text, file in zip(PROMPTS, files, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def paired(folder: Path, prompts: list[str] = PROMPTS) -> Pairing:
    path = folder.parent / "p.txt"
    path.write_text("\n".join(prompts))
    return Manifest.read(path).pictures(folder, folder.parent / "unpacked")


def by_table(folder: Path, column: str, files: list[str] = FILES) -> Pairing:
    path = table(folder.parent / "p.jsonl", column, files)
    return Manifest.read(path).pictures(folder, folder.parent / "unpacked")


@pytest.mark.parametrize(
    "column",
    ["file", "File", "file_name", "filename", "File Name", "FILE-NAME", "image", "Image Path", "img", "path"],
)
def test_the_column_of_files_is_found_as_people_write_it(folder, column):
    pairing = by_table(folder, column)
    assert pairing.names == tuple(FILES)
    assert [path.name for path in pairing.images] == FILES
    assert repr(column) in pairing.by
    assert not pairing.notes


def test_a_column_in_csv_too(folder):
    (path := folder.parent / "p.csv").write_text('id, File_Name ,Prompt\n1,c.png,x\n2, a.jpg,"y, z"\n')
    assert Manifest.read(path).pictures(folder, folder).names == ("c.png", "a.jpg")


def test_a_column_of_an_unknown_name_is_known_by_what_is_in_it(folder):
    assert by_table(folder, "outcome").names == tuple(FILES)


@pytest.mark.parametrize(("row", "says"), [
    ({"image": "a.jpg", "path": "a.jpg"}, "several columns for one thing: 'image', 'path'"),
    ({"ours": "a.jpg", "theirs": "c.png"}, "several columns of pictures: 'ours', 'theirs'"),
])  # fmt: skip
def test_two_columns_that_may_be_meant_are_refused(tmp_path, row, says):
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "a fox", **row}))
    with pytest.raises(UserError, match=says):
        Manifest.read(tmp_path / "p.jsonl")


def test_the_column_file_goes_before_others(tmp_path):
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "a fox", "path": "x", "image": 3, "file": "a.jpg"}))
    assert Manifest.read(tmp_path / "p.jsonl").files == ("a.jpg",)


def test_paths_that_lead_into_the_folder_name_its_pictures(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    seen = [str(folder / "c.png"), f"{folder.parent.name}/theirs/a.jpg", "theirs\\b.webp"]
    assert by_table(folder, "path", seen).names == tuple(FILES)
    elsewhere = draw(folder.parent / "other" / "c.png")
    with pytest.raises(UserError, match=r"prompt 1 names no picture in .*theirs"):
        by_table(folder, "path", [str(elsewhere), *FILES[1:]])


def test_one_picture_of_two_prompts_is_told(folder):
    assert by_table(folder, "file", ["a.jpg", "a.jpg", "b.webp"]).notes == ("a.jpg is named for 2 prompts",)


LAYOUTS = {  # names of pictures, in the order of PROMPTS
    "T2I-CompBench": ["a red fox_000007.png", "a blue car, parked_000001.png", "a van; 2 dogs!_000000.png"],
    "in samples/": [f"samples/{text}_{n:06d}.png" for n, text in enumerate(reversed(PROMPTS))][::-1],
    "plain": [f"{text}.png" for text in PROMPTS],
    "tidied": ["A_Red_Fox.png", "a-blue-car-parked.jpg", "a_van_2_dogs.webp"],
    "numbered": ["12_a red fox.png", "3. a blue car, parked.png", "0-a van; 2 dogs!.png"],
    "folders": ["a red fox/0.png", "a_blue_car_parked/0.png", "a van; 2 dogs!/0.png"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_that_hold_prompts_pair(tmp_path, layout):
    names = LAYOUTS[layout]
    for name in names:
        draw(tmp_path / "theirs" / name)
    pairing = paired(tmp_path / "theirs")
    assert pairing.names == tuple(names)
    assert "names" in pairing.by
    assert not pairing.notes


def test_of_several_samples_the_first_is_scored_and_it_is_said(tmp_path):
    for text in PROMPTS:
        for n in range(3):
            draw(tmp_path / "theirs" / f"{text}_{n:06d}.png")
    pairing = paired(tmp_path / "theirs")
    assert pairing.names == tuple(f"{text}_000000.png" for text in PROMPTS)
    assert pairing.notes == ("some prompts have several pictures: the first is scored, 6 are left out",)


def test_equal_prompts_have_pictures_of_their_own(tmp_path):
    for n in range(2):
        draw(tmp_path / "theirs" / f"a red fox_{n:06d}.png")
    pairing = paired(tmp_path / "theirs", ["a red fox", "a red fox"])
    assert pairing.names == ("a red fox_000000.png", "a red fox_000001.png")


def test_a_prompt_that_no_name_holds_is_an_error_and_never_paired_by_order(tmp_path):
    for name in ("a red fox.png", "a blue car, parked.png", "a lake.png"):
        draw(tmp_path / "theirs" / name)
    with pytest.raises(UserError, match=r"has no picture of prompt 3 of .*p\.txt \('a van; 2 dogs!'\)"):
        paired(tmp_path / "theirs")


def test_pictures_of_other_prompts_are_left_out_and_it_is_said(tmp_path):
    for name in ("a red fox.png", "a lake.png", "a tree.png"):
        draw(tmp_path / "theirs" / name)
    pairing = paired(tmp_path / "theirs", PROMPTS[:1])
    assert (pairing.names, pairing.notes) == (("a red fox.png",), ("2 pictures of other prompts are left out",))


def test_prompts_that_names_cannot_tell_apart_need_their_exact_names(tmp_path):
    for name in ("a fox.png", "a fox!.png"):
        draw(tmp_path / "theirs" / name)
    assert paired(tmp_path / "theirs", ["a fox!", "a fox"]).names == ("a fox!.png", "a fox.png")


def geneval(folder: Path, prompts: list[str], *, metadata: bool, first: int = 0) -> Path:
    for number, text in enumerate(prompts, first):
        for sample in range(4):
            draw(folder / f"{number:05d}" / "samples" / f"{sample:04d}.png")
        draw(folder / f"{number:05d}" / "grid.png")
        if metadata:
            (folder / f"{number:05d}" / "metadata.jsonl").write_text(json.dumps({"tag": "x", "prompt": text}))
    return folder


def test_genevals_folders_are_read_by_their_metadata(tmp_path):
    pairing = paired(geneval(tmp_path / "theirs", PROMPTS[::-1], metadata=True))
    assert pairing.names == tuple(f"0000{n}/samples/0000.png" for n in (2, 1, 0))
    assert "GenEval" in pairing.by
    assert pairing.notes == ("some prompts have several pictures: the first is scored, 9 are left out",)


def test_genevals_folders_without_metadata_are_read_by_their_numbers(tmp_path):
    pairing = paired(geneval(tmp_path / "theirs", PROMPTS, metadata=False))
    assert pairing.names == tuple(f"0000{n}/samples/0000.png" for n in range(3))
    assert "numbers of GenEval's folders" in pairing.by
    assert "9 are left out" in pairing.notes[0]


def test_genevals_folders_of_which_one_is_missing_pair_with_nobody(tmp_path):
    with pytest.raises(UserError, match="make them agree"):
        paired(geneval(tmp_path / "theirs", PROMPTS, metadata=False, first=1))


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", '{"prompt": 3}', b"\xff"])
def test_metadata_that_cannot_be_read_say_nothing(tmp_path, content):
    folder = geneval(tmp_path / "theirs", PROMPTS, metadata=False)
    for place in folder.iterdir():
        (place / "metadata.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "numbers" in paired(folder).by


def test_metadata_of_other_prompts_are_told(tmp_path):
    with pytest.raises(UserError, match=r"00000/samples/0000.png shows 'a lake' by its metadata.jsonl"):
        paired(geneval(tmp_path / "theirs", ["a lake"], metadata=True), PROMPTS[:1])


def test_where_nothing_but_order_pairs_it_is_said(folder):
    pairing = paired(folder)
    assert pairing.names == ("a.jpg", "b.webp", "c.png")
    assert "order" in pairing.by
    assert pairing.notes == ("nothing but that order says which prompt a picture shows",)
    said, note = pairing.said(folder, PROMPTS)
    assert "theirs: pictures are paired with prompts by the natural order of their names: a.jpg 'a red fox'," in said
    assert "nothing but that order" in note


def test_numbers_that_skip_one_are_told(tmp_path):
    for number in (0, 1, 3):
        draw(tmp_path / "theirs" / f"image_{number}.png")
    assert "the numbers in their names skip some after 1" in paired(tmp_path / "theirs").notes
