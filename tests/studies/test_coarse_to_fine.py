"""The study of when frequencies are settled, on a tiny model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from common.errors import UserError
from generators.conditioning import Conditioning
from generators.noise import KeyedNoise, node_key
from studies.base import get_study
from studies.coarse_to_fine import settled_share
from studies.manifest import MANIFEST, CoarseToFine
from sweeps.events import StageStarted
from sweeps.families import Families
from sweeps.grid import sources
from sweeps.spec import make_spec

PROMPTS = 4


@pytest.fixture(scope="module")
def study(tiny_spec):
    """Make it into a folder; the stages that had to be run."""

    def make(folder: Path, **settings) -> list[str]:
        events: list = []
        spec = tiny_spec(**settings)
        get_study("coarse-to-fine").make(spec, folder, device="cpu", emit=events.append)
        return [event.stage for event in events if isinstance(event, StageStarted)]

    return make


@pytest.fixture(scope="module")
def made(study, tmp_path_factory) -> CoarseToFine:
    folder = tmp_path_factory.mktemp("made") / "run"
    study(folder, batch_size=1)
    (found,) = CoarseToFine.of(folder)
    return found


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_pictures_are_what_each_step_predicts(made, tiny_spec):
    """A prompt's own trajectory, by itself, step by step."""
    (source,) = sources(tiny_spec(), "cpu")
    settings, keys, family = source.settings, source.prompts.keys, Families("cpu").get(source.entry, "fp32")
    prompt = 1
    conditioning = Conditioning.load(
        made.folder.parents[2] / "shared" / source.conditioning_key / "conditioning.safetensors"
    )
    rows = {name: tensor[[prompt]] for name, tensor in conditioning.tensors.items()}
    noise, own, sampler = (
        KeyedNoise(settings.seed, settings.noise),
        [node_key([keys[prompt]])],
        family.sampler(settings),
    )
    latents, memory = noise.initial(own, family.latent_shape(settings)) * sampler.init_sigma, ()
    assert made.steps == [0, 1, 2]
    for k in range(sampler.K):
        alpha = float(sampler._scheduler.alphas_cumprod[sampler.timesteps[k]])
        before, output = latents, family.predict(latents, k, sampler, rows, settings)
        latents, _, memory = sampler.step(
            output, k, latents, lambda shape, i, k=k: noise.step(own, k, shape[1:], i), memory
        )
        x0 = (before - (1 - alpha) ** 0.5 * output) / alpha**0.5
        picture = family.decode(x0, settings, lambda *_: torch.empty(0))[0].astype(int)
        # the scheduler's own formula rounds elsewhere
        assert np.abs(pixels(made.file(made.pictured[prompt].steps[k])) - picture).max() <= 1
    final = family.decode(latents, settings, lambda *_: torch.empty(0))[0]
    assert np.array_equal(pixels(made.file(made.pictured[prompt].final)), final)


def test_curves_and_what_follows_from_them(made):
    curves = made.curves()
    side = pixels(made.file(made.pictured[0].final)).shape[0]
    assert curves["error"].shape == (PROMPTS, made.K, len(made.bands))
    assert curves["power"].shape == (PROMPTS, made.K, side // 2)
    assert made.bands[-1][1] == side / 2
    assert np.allclose(curves["error"][:, -1], 0, atol=1e-3), "DDPM's last step gives what it predicts"
    assert np.allclose(curves["power"][:, -1], curves["final"], rtol=0.05)
    assert (curves["error"][:, 0] > 0.01).any()
    assert np.array_equal(made.settled, settled_share(curves["error"], made.tolerance))
    assert [mean.value for mean in made.mean] == pytest.approx(np.mean(made.settled, axis=0))
    assert all(mean.low <= mean.value <= mean.high for mean in made.mean)


@given(arrays(float, (3, 5, 2), elements=st.floats(0, 0.2)))
def test_settled_is_for_good(error: np.ndarray):
    for row, found in zip(error.transpose(0, 2, 1).reshape(-1, 5), settled_share(error).ravel(), strict=True):
        expected = next((k for k in range(5) if (row[k:] < 0.1).all()), 4)
        assert found == (expected + 1) / 5


def test_identity_says_whose_it_is(made):
    assert (made.dataset, made.seed, made.K, made.conditioned_on) == ("prompts", 42, 3, "image")
    assert made.identity["study"] == {"name": "coarse-to-fine", "version": 1}
    assert made.whole()


def test_what_is_done_is_kept_and_what_is_damaged_is_made_again(study, tmp_path):
    run = tmp_path / "run"
    assert "denoise" in study(run)
    (made,) = CoarseToFine.of(run)
    assert study(run) == []
    picture = made.file(made.pictured[0].final)
    before = picture.read_bytes()
    picture.write_bytes(b"no picture")
    assert not made.whole()
    assert study(run).count("encode") == 0, "conditioning is the run's"
    assert picture.read_bytes() == before
    (made.folder / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json"):
        CoarseToFine.of(run)
    assert "denoise" in study(run)


def test_the_released_codes_stream_of_noise(study, sweep, tmp_path):
    """The final pictures are the sweep's standard images."""
    study(tmp_path / "run", noise="official", tau="0", batch_size=1)
    (found,) = CoarseToFine.of(tmp_path / "run")
    (record,) = sweep(tmp_path / "run", noise="official", tau="0", batch_size=1)
    standard = record.baseline_pictures(tmp_path / "run")
    for prompt, pictured in enumerate(found.pictured):
        assert np.array_equal(pixels(found.file(pictured.final)), pixels(standard[prompt]))


def test_a_part_for_every_seed(study, tmp_path):
    study(tmp_path / "run", seed="1,2")
    assert sorted(found.seed for found in CoarseToFine.of(tmp_path / "run")) == [1, 2]


def test_another_sweeps_folder_is_refused(study, tmp_path):
    study(tmp_path / "run")
    with pytest.raises(UserError, match="another sweep: it differs in seed"):
        study(tmp_path / "run", seed=7)


def test_a_scheduler_that_cannot_say_is_refused_in_a_line(study, tmp_path, monkeypatch):
    monkeypatch.setattr("generators.sampler.predicted_x0", lambda *_: None)
    with pytest.raises(UserError, match="PNDMScheduler does not say what clean picture"):
        study(tmp_path / "run", scheduler="PNDMScheduler", steps="4")
    assert CoarseToFine.of(tmp_path / "run") == []


def test_cost_is_every_prompts_every_step(tiny_spec):
    assert get_study("coarse-to-fine").node_steps(tiny_spec(seed="1,2")) == 2 * PROMPTS * 3


def test_cost_needs_neither_weights_nor_prompts(monkeypatch):
    monkeypatch.delenv("BENCH_DATASETS", raising=False)
    spec = make_spec([{"model": "sd15,kandinsky-2.2", "dataset": "animals", "limit": 6}])
    study = get_study("coarse-to-fine")
    assert study.node_steps(spec) == 6 * (51 + 40)
    with pytest.raises(UserError, match="animals"):
        study.node_steps(spec.model_copy(update={"limit": None}))
