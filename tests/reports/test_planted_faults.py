"""Faults planted into a real run of the miniature, each called by its name by the report that a reader gets.

Pictures are the embedded Stable Diffusion's and scores the embedded scorer's: none was made to tell a fault.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_folders import as_made, identified, save_record, untied

from common.files import sha256_file
from metrics.edits import DAMAGE, INVISIBLE, Edit
from metrics.scorer_audit import near_prompts
from metrics.vqa import VQAScore
from reports.answer import answer
from reports.audits import beyond_floors
from reports.base import RunView
from reports.claims import claims
from reports.markdown import markdown
from sweeps.passes import rescore, sweep
from sweeps.pictures import picture_name
from sweeps.record import Record, load_records
from sweeps.spec import make_spec

N = 120
Pictures = list[Image.Image]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run whose shared pictures are all but the baseline's own, scored and audited in short."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REUSEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        torch.set_num_threads(1)
        run = tmp_path_factory.mktemp("planted") / "run"
        settings = {
            "model": "mini-sd",
            "dataset": "mini_templates",
            "steps": "10",
            "tau": "0.02",
            "metric": "vqa",
            "seed_control": False,
        }
        records = sweep(make_spec([settings]), run, device="cpu", emit=lambda event: None)
        assert not any(record.error for record in records)
        rescore(run, ["clip_diversity"], "cpu", lambda event: None, audit=False)
        yield run
    torch.set_num_threads(threads)


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "run")


def shared(run: Path) -> Record:
    (record,) = (record for record in load_records(run) if record.role == "sharing")
    return record


def baseline(run: Path) -> Pictures:
    pictures = []
    for path in shared(run).baseline_pictures(run):
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB"))
    return pictures


def put(folder: Path, pictures: Sequence[Image.Image], **about: object) -> str:
    """Put pictures into a folder and its manifest, whose hash is returned."""
    images = {}
    for row, picture in enumerate(pictures):
        path = folder / "images" / picture_name(row)
        picture.save(path)
        images[path.name] = sha256_file(path)
    untied(folder.parents[1])
    return as_made(folder, images=images, **about)


def report(run: Path, *metrics: str, again: bool = False) -> str:
    """Return the report on one line, after what is new (or all, `again`) was scored and audited in short."""
    failures = rescore(run, metrics, "cpu", lambda event: None, again=again)
    assert not failures
    return " ".join(markdown(RunView.of(run), [], run).replace("\\", "").split())


def edited(pictures: Sequence[Image.Image], edit: Edit) -> Pictures:
    return [edit(picture, seed=row) for row, picture in enumerate(pictures)]


def effect(run: Path, text: str) -> str:
    """Return what the report's table says of differences beyond the floor, of the only way to share."""
    (found,), _ = beyond_floors(RunView.of(run))
    assert f"{found.count(1)}/{found.count(0)}/{found.count(-1)}" in text
    assert f"| {found.effect} |" in text
    return found.effect


def test_an_edit_that_nobody_sees_everywhere_is_within_the_floor(run: Path) -> None:
    put(shared(run).folder(run), edited(baseline(run), INVISIBLE["jpeg"]))
    text = report(run, "vqa")
    assert effect(run, text) == "within the floor"
    assert "A loss is certain" not in text


def test_a_swirl_everywhere_is_worse(run: Path) -> None:
    put(shared(run).folder(run), edited(baseline(run), DAMAGE["swirl"].at(4)))
    text = report(run, "vqa")
    assert effect(run, text) == "worse"
    assert "A loss is certain from tau 0.02 on." in text
    assert ": no worse within" not in text


def test_a_collapse_of_a_tenth_is_a_loss_of_pictures(run: Path) -> None:
    pictures = baseline(run)
    for row in range(0, N, 10):
        pictures[row] = pictures[row + 1]
    put(shared(run).folder(run), pictures)
    text = report(run, "clip_diversity")
    assert "duplicates: 12 of 120 pictures at tau 0.02 are another prompt's picture, bit for bit" in text
    assert "the set lost pictures" in text


def test_a_washed_out_baseline_is_broken_and_carries_no_claim(run: Path) -> None:
    record, grey = shared(run), Image.new("RGB", (64, 64), "grey")
    washed = [Image.blend(picture, grey, 0.93) for picture in baseline(run)]
    hashed = put(run / str(record.baseline), washed)
    put(record.folder(run), edited(washed, INVISIBLE["noise"]), standard=hashed)
    text = report(run, "vqa")
    assert "The baseline is broken: by this scorer its own pictures do not show their prompts" in text
    assert "with unlike prompts" in text, "it is judged by what the scorer says of other prompts, not by a fixed number"
    assert ": no worse within" not in text


@pytest.mark.parametrize("near", [True, False])
def test_another_prompt_s_picture_at_5_percent_is_named_with_its_prompt(run: Path, near: bool) -> None:
    record, pictures = shared(run), baseline(run)
    prompts = record.prompts(run)
    nearest = near_prompts(prompts, 1)[:, 0]
    wrong = {row: int(nearest[row]) if near else (row + 55) % N for row in range(3, N, 20)}
    assert len(wrong) == 0.05 * N
    put(record.folder(run), [pictures[wrong.get(row, row)] for row in range(N)])
    text = report(run, "clip_diversity")
    assert "misplaced: " in text
    sentence = text.partition("misplaced: ")[2][:700]
    assert "fit another prompt of the set better than their own (CLIP diversity" in sentence
    named = [row for row in wrong if f'"{prompts[row]}", fits "{prompts[wrong[row]]}"' in sentence]
    assert len(named) == 3, "the worst three are named, and all of them were planted"


def test_a_sound_run_has_no_misplaced_pictures_and_no_loss(run: Path) -> None:
    text = report(run, "vqa", "clip_diversity")
    for fault in (
        "pictures at tau 0.02 fit another",
        "the set lost pictures",
        "broken",
        "A loss is certain",
        "cannot be trusted",
    ):
        assert fault not in text


def guess(images: Sequence[Path], prompts: Sequence[str]) -> dict[str, np.ndarray]:
    """Score at random, but the same picture and prompt always the same."""
    seeds = [[int(sha256_file(path)[:8], 16), *prompt.encode()] for path, prompt in zip(images, prompts, strict=True)]
    return {"vqa": np.array([np.random.default_rng(seed).random() for seed in seeds])}


def test_a_scorer_that_answers_at_random_is_not_to_be_trusted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shared(run).folder(run), edited(baseline(run), DAMAGE["swirl"].at(4)))
    monkeypatch.setattr(VQAScore, "measure", lambda self, images, prompts: guess(images, prompts))
    text = report(run, "vqa", again=True)
    assert "cannot be trusted: it does not tell the pictures' own prompts from unlike ones" in text
    assert "it is the scorer that cannot tell" in text
    assert ": no worse within" not in text


@pytest.fixture
def reseeded(run: Path) -> Callable[[dict[int, Pictures]], Path]:
    """Make the run one of several seeds, each with these shared pictures beside the same baseline's."""

    def made(of_seed: dict[int, Pictures]) -> Path:
        record = shared(run)
        first = record.folder(run)
        for seed, pictures in of_seed.items():
            other = identified(record, another_seed=seed)
            config = record.config.model_copy(update={"seed": seed})
            folder = first.with_name(other.id)
            shutil.copytree(first, folder)
            save_record(run, other.model_copy(update={"config": config}))
            put(folder, pictures)
        shutil.rmtree(first)
        return run

    return made


def test_the_luckiest_of_several_seeds_is_not_what_is_told(reseeded, run: Path) -> None:
    pictures = edited(baseline(run), INVISIBLE["noise"])
    blurred = edited(pictures, DAMAGE["blur"].at(max(DAMAGE["blur"].doses)))
    # in the lucky seed one picture in five is worse, in the others three
    lucky = [blurred[row] if row % 5 == 0 else picture for row, picture in enumerate(pictures)]
    losing = [blurred[row] if row % 5 < 3 else picture for row, picture in enumerate(pictures)]
    run = reseeded({101: losing, 102: losing, 103: lucky, 104: losing})
    text = report(run, "vqa")
    view = RunView.of(run)
    (claim,) = view.once(claims)
    assert (claim.seeds, claim.pairs, claim.verdict) == (4, 4 * N, "worse")
    told = answer(view)
    assert not told.claimed
    assert "With 120 prompts and 4 seeds no tau is shown to be no worse" in told.lines[0]
    assert "103" not in " ".join(told.lines)
    assert told.lines[0] in text
