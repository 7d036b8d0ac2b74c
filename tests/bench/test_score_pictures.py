"""`bench score` on anyone's pictures: which prompt each is of, and what is said of them."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from common.errors import UserError
from metrics.base import get_metric
from metrics.statistics import bootstrap_mean, win_rate
from reusebench.external_images import _rows

PROMPTS = ["a red fox", "a red wolf", "a blue car", "a blue van"]
NATURAL = ["p1.png", "p2.jpg", "p10.webp", "p11.png"]


def draw(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four pictures whose names sort otherwise as text, what else lies about, and their prompts."""
    folder = tmp_path / "elsewhere" / "theirs"
    for number, name in enumerate(NATURAL):
        draw(folder / name, number)
    draw(folder / ".hidden.png", 9)
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    return folder


@pytest.fixture
def standard(pictures: Path) -> Path:
    """Others of the same prompts, of which the third is the same file."""
    folder = pictures.parent / "standard"
    for number, name in enumerate(NATURAL):
        draw(folder / name, 20 + number)
    shutil.copy(pictures / NATURAL[2], folder / NATURAL[2])
    return folder


@pytest.fixture
def scorers(tiny) -> list[str]:
    return ["--metric", f"vqa={tiny.vqa}", "--metric", f"clip_diversity={tiny.clip}"]


@pytest.fixture
def by_hand(tiny):
    """VQA scores of a folder's pictures with these names."""
    metric = get_metric("vqa")(tiny.vqa)
    return lambda folder, names=NATURAL: metric.measure([folder / name for name in names], PROMPTS)["vqa"]


def test_pictures_alone_have_each_scorers_mean_and_diversity(bench, pictures, scorers, by_hand):
    before = sorted(pictures.parent.rglob("*"))
    result = bench("score", pictures, "--prompts", "prompts.txt", *scorers)
    assert result.exit_code == 0, result.output
    assert sorted(pictures.parent.rglob("*")) == before, "nothing is written beside them"
    told = json.loads(Path("scores/theirs/scores.json").read_text())
    of_a_set = ["clip_similarity", "clip_near_duplicates", "clip_vendi"]
    assert list(told["figures"]) == [
        "vqa.vqa_mean",
        *(f"clip_diversity.{name}" for name in of_a_set),
        "pictures.duplicates",
    ]
    expected, found = bootstrap_mean(by_hand(pictures)), told["figures"]["vqa.vqa_mean"]
    assert (found["value"], found["low"], found["high"]) == (expected.value, expected.low, expected.high)
    assert told["scorers"]["vqa"]["question"].count("{}") == 1
    assert len(told["scorers"]["clip_diversity"]["sha256"]) == 64
    table = pd.read_csv("scores/theirs/scores.csv")
    assert table.file.tolist() == NATURAL
    assert table.prompt.tolist() == PROMPTS
    np.testing.assert_array_equal(table["vqa.vqa"], by_hand(pictures))
    assert len(pd.read_parquet("scores/theirs/scores.parquet")["clip_diversity.clip"][0]) > 1
    assert "VQAScore" in result.stdout
    assert "CLIP similarity" in result.stdout
    assert "scores/theirs/" in result.stdout


def test_against_others_figures_are_paired_and_only_equal_files_are_the_same(
    bench, pictures, standard, scorers, by_hand
):
    result = bench("score", pictures, "--prompts", "prompts.txt", "--against", standard, *scorers, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["figures"]
    same = [False, False, True, False]
    expected = win_rate(by_hand(pictures), by_hand(standard), same)
    found = figures["vqa.win_rate"]
    assert (found["value"], found["low"], found["high"], found["method"]) == (
        expected.half_tie.value, expected.half_tie.low, expected.half_tie.high, "Tango score",
    )  # fmt: skip
    assert figures["vqa.ties"]["value"] == expected.ties == 1
    assert {"vqa.vqa_difference", "clip_diversity.clip_similarity_difference"} <= figures.keys()
    table = pd.read_csv("scores/theirs/scores.csv")
    np.testing.assert_array_equal(table["against vqa.vqa"], by_hand(standard))
    assert len(pd.read_parquet("scores/theirs/against/scores.parquet")) == 4


def test_two_files_with_the_same_pixels_are_one_picture_twice(bench, pictures, standard, scorers):
    Image.open(pictures / "p1.png").save(pictures / "p10.webp", lossless=True)
    result = bench("score", pictures, "--prompts", "prompts.txt", "--against", standard, *scorers[:2], "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["figures"]
    assert (figures["pictures.duplicates"]["value"], figures["pictures.duplicates_standard"]["value"]) == (1, 0)


def test_how_pictures_were_paired_is_told_and_recorded(bench, pictures, scorers, by_hand):
    rows = [{"file_name": file, "Prompt": text} for file, text in zip(reversed(NATURAL), PROMPTS, strict=True)]
    pd.DataFrame(rows).to_csv("p.csv", index=False)
    standard = pictures.parent / "standard"
    for number, text in enumerate(PROMPTS):
        draw(standard / f"{text}_{number:06d}.png", number)
    Image.new("RGB", (40, 40)).save(standard / f"{PROMPTS[1]}_000001.png")
    result = bench("score", pictures, "--prompts", "p.csv", *scorers[:2])
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "theirs: pictures are paired with prompts by the column 'file_name' of p.csv: p11.png 'a red fox'," in said
    told = json.loads(Path("scores/theirs/scores.json").read_text())
    assert told["pairing"]["first"] == NATURAL[:0:-1]
    np.testing.assert_array_equal(pd.read_csv("scores/theirs/scores.csv")["vqa.vqa"], by_hand(pictures, NATURAL[::-1]))
    result = bench("score", standard, "--prompts", "prompts.txt", "--against", pictures, *scorers[:2])
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "standard: pictures are paired with prompts by their names: a red fox_000000.png 'a red fox'," in said
    assert "theirs: nothing but that order says which prompt a picture shows" in said
    assert "standard: 1 of 4 pictures is of one colour, the first that of prompt 2 ('a red wolf')" in said
    told = json.loads(Path("scores/standard/scores.json").read_text())
    assert told["against_pairing"]["by"] == "the natural order of their names"
    assert "1 of 4 pictures is of one colour" in told["notes"][0]
    assert told["figures"]["pictures.blank"]["value"] == 1
    assert "of one colour" in result.stdout


def spoilt(value: float, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    images[2, 1, 3, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (spoilt(float("nan")), "picture 3 of theirs/denoised_images.pt is none: its numbers overflowed"),
        (spoilt(float("inf"), torch.bfloat16), "picture 3 of theirs/denoised_images.pt is none"),
        (spoilt(-0.5), "picture 3 of theirs/denoised_images.pt has numbers from -0.5 to"),
        (spoilt(2, torch.uint8), "holds no pictures [N, 3, H, W], from 0 to 1"),
        (torch.zeros(1).half().expand(4, 3, 9_000, 9_000), "holds pictures of 9,000 x 9,000 pixels"),
        (spoilt(0.5)[:3], "has 3 pictures, prompts.txt has 4 prompts"),
    ],
)
def test_rows_that_are_no_pictures_are_refused_by_number(bench, pictures, scorers, images, says):
    Path("theirs").mkdir()
    torch.save(images, "theirs/denoised_images.pt")
    result = bench("score", "theirs", "--prompts", "prompts.txt", *scorers[:2])
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.stderr.split())
    assert not Path("scores").exists()


def test_two_scorers_of_one_metric_are_told_apart(bench, pictures, scorers, tiny):
    other = shutil.copytree(tiny.clip, Path("other"))
    result = bench(
        "score", pictures, "--prompts", "prompts.txt", *scorers, "--metric", f"clip_diversity:images=2={other}"
    )
    assert result.exit_code == 0, result.output
    assert "CLIP similarity (other)" in result.stdout


def test_no_prompt_is_a_formula_to_a_spreadsheet(bench, pictures, scorers):
    prompts = ["=1+1", *PROMPTS[1:]]
    Path("formulas.txt").write_text("\n".join(prompts))
    assert bench("score", pictures, "--prompts", "formulas.txt", *scorers[:2]).exit_code == 0
    assert pd.read_csv("scores/theirs/scores.csv").prompt.tolist() == ["'=1+1", *PROMPTS[1:]]


@pytest.mark.parametrize("name", ["prompts.csv", "prompts.jsonl"])
def test_a_manifest_says_which_picture_is_whose(bench, pictures, scorers, by_hand, name):
    rows = [{"file": file, "prompt": text} for file, text in zip(reversed(NATURAL), PROMPTS, strict=True)]
    frame = pd.DataFrame(rows)
    frame.to_csv(name, index=False) if name.endswith("csv") else frame.to_json(name, orient="records", lines=True)
    assert bench("score", pictures, "--prompts", name, *scorers).exit_code == 0
    table = pd.read_csv("scores/theirs/scores.csv")
    assert table.file.tolist() == NATURAL[::-1]
    np.testing.assert_array_equal(table["vqa.vqa"], by_hand(pictures, NATURAL[::-1]))


def test_what_the_papers_code_left_is_read_as_it_is(bench, tmp_path, scorers, tiny):
    from torchvision.utils import save_image

    theirs = tmp_path / "results"
    theirs.mkdir()
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0)).half()
    torch.save(images, theirs / "denoised_images.pt")
    save_image(images.float(), theirs / "denoised_images.png")
    draw(theirs / "embedding_dendrogram.png", 0)
    result = bench("score", theirs, "--prompts", "prompts.txt", *scorers)
    assert result.exit_code == 0, result.output
    for number, image in enumerate(images):
        save_image(image.float(), tmp_path / f"{number}.png")
        ours = Image.open(f"scores/results/images/{number:05d}.png")
        np.testing.assert_array_equal(ours, Image.open(tmp_path / f"{number}.png"))
    assert len(list(theirs.iterdir())) == 3


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (torch.zeros(1, 1, 1, 1, dtype=torch.half).expand(1, 3, 20_000, 20_000), "pictures of 20,000 x 20,000 pixels"),
        (torch.zeros(20_000, 20), "holds no pictures [N, 3, H, W]"),
        (torch.zeros(1, 3, 8, 8).expand(1_000_000_000, 3, 8, 8), "claims more pictures than it holds"),
    ],
    ids=["large", "matrix", "many"],
)
def test_tensors_beyond_all_bounds_are_told_at_once(tmp_path, rows, says):
    torch.save(rows, tmp_path / "denoised_images.pt")
    with pytest.raises(UserError, match=re.escape(says)):
        _rows(tmp_path / "denoised_images.pt")


def test_scores_of_other_pictures_are_not_overwritten(bench, pictures, standard, scorers):
    asked = ["--prompts", "prompts.txt", *scorers[:2], "--out", "here"]
    assert bench("score", pictures, *asked).exit_code == 0
    before = Path("here/scores.json").read_text()
    result = bench("score", standard, *asked)
    assert result.exit_code == 2
    assert "holds scores of other pictures: it differs in folder" in result.stderr
    assert Path("here/scores.json").read_text() == before
    assert bench("score", pictures, *asked).exit_code == 0, "the same may be scored again"


def lines(*texts: str) -> str:
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("files", "arguments", "says"),
    [
        ({"p.txt": lines(*PROMPTS[:3])}, [], "has 4 pictures (first: p1.png, p2.jpg, p10.webp), p.txt has 3 prompts"),
        ({"p.csv": lines("file,prompt", "p1.png,a fox", "p3.png,a cat")}, [], "p3.png, which p.csv names, is missing"),
        ({"p.csv": lines("file,prompt", "p1.png,a fox", ",a cat")}, [], "prompt 2 names no picture"),
        ({"p.jsonl": '{"file": "/p1.png", "prompt": "a fox"}'}, [], "prompt 1 names no picture"),
        ({"p.txt": lines(*PROMPTS)}, ["--against", "nowhere"], "there is no folder nowhere"),
        ({"p.txt": lines(*PROMPTS)}, ["--rescore"], "--rescore is for a run"),
        ({"p.txt": lines(*PROMPTS), "empty/x": ""}, ["--against", "empty"], "empty has 0 pictures (first: none)"),
        ({"p.txt": lines(*PROMPTS), "bad/denoised_images.pt": "x"}, ["--against", "bad"], "cannot read bad/"),
        ({}, ["--prompts", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_mistakes_are_told(bench, pictures, scorers, files, arguments, says):
    for name, content in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    prompts = ["--prompts", next(iter(files))] if files else []
    result = bench("score", pictures, *prompts, *arguments, *scorers)
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.stderr.split())
    assert not Path("scores").exists()


def test_a_metric_has_to_be_given(bench, pictures):
    result = bench("score", pictures, "--prompts", "prompts.txt")
    assert result.exit_code == 2
    assert "no metric is known" in result.stderr
    assert "--metric vqa=" in result.stderr


def test_a_damaged_picture_is_named(bench, pictures, scorers):
    (pictures / "p2.jpg").write_bytes(b"not a picture")
    result = bench("score", pictures, "--prompts", "prompts.txt", *scorers)
    assert result.exit_code == 2
    assert "p2.jpg cannot be read" in result.stderr
