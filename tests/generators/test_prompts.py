import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cutting_server import CuttingServer, serving
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.plugins import skipped
from generators import prompts
from generators.prompts import KnownPrompts, PromptSet, classes, given_prompts, load_prompts, prompt_set, prompt_sets

PAPER = {"animals": 500, "genai_bench": 1600, "prompt_templates": 2000, "style_variations": 100}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty folder of known prompt sets, read anew."""
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    prompts._known.cache_clear()
    yield tmp_path
    prompts._known.cache_clear()


# Keys and hashes


def test_a_key_is_the_texts_hash_and_its_number_among_equals() -> None:
    cat, dog = (hashlib.sha256(text.encode()).hexdigest() for text in ("a cat", "a dog"))
    assert given_prompts(["a cat", "a dog", "a cat", "a cat"]).keys == [f"{cat}#0", f"{dog}#0", f"{cat}#1", f"{cat}#2"]


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=12), st.data())
def test_keys_are_distinct_and_do_not_depend_on_order(texts: list[str], data: st.DataObject) -> None:
    keys = given_prompts(texts).keys
    assert len(set(keys)) == len(texts)
    assert sorted(given_prompts(data.draw(st.permutations(texts))).keys) == sorted(keys)


def test_the_hash_is_of_the_texts_in_order_alone() -> None:
    assert PromptSet("x", ("a", "b"), "here").hash == PromptSet("y", ("a", "b"), "there").hash
    hashes = {PromptSet("x", texts, "here").hash for texts in [("a", "b"), ("b", "a"), ("ab",), ("a,b",), ('a","b',)]}
    assert len(hashes) == 5


def test_prompts_with_something_of_their_own_are_another_set_and_a_column_of_nothing_is_none() -> None:
    plain = PromptSet("x", ("a", "b"), "here")
    seeded, guided = (
        PromptSet("x", ("a", "b"), "here", **{name: values})
        for name, values in (
            ("seeds", (7, None)),
            ("negative_prompts", (None, "a tree")),
        )
    )
    assert len({plain.hash, seeded.hash, guided.hash}) == 3
    assert len({each.hash_of_texts for each in (plain, seeded, guided)}) == 1
    nothing = PromptSet("x", ("a", "b"), "here", seeds=(None, None), negative_prompts=(None, None))
    assert (nothing, nothing.hash, nothing.hash_of_own) == (plain, plain.hash_of_texts, None)
    assert classes(plain.own(42, "")) is None
    assert classes(PromptSet("x", ("a", "b"), "here", seeds=(42, None)).own(42, "")) is None, "the run's own seed"
    assert classes(seeded.own(42, "")).tolist() == classes(guided.own(42, "")).tolist() == [0, 1]


def test_a_tables_cells_go_with_their_prompts(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("SKU,prompt,seed,negative prompt\nA1,a cat,7,\nA2,a dog,,rain\nA3,a fox,8,\n")
    whole = load_prompts(path)
    assert (whole.column("sku"), whole.column("SKU")) == (("A1", "A2", "A3"),) * 2
    with pytest.raises(UserError, match=r"mine\.csv has no column 'SKUs' \(did you mean 'SKU'\?\)"):
        whole.column("SKUs")
    with pytest.raises(UserError, match="--prompt has no columns, so none called 'sku'"):
        given_prompts(["a cat"]).column("sku")
    two = whole.first(2)
    assert (two.prompts, two.column("sku"), two.seeds, two.negative_prompts) == (
        ("a cat", "a dog"),
        ("A1", "A2"),
        (7, None),
        (None, "rain"),
    )
    assert two.notes == (*whole.notes, "mine: only the first 2 of 3 prompts are used")
    assert whole.first(3) is whole.first(None) is whole
    assert whole.taken([1]).seeds is None, "none is left"
    path.write_text('prompt,negative_prompt\na cat,\na dog,"a\x0cb"\n')
    with pytest.raises(
        UserError, match=r"mine\.csv, line 3, the negative prompt has the control character U\+000C at 2"
    ):
        load_prompts(path)


def test_what_shows_nothing_is_left_out_of_prompts_on_the_command_line_too() -> None:
    found = given_prompts(["a\u200b cat", "a dog"])
    assert found.prompts == ("a cat", "a dog")
    assert found.notes == ("--prompt: invisible characters (zero width, soft hyphens) left out: 1",)


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "prompt 2 is empty"),
        (" \t ", "prompt 2 is empty"),
        ("x" * 10_000, "prompt 2 has 10,000 characters"),
        ("a\x00cat", r"prompt 2 has the control character U\+0000 at 2"),
        ("a \x1b[31mcat", r"U\+001B at 3"),
        ("a\x7f", r"U\+007F"),
        ("a\x85", r"U\+0085"),
        ("a\u2028cat", r"U\+2028"),
        ("a\ud800", r"U\+D800"),
        ("a\ufffe", r"the noncharacter U\+FFFE at 2"),
        ("a\ufdd0", r"U\+FDD0"),
        ("a\U0010ffff", r"U\+10FFFF"),
    ],
)
def test_prompts_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match="--prompt, " + message if message.startswith("prompt") else message):
        given_prompts(["a cat", text])


def test_no_prompts_are_refused() -> None:
    with pytest.raises(UserError, match="--prompt holds no prompts"):
        given_prompts([])


def test_tabs_and_newlines_become_spaces_and_nothing_else_changes() -> None:
    texts = [" a cat ", "a\tcat\r\nand a dog", "un chat étonné 🐈‍⬛", "x" * 9_999]
    assert given_prompts(texts).prompts == (" a cat ", "a cat and a dog", "un chat étonné 🐈‍⬛", "x" * 9_999)


def test_a_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a cat\n\na dog\n")
    with pytest.raises(UserError, match=r"mine\.txt, line 2 is empty"):
        load_prompts(path)
    path.write_text("a cat\na\x0cdog\n")
    with pytest.raises(UserError, match=r"mine\.txt, line 2 has the control character U\+000C at 2"):
        load_prompts(path)


def test_ones_own_file_is_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a cat\na dog")
    assert load_prompts(path) == PromptSet("mine", ("a cat", "a dog"), str(path))


@pytest.mark.parametrize("name", ["mine.txt", "mine.csv", "mine.jsonl"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=f"{name} holds no prompts"):
        load_prompts(tmp_path / name)


# Known sets


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_prompts(name: str, paper_datasets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATASETS", str(paper_datasets))
    known = prompt_sets()[name]
    assert known.unavailable() is None
    assert known.licence == "MIT"
    stored = np.load(paper_datasets / f"{name}.npy", allow_pickle=False).tolist()
    assert prompt_set(name).prompts == tuple(stored)
    assert len(prompt_set(name)) == PAPER[name]
    assert prompt_set(name).name == name


def test_a_file_that_is_not_there_is_to_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BENCH_DATASETS", raising=False)
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    message = r"'animals' is not here.*run `bench datasets fetch animals`, or set BENCH_DATASETS to a folder"
    with pytest.raises(UserError, match=message):
        prompt_set("animals")
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))
    with pytest.raises(UserError, match=rf"run `bench datasets fetch animals`, or put animals\.npy into {tmp_path}"):
        prompt_set("animals")
    assert "bench datasets fetch animals" in str(prompt_sets()["animals"].unavailable())


@pytest.fixture
def served(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingServer]:
    """A server of two prompts, which the known sets `pair` and, with hats, `hats` are made of."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("BENCH_DATASETS", raising=False)
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    file = io.BytesIO()
    np.save(file, np.array(["a {prompt}", "Koala"]))
    sha256 = hashlib.sha256(file.getvalue()).hexdigest()
    with serving(file.getvalue()) as server:
        (folder / "pair.yaml").write_text(
            f"description: x\nfile: pair.npy\nsha256: {sha256}\nsource: {server.url}\nlicence: MIT\n"
        )
        (folder / "hats.yaml").write_text("description: x\nof: pair\ntemplate: '{prompt} in a hat, {0} {prompt}'\n")
        yield server


def test_a_set_is_fetched_once_into_the_cache(served: CuttingServer, tmp_path: Path) -> None:
    known = prompt_sets()["pair"]
    assert known.unavailable()
    assert known.fetch() is True
    assert known.unavailable() is None
    assert prompt_set("pair").prompts == ("a {prompt}", "Koala")
    assert known.path() == tmp_path / "cache" / "datasets" / "pair.npy"
    assert known.fetch() is False
    assert len(served.asked) == 1


def test_a_set_is_fetched_into_the_folder_that_is_named(
    served: CuttingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path / "mine"))
    assert prompt_sets()["pair"].fetch() is True
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["pair.npy"]
    assert prompt_set("pair").source == str(tmp_path / "mine" / "pair.npy")


def test_a_damaged_file_is_named_and_fetched_again(served: CuttingServer) -> None:
    known = prompt_sets()["pair"]
    path = known.path()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"is not the file of prompt set 'pair' \(run `bench datasets fetch pair`"):
        known.load()
    assert known.fetch() is True
    assert len(known.load()) == 2


def test_a_template_is_filled_with_another_sets_prompts(served: CuttingServer) -> None:
    known = prompt_sets()["hats"]
    assert "bench datasets fetch hats" in str(known.unavailable())
    with pytest.raises(UserError, match="prompt set 'pair' is not here"):
        known.load()
    assert known.fetch() is True
    found = prompt_set("hats")
    assert found.prompts == ("a {prompt} in a hat, {0} a {prompt}", "Koala in a hat, {0} Koala")
    assert found.name == "hats"


def test_the_papers_birthday_hats(paper_datasets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATASETS", str(paper_datasets))
    animals, hats = prompt_set("animals").prompts, prompt_set("birthday_hat").prompts
    assert len(set(hats)) == len(hats) == 500
    assert hats[0] == f"An image of a {animals[0]} wearing a birthday hat with a cake and birthday candles"


def test_try_on_is_sixteen_prompts_on_one_person_and_says_that_they_are_ours() -> None:
    prompts, (before, after) = prompt_set("try_on").prompts, ("a photo of a woman with short brown hair wearing ", ", ")
    assert len(set(prompts)) == len(prompts) == 16
    assert all(prompt.startswith(before) and after in prompt for prompt in prompts)
    assert "not published" in prompt_sets()["try_on"].description


def test_another_file_of_that_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    np.save(tmp_path / "animals.npy", np.array(["a cat"]))
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))
    with pytest.raises(UserError, match=r"animals\.npy is not the file of prompt set 'animals'"):
        prompt_set("animals")


def test_an_unknown_set_has_a_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown prompt set 'animal' \(did you mean 'animals'"):
        prompt_set("animal")


def test_a_set_is_one_yaml_file(folder: Path) -> None:
    (folder / "mini_birds.yaml").write_text(
        "description: Two birds\nprompts:\n- a penguin\n- a crow, blue background\n"
    )
    assert list(prompt_sets()) == ["mini_birds"]
    known = prompt_sets()["mini_birds"]
    assert (known.description, known.unavailable()) == ("Two birds", None)
    assert prompt_set("mini_birds").prompts == ("a penguin", "a crow, blue background")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description: x\n", "give either `prompts`, `file`, or"),
        ("description: x\nprompts: [a]\nfile: a.npy\n", "give either `prompts`, `file`, or"),
        ("description: x\nfile: a.npy\n", "a `file` needs `sha256`"),
        ("description: x\nfile: ../a.npy\nsha256: x\nsource: x\nlicence: x\n", "name without folders"),
        ("description: x\nof: b\n", "`of` needs a `template`"),
        ("description: x\nof: b\ntemplate: a hat\n", r"that says {prompt}"),
        ("description: x\nprompts: [a]\ntemplate: '{prompt}'\n", "a `template` needs `of`"),
        ("description: x\nof: other\ntemplate: '{prompt}'\n", "'mine' fills a template with 'other'"),
        ("description: x\nof: mine\ntemplate: '{prompt}'\n", "that is one too"),
        ("description: x\nprompts: [a, no]\n", r"mine\.yaml, prompts\.1: Input should be a valid string"),
        ("description: x\nprompts: [a]\nlicense: MIT\n", r"mine\.yaml, license: Extra inputs"),
        ("prompts: [a]\n", r"mine\.yaml, description: Field required"),
        ("- a\n", "does not describe a prompt set"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_set_that_is_not_described_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        prompt_sets()


def test_a_known_sets_prompts_are_checked_too(folder: Path) -> None:
    (folder / "mine.yaml").write_text("description: x\nprompts: [a, ' ']\n")
    with pytest.raises(UserError, match="prompt set 'mine', prompt 2 is empty"):
        prompt_set("mine")


def test_other_packages_add_sets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def __init__(self, name: str, value: str, described: Any) -> None:
            self.name, self.value, self.described = name, value, described

        def load(self) -> Any:
            return self.described

    birds = Point("birds", "pkg:BIRDS", {"description": "Birds", "prompts": ["a crow"]})
    points = [birds]
    monkeypatch.setattr(prompts, "entry_points", lambda group: points if group == "reusebench.datasets" else [])
    assert prompt_set("birds").prompts == ("a crow",)
    assert isinstance(prompt_sets()["birds"], KnownPrompts)
    monkeypatch.setattr("common.plugins._skipped", {})
    template = {"description": "x", "template": "a {prompt}", "of": "nowhere"}
    for other, reason in [
        (Point("birds", "pkg:AGAIN", {}), "another prompt set is called 'birds'"),
        (Point("b", "pkg:B", 7), "pkg:B does not describe a prompt set"),
        (Point("t", "pkg:T", template), "fills a template with 'nowhere'"),
    ]:
        prompts._known.cache_clear()
        points[1:] = [other]
        assert prompt_set("birds").prompts == ("a crow",), "one that is broken stops nobody"
        assert reason in skipped()[-1].reason
    with pytest.raises(UserError, match=r"the prompt set 'b' .* cannot be loaded: pkg:B does not"):
        prompt_set("b")
