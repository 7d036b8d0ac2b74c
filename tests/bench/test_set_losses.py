"""A set that collapsed in part is called so by name: in the table, on the screen and in the report; an A/A is not."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from run_folders import asked, identified, record_at, save_record

from common.files import canonical_json, sha256_text
from metrics.images import copied
from sweeps.pictures import Manifest, finish, picture_name

N, COLLAPSED = 120, 12
PROMPTS = [f"a thing number {number}" for number in range(N)]


def drawn(seed: int) -> Image.Image:
    """Return five shapes of any colour at any place."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (64, 64), tuple(rng.integers(0, 256, 3).tolist()))
    for _ in range(5):
        (left, top), (width, height) = rng.integers(0, 48, 2).tolist(), rng.integers(8, 40, 2).tolist()
        shape = ("ellipse", "rectangle")[int(rng.integers(2))]
        getattr(ImageDraw.Draw(picture), shape)(
            (left, top, left + width, top + height), fill=tuple(rng.integers(0, 256, 3).tolist())
        )
    return picture


def save_set(folder: Path, pictures: Sequence[Image.Image], **about: object) -> Manifest:
    (folder / "images").mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / "images" / picture_name(number))
    plan = record_at(asked("1"), N).plan
    return finish(folder, range(N), lambda images: Manifest(images=images, plan=plan, **about))


@pytest.fixture
def collapsed(tmp_path: Path) -> Path:
    """A run of 120 prompts: at tau 1 every tenth picture is a sibling's, at tau 2 a sibling's saved as JPEG."""
    run, standard = tmp_path / "run", [drawn(number) for number in range(N)]
    baseline = save_set(run / "shared/standard", standard)
    (run / "shared/standard/prompts.json").write_text(json.dumps(PROMPTS))
    save_set(run / "shared/other", [drawn(N + number) for number in range(N)])
    (run / "sweep.yaml").write_text("schema_version: 1\nmodel: [mini-kandinsky]\ntau: ['1', '2']\n")
    identity = {"prompts": sha256_text(canonical_json(tuple(PROMPTS)))}
    about = {"results": {}, "scorers": {}, "baseline": "shared/standard"}
    for tau, copy in (("1", lambda picture: picture), ("2", copied)):
        pictures = list(standard)
        for number in range(0, N, N // COLLAPSED):
            pictures[number] = copy(standard[number + 1])
        record = identified(record_at(asked(tau), N), **identity).model_copy(update=about)
        save_record(run, record)
        save_set(record.folder(run), pictures, baseline=baseline.hash)
    control = {"role": "another-seed", "images": "shared/other"}
    other = identified(record_at(asked("0", seed=43), N), **identity)
    save_record(run, other.model_copy(update=about | control))
    return run


def test_a_planted_collapse_is_called_by_name_and_an_a_a_is_not(bench, collapsed):
    result = bench("score", collapsed, "--metric", "clip_diversity=embedded:clip", "--device", "cpu")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(collapsed / "report/tables/set_losses.csv").set_index(["role", "tau"])
    exact, near = "pictures.duplicates", "clip_diversity.clip_near_duplicates"
    assert table[exact].to_dict() == {("sharing", 1): COLLAPSED, ("sharing", 2): 0, ("another-seed", 0): 0}
    assert table[near].to_dict() == {("sharing", 1): COLLAPSED, ("sharing", 2): COLLAPSED, ("another-seed", 0): 0}
    assert table[f"{exact}_standard"].tolist() == table[f"{near}_standard"].tolist() == [0, 0, 0]
    found = table[[f"{exact}_difference_low", f"{near}_difference_low"]] > 0
    assert found.to_numpy().tolist() == [[True, True], [False, True], [False, False]]

    report = " ".join((collapsed / "report/report.md").read_text().split())
    screen = " ".join(result.stdout.split())
    words = [
        "duplicates: 12 of 120 pictures at tau 1 are another prompt's picture, bit for bit (the baseline has 0; the "
        "seed control has 0): the set lost pictures",
        "duplicates: 12 of 120 pictures at tau 1, 12 of 120 pictures at tau 2 are nearly another prompt's picture "
        "(CLIP diversity) (the baseline has 0; the seed control has 0): the set lost pictures",
    ]
    for text in words:
        assert text in report
        assert text in screen
    summary = (collapsed / "report/tables/summary.md").read_text()
    assert "| exact duplicates |" in summary
    assert "| CLIP near duplicates |" in summary


def test_exact_duplicates_are_counted_without_any_scorer(bench, tiny_sweep):
    result = bench(*tiny_sweep, "--tau", "0,9", "--no-another-seed", "--name", "bare", "--device", "cpu")
    assert result.exit_code == 0, result.output
    words = "duplicates: no picture is another prompt's picture, bit for bit (the baseline has 0)"
    assert words in " ".join(result.stdout.split())
    table = pd.read_csv("runs/bare/report/tables/set_losses.csv", dtype={"id": str}).set_index("id")
    assert len(table) == 2
    for cell, duplicates in table["pictures.duplicates"].items():
        images = json.loads(Path(f"runs/bare/cells/{cell}/generation.json").read_text())["images"]
        assert duplicates == len(images) - len(set(images.values()))
