"""What prompts name, asked apart: where atoms come from, what they are worth, and who can be asked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_scorers import save_tiny_vqa

from common.errors import UserError
from metrics.vqa import VQAScore
from metrics.vqa_atoms import Atom, VqaAtoms, grammars, read_atoms
from miniature.world import BACKGROUNDS, CONCEPTS, RELATIONS, SCENE_CONCEPTS, STYLES, Scene, caption

ROWS = [
    {"prompt": "a cat", "atoms": [{"kind": "object", "question": "is it a cat?", "answer": "yes"}]},
    {
        "prompt": "two cats",
        "vqa_list": [["how many cats?", "two"], ["is it a cat?", "yes"]],
        "skills": ["count", "object"],
    },
]


@pytest.fixture(scope="module")
def tiny_vqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vqa(tmp_path_factory.mktemp("vqa"))


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "atoms.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def test_every_caption_of_the_small_world_gives_back_the_scene_that_it_was_made_from() -> None:
    (grammar,) = grammars()
    for number, concept in enumerate(CONCEPTS):
        style, background = STYLES[number % len(STYLES)], list(BACKGROUNDS)[number % len(BACKGROUNDS)]
        scene = Scene((concept,), style, background)
        found = {atom.kind: atom for atom in grammar.atoms_of(caption(scene))}
        assert set(found) == {"object", "style", "background"}
        assert (found["style"].answer, found["background"].answer) == (style, background)
        assert f'"{caption(scene, style=False, background=False)}"' in found["object"].question
    for number, relation in enumerate(RELATIONS):
        first, second = SCENE_CONCEPTS[number : number + 2]
        atoms = grammar.atoms_of(caption(Scene((first, second), "3d", "blue", relation)))
        assert [atom.kind for atom in atoms] == ["object", "object", "style", "background", "place"]
        assert atoms[-1] == Atom("place", f"Where is the {first} in this figure?", relation)
        assert second in atoms[1].question and first not in atoms[1].question


def test_a_file_gives_atoms_in_our_form_or_in_geneval_2_s(listed: Path) -> None:
    assert read_atoms(listed) == {
        "a cat": [Atom("object", "is it a cat?", "yes")],
        "two cats": [Atom("count", "how many cats?", "two"), Atom("object", "is it a cat?", "yes")],
    }


@pytest.mark.parametrize(
    "line", ["{", '{"prompt": "a"}', '{"prompt": "a", "vqa_list": [["q", "a"]], "skills": ["a", "b"]}', "[]"]
)
def test_a_line_that_gives_none_is_named(listed: Path, line: str) -> None:
    listed.write_text(f"{json.dumps(ROWS[0])}\n{line}\n")
    with pytest.raises(UserError, match="line 2 has no atoms"):
        read_atoms(listed)


def test_the_score_is_the_geometric_mean_of_the_right_answers_probabilities(
    tiny_vqa: Path, listed: Path, pictures: list[Path]
) -> None:
    metric = VqaAtoms(tiny_vqa, atoms=str(listed), batch_size=2)
    assert metric.columns == ("vqa_atoms", "object_atom", "count_atom")
    measured = metric.measure(pictures[:3], ["two cats", "a cat", "two cats"])
    backend = metric.backend
    cat = backend.answers(pictures[:3], ["is it a cat?"] * 3, ["yes"] * 3, 8)
    count = backend.answers(pictures[:3], ["how many cats?"] * 3, ["two"] * 3, 8)
    assert len(set(np.round(cat, 9))) == 3
    assert measured["object_atom"] == pytest.approx(cat, rel=1e-5)
    assert measured["count_atom"] == pytest.approx([count[0], np.nan, count[2]], rel=1e-5, nan_ok=True)
    whole = [np.sqrt(cat[0] * count[0]), cat[1], np.sqrt(cat[2] * count[2])]
    assert measured["vqa_atoms"] == pytest.approx(whole, rel=1e-5)


def test_an_answer_of_several_tokens_is_their_product_where_vqascore_takes_the_mean(
    tiny_vqa: Path, pictures: list[Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_vqa, tmp_path / "own")
    (folder / "vqa.json").write_text(json.dumps({"question": "is it {}?", "answer": "two"}))  # t ##w ##o
    score = VQAScore(folder).measure(pictures[:2], ["a cat", "a cat"])["vqa"]
    answers = VQAScore(folder).backend.answers(pictures[:2], ["is it a cat?"] * 2, ["two"] * 2, 4)
    assert answers == pytest.approx(score**3, rel=1e-6)


def test_a_prompt_without_atoms_and_an_answer_out_of_the_vocabulary_are_refused_before_images(
    tiny_vqa: Path, listed: Path
) -> None:
    metric = VqaAtoms(tiny_vqa, atoms=str(listed))
    metric.check(["a cat", "two cats"])
    with pytest.raises(UserError, match="no atoms of the prompt 'a dog' are known in"):
        metric.check(["a cat", "a dog"])
    with pytest.raises(UserError, match="no grammar reads it"):
        VqaAtoms(tiny_vqa).check(["A photo, in 4K!"])
    listed.write_text(json.dumps({"prompt": "x", "atoms": [{"question": "q", "answer": "☃"}]}))
    with pytest.raises(UserError, match="vocabulary has no '☃'"):
        VqaAtoms(tiny_vqa, atoms=str(listed)).check(["x"])


def test_who_answers_about_whole_prompts_alone_is_refused(stand_in) -> None:
    with pytest.raises(UserError, match="answers about whole prompts alone, not any question"):
        VqaAtoms(f"t2v:{stand_in.checkpoint}").check(["a cat"])


def test_the_embedded_scorer_tells_what_is_there_apart_from_what_is_not(tmp_path: Path) -> None:
    from generators.model_entry import locate

    metric = VqaAtoms(locate("embedded:vqa"))
    right, wrong = "a flat drawing of a pig on a blue background", "a flat drawing of a pig on a red background"
    path = tmp_path / "blue.png"
    Image.new("RGB", (64, 64), BACKGROUNDS["blue"]).save(path)
    measured = metric.measure([path, path], [right, wrong])
    blue, red = measured["background_atom"]
    assert blue > 10 * red
    assert np.isnan(measured["place_atom"]).all()
    assert measured["vqa_atoms"][0] > measured["vqa_atoms"][1]


def test_the_identity_knows_the_atoms(tiny_vqa: Path, listed: Path) -> None:
    before = VqaAtoms(tiny_vqa, atoms=str(listed)).identity()
    assert "question" not in before, "it is not one"
    listed.write_text(json.dumps(ROWS[0]))
    assert VqaAtoms(tiny_vqa, atoms=str(listed)).identity() != before
