"""Submissions: what is wrong with one is said at once, each thing with its place."""

import json

import pytest
from PIL import Image
from tiny_cards import manifest, submit, tiny_card, write_manifest

from common.errors import UserError
from common.pictures import pixels_hash, read_picture
from tasks.submission import MOST_SHOWN, check, new


@pytest.fixture(scope="module")
def card(tiny):
    return tiny_card(tiny)


@pytest.fixture
def mine(tmp_path, card):
    return submit(tmp_path / "mine", card)


def edited(folder, row, **changes):
    rows = [{**dict.fromkeys(changes, ""), **one} for one in manifest(folder)]
    rows[row] |= changes
    write_manifest(folder, rows)


def about(folder, **changes):
    path = folder / "submission.yaml"
    told = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


def test_a_whole_submission(mine, card):
    found = check(mine, card)
    assert (found.problems, found.notes) == ([], [])
    (point,) = found.whole().points
    assert point.nfe.tolist() == [[3] * 4] * 2
    assert (point.roots, point.seconds) == (4, None)
    assert [file.name for file in point.files[1]] == ["0-2.png", "1-2.png", "2-2.png", "3-2.png"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": 4}, "line 2: '4' is no prompt of the card: give its number, 0 to 3"),
        ({"prompt": "a cow on the moon"}, "line 2: 'a cow on the moon' is no prompt"),
        ({"seed": 7}, "line 2: 7 seed: the card's are 1, 2"),
        ({"file": ""}, "line 2: no file"),
        ({"file": "pictures/none.png"}, "line 2: pictures/none.png is missing"),
        ({"file": "../other.png"}, "line 2: ../other.png lies outside of the folder"),
        ({"file": "/etc/passwd"}, "line 2: /etc/passwd lies outside of the folder"),
        ({"nfe": "many"}, "line 2: nfe is 'many': give a number"),
        ({"nfe": "-1"}, "line 2: nfe is '-1': give a number"),
        ({"nfe": "nan"}, "line 2: nfe is 'nan': give a number"),
        ({"nfe": ""}, "line 2: no nfe"),
        ({"point": "another seed"}, "a point cannot be called 'another seed'"),
        ({"nfe": "99999"}, "more than 100 times the baseline's 48"),
        ({"prompt": 1}, "line 3: prompt 1, seed 1 was on line 2 already"),
    ],
)
def test_a_wrong_row_is_named(mine, card, changes, said):
    edited(mine, 0, **changes)
    found = check(mine, card)
    assert said in "\n".join(found.problems)
    with pytest.raises(UserError):
        found.whole()


def test_everything_that_is_wrong_is_said_at_once(mine, card):
    rows = manifest(mine)
    rows[0]["seed"], rows[1]["nfe"], rows[2]["file"] = "5", "x", "gone.png"
    write_manifest(mine, rows[:-1])
    about(mine, noise=None)
    problems = check(mine, card).problems
    assert len(problems) == 5
    assert problems[3].endswith(
        "no picture of prompt 0 with seed 1, 2 with seed 1, 3 with seed 2; every prompt has one of every seed"
    )
    assert "noise is not said" in problems[4]


def test_of_many_problems_some_are_shown(tmp_path, tiny):
    large = tiny_card(tiny, limit=20)
    folder = submit(tmp_path / "large", large)
    write_manifest(folder, [{**row, "seed": 9} for row in manifest(folder)])
    found = check(folder, large)
    assert len(found.problems) <= MOST_SHOWN + 1
    assert found.left_out == 20
    with pytest.raises(UserError, match=r"and \d+ problems more"):
        found.whole()


def test_a_link_out_of_the_folder_is_refused(mine, card, tmp_path):
    outside = tmp_path / "outside.png"
    Image.new("RGB", (32, 32)).save(outside)
    (mine / "pictures" / "0-1.png").unlink()
    (mine / "pictures" / "0-1.png").symlink_to(outside)
    assert "lies outside of the folder" in check(mine, card).problems[0]


def test_pictures_are_opened(mine, card):
    (mine / "pictures" / "0-1.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 32)).save(mine / "pictures" / "1-1.png")
    Image.new("RGB", (32, 32), "red").save(mine / "pictures" / "2-1.png")
    problems = check(mine, card).problems
    assert "0-1.png cannot be read" in problems[0]
    assert "1-1.png has 64 x 32 pixels, the card 32 x 32" in problems[1]
    assert len(problems) == 2


def test_what_is_odd_and_allowed_is_noted(mine, card):
    Image.new("RGB", (32, 32), "red").save(mine / "pictures" / "2-1.png")
    (mine / "pictures" / "0-1.png").write_bytes((mine / "pictures" / "3-2.png").read_bytes())
    found = check(mine, card)
    assert not found.problems
    assert found.notes[0] == "1 pictures are of one colour"
    assert found.notes[1].startswith("1 picture repeat")


def pixels(folder, card):
    return [
        [pixels_hash(read_picture(folder / f"pictures/{prompt}-{seed}.png")) for prompt in range(4)]
        for seed in card.seeds
    ]


def test_the_baselines_own_pictures_cost_what_they_cost(tmp_path, card):
    """All of them at half the rows are refused; where half are, the others have to have cost something too."""
    folder = submit(tmp_path / "copies", card, nfe=3)
    own = pixels(folder, card)
    (problem,) = check(folder, card, lambda _: own).problems
    assert "nfe is 24, and 8 of its pictures are the baseline's own, pixel for pixel, which took 6 rows each" in problem
    half = [own[0], ["other"] * 4]
    assert "cannot be less than 28" in check(folder, card, lambda _: half).problems[0]
    full = submit(tmp_path / "full", card, nfe=6)
    assert not check(full, card, lambda _: pixels(full, card)).problems


def test_different_pictures_take_a_row_each(tmp_path, card):
    folder = submit(tmp_path / "free", card, nfe=0.5)
    assert "less than its 8 different pictures" in check(folder, card).problems[0]
    nothing = submit(tmp_path / "nothing", card, nfe=0)
    assert "nfe is 0 of all pictures" in check(nothing, card).problems[0]


def test_prompts_may_be_named_by_their_texts_and_are_checked(mine, card):
    texts = card.prompt_set.prompts
    write_manifest(mine, [{**row, "prompt": texts[int(row["prompt"])]} for row in manifest(mine)])
    assert check(mine, card).whole().points[0].files[0][3].name == "3-1.png"
    write_manifest(
        mine, [{**row, "prompt": 0 if i else 1, "prompt_text": texts[0]} for i, row in enumerate(manifest(mine))]
    )
    assert f"prompt 1 is {texts[1]!r}, not {texts[0]!r}" in check(mine, card).problems[0]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".tsv", ".parquet"])
def test_manifests_are_tables_of_any_kind(mine, card, suffix):
    import pandas as pd

    table = pd.read_csv(mine / "manifest.csv")
    (mine / "manifest.csv").unlink()
    path = mine / f"manifest{suffix}"
    write = {
        ".jsonl": lambda: table.to_json(path, orient="records", lines=True),
        ".json": lambda: table.to_json(path, orient="records"),
        ".tsv": lambda: table.to_csv(path, sep="\t", index=False),
        ".parquet": lambda: table.to_parquet(path),
    }
    write[suffix]()
    assert check(mine, card).whole().points[0].nfe.sum() == 24


def test_the_cost_of_a_shared_run_is_told_as_a_sum(mine, card):
    write_manifest(mine, [{key: value for key, value in row.items() if key != "nfe"} for row in manifest(mine)])
    assert "has no column 'nfe'" in check(mine, card).problems[0]
    about(mine, points={"default": {"nfe": 30, "seconds": 2}})
    (point,) = check(mine, card).whole().points
    assert (point.nfe.sum(), point.seconds) == (30, 2)
    about(mine, points={"defualt": {"nfe": 30}})
    assert "has no point 'defualt': did you mean 'default'?" in check(mine, card).problems[0]


def test_a_cost_is_told_once(mine, card):
    about(mine, points={"default": {"nfe": 30}})
    assert "say it in one place" in check(mine, card).problems[0]


def test_settings_are_points_and_roots_are_counted(tmp_path, card):
    folder = submit(tmp_path / "curve", card, points=("a", "b"), about={"noise": None})
    write_manifest(folder, [{**row, "root": int(row["prompt"]) // 2} for row in manifest(folder)])
    first, second = check(folder, card).whole().points
    assert (first.name, second.name) == ("a", "b")
    assert (first.roots, second.roots) == (2, 2)
    one = submit(tmp_path / "one", card, about={"noise": "one"})
    assert check(one, card).whole().points[0].roots == 1


def test_drafts_and_other_versions_of_a_card_are_refused(mine, card, tiny):
    draft = tiny_card(tiny, status="draft")
    assert "is a draft" in check(mine, draft).problems[0]
    about(mine, card_sha256="0" * 64)
    assert "it was made for another version of the card test-v1/tiny" in check(mine, card).problems[0]
    about(mine, card="test-v2/other", card_sha256=None)
    assert "no task card is called 'test-v2/other'" in check(mine).problems[0]
    assert "it is for the card test-v2/other, not test-v1/tiny" in check(mine, card).problems[0]


def test_what_a_row_could_not_hold_is_refused_before_anything_is_scored(mine, card):
    about(mine, description="x" * 601, url="ftp://me")
    problems = check(mine, card).problems
    assert [problem.partition("submission.yaml: ")[2].partition(":")[0] for problem in problems] == [
        "description",
        "url",
    ]
    about(mine, description=None, url=None)
    (mine / "submission.yaml").write_text((mine / "submission.yaml").read_text()[:-1] + ', "settings": {"tau": .nan}}')
    assert "cannot be read" in check(mine, card).problems[0]


def test_links_in_place_of_its_files_are_refused(mine, card, tmp_path):
    (mine / "manifest.csv").rename(tmp_path / "outside.csv")
    (mine / "manifest.csv").symlink_to(tmp_path / "outside.csv")
    assert "manifest.csv lies outside of the folder" in check(mine, card).problems[0]


def test_files_that_are_missing_or_no_yaml_are_said(tmp_path, card):
    assert "there is no folder" in check(tmp_path / "none", card).problems[0]
    (tmp_path / "empty").mkdir()
    assert "submission.yaml is missing" in check(tmp_path / "empty", card).problems[0]
    (tmp_path / "empty" / "submission.yaml").write_text("card: [")
    assert "cannot be read" in check(tmp_path / "empty", card).problems[0]
    (tmp_path / "empty" / "submission.yaml").write_text("name: ''\nauthor: me\n")
    problems = check(tmp_path / "empty", card).problems
    assert [problem.partition("submission.yaml: ")[2].partition(":")[0] for problem in problems] == [
        "card", "name", "author"
    ]  # fmt: skip
    (tmp_path / "empty" / "submission.yaml").write_text("card: test-v1/tiny\nname: me\n")
    assert "has no manifest" in check(tmp_path / "empty", card).problems[0]


def test_a_new_submission_lacks_a_name_costs_and_pictures_alone(tmp_path, card):
    paths = new(tmp_path / "new", card)
    assert [path.name for path in paths] == ["submission.yaml", "manifest.csv"]
    text = paths[0].read_text()
    paths[0].write_text(text.replace('name: ""', "name: mine", 1))
    problems = check(tmp_path / "new", card).problems
    assert all("is missing" in one or "no nfe" in one or "no picture of" in one for one in problems)
    made = submit(tmp_path / "made", card)
    (made / "pictures").rename(tmp_path / "new" / "pictures")
    rows = manifest(tmp_path / "new")
    for row in rows:
        (tmp_path / "new" / f"pictures/{row['prompt']}-{row['seed']}.png").rename(tmp_path / "new" / row["file"])
    write_manifest(tmp_path / "new", [{**row, "nfe": 3} for row in rows])
    assert check(tmp_path / "new", card).problems == []
    with pytest.raises(UserError, match="is there already"):
        new(tmp_path / "new", card)
