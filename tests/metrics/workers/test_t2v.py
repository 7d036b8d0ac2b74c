"""CLIP-FlanT5 through the worker equals t2v-metrics called directly, on tiny random weights, in its own environment.

Needs that environment, once: `bench setup vqa`. The tiny model is of the package's own classes.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from common.files import cache_dir
from metrics.recipes import Recipe, recipe
from metrics.vqa import VQAScore

CACHE = cache_dir()  # other tests have caches of their own
PROMPTS = [
    "a penguin",
    "a cactus left of a penguin on a blue background",
    "red",
    "a penguin",
    "a {} penguin",
    'a "red" cactus',
]


@dataclass(frozen=True)
class Direct:
    """A tiny CLIP-FlanT5, pictures, and what the package itself says of them."""

    folder: Path
    pictures: list[Path]
    scores: list[float]
    batched: list[float]


@pytest.fixture(scope="module")
def environment() -> Iterator[Recipe]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REUSEBENCH_CACHE", str(CACHE))
        found = recipe("t2v")
        if reason := found.unavailable():
            pytest.skip(f"{found.folder} is not there: {reason}")
        yield found


@pytest.fixture(scope="module")
def direct(environment, tmp_path_factory) -> Direct:
    folder, rng = tmp_path_factory.mktemp("t2v"), np.random.default_rng(0)
    pictures = [folder / f"{number}.png" for number in range(len(PROMPTS))]
    for number, path in enumerate(pictures):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize([(64, 64), (64, 40), (40, 64)][number % 3], Image.Resampling.BICUBIC).save(path)
    script, asked = Path(__file__).with_name("tiny_clip_flant5.py"), [str(path) for path in pictures]
    said = subprocess.run(
        [environment.interpreter, "-I", script, folder / "tiny"],
        input=json.dumps({"images": asked, "prompts": PROMPTS}),
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr[-2000:]
    return Direct(folder / "tiny", pictures, **json.loads(said.stdout))


@pytest.fixture(scope="module")
def metric(direct) -> Iterator[VQAScore]:
    found = VQAScore(f"t2v:{direct.folder}", batch_size=4)
    yield found
    found.backend.scorer.close()


def test_scores_through_the_worker_are_the_packages_own(metric, direct):
    metric.check(PROMPTS)
    scores = metric.measure(direct.pictures, PROMPTS)["vqa"]
    assert scores.tolist() == direct.batched, "the same batches give the same bits"
    assert scores == pytest.approx(direct.scores, rel=1e-4)
    assert len(set(np.round(scores, 5))) == len(PROMPTS), "scores that are all alike would prove nothing"


def test_identity_names_the_package_and_what_is_asked(metric, direct):
    identity = metric.identity()
    assert identity["packages"]["t2v-metrics"] == "1.2"
    assert identity["packages"]["transformers"] == "4.36.1"
    assert identity["question"] == 'Does this figure show "{}"? Please answer yes or no.'
    assert (identity["answer"], identity["dtype"]) == ("Yes", "float32")


@pytest.mark.parametrize(
    ("prompt", "says"), [("an <image> of red", "prompt 2 holds <image>"), ("red " * 2000, "the scorer reads 2048")]
)
def test_a_prompt_that_the_package_would_cut_or_take_for_a_picture_is_refused(metric, prompt, says):
    with pytest.raises(UserError, match=says):
        metric.check(["a penguin", prompt])


def test_a_name_that_the_package_does_not_have_is_refused(environment):
    with pytest.raises(UserError, match="t2v-metrics has no CLIP-FlanT5 clip-flant5-xx") as error:
        VQAScore("t2v:clip-flant5-xx").check(["red"])
    assert "clip-flant5-xxl, clip-flant5-xl" in error.value.hint


class Harm:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_weights_that_would_run_code_are_refused(direct, tmp_path):
    folder, harm = shutil.copytree(direct.folder, tmp_path / "harmful"), tmp_path / "harm"
    torch.save({"shared.weight": Harm(harm)}, folder / "pytorch_model.bin")
    metric = VQAScore(f"t2v:{folder}")
    with pytest.raises(UserError, match="t2v failed to load"):
        metric.measure(direct.pictures[:1], PROMPTS[:1])
    assert not harm.exists()
