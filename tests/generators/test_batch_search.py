"""The batch size is where rows stop getting cheaper, never more than memory holds, and measured once."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from simulated_card import simulated_card

from common.errors import UserError
from generators import batch_search
from generators.acceleration import Acceleration
from generators.batch_search import FOLDER, GAIN, Timed, all_remembered, largest_batch, others_have, resolved, search
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.device_memory import free_bytes, own_bytes
from generators.families.kandinsky import Kandinsky
from generators.settings import GenerationSettings

# milliseconds a row that were measured of mini-kandinsky on two cores, by rows in a call
MINIATURE = {1: 10.9, 2: 6.5, 4: 4.6, 8: 3.6, 16: 3.0, 32: 2.8, 64: 2.9}
PLENTY = float("inf")


def timer(milliseconds: dict[int, float], fits: int = 1 << 20, row: int = 0, asked: list[int] | None = None):
    """A machine on which a row takes so long, `fits` rows fit, and each takes `row` bytes."""

    def timed(rows: int) -> Timed | None:
        if asked is not None:
            asked.append(rows)
        each = milliseconds.get(rows, milliseconds[max(milliseconds)])
        return Timed(rows=rows, first=1, seconds=each * rows / 1000, bytes=100 + row * rows) if rows <= fits else None

    return timed


def test_the_miniature_on_two_cores_is_best_at_its_default():
    found = search({}, timer(MINIATURE), PLENTY)
    assert (found.rows, found.ended) == (batch_search.BATCH_SIZE, "throughput")
    assert "32: 357" in str(found), "a person sees why"


def test_one_size_that_gains_nothing_does_not_end_the_search():
    found = search({}, timer({1: 10, 2: 5, 4: 5, 8: 2, 16: 2}), PLENTY)
    assert found.rows == 8


def test_memory_that_runs_out_ends_it():
    found = search({}, timer(MINIATURE, fits=11), PLENTY)
    assert (found.rows, found.ended, [each.rows for each in found.sizes]) == (8, "memory", [1, 2, 4, 8])


def test_what_would_not_leave_the_reserve_is_not_tried():
    asked: list[int] = []
    found = search({}, timer(MINIATURE, row=10, asked=asked), 100 + 10 * 16)
    assert (found.ended, max(asked)) == ("memory", 16)


def test_a_row_that_does_not_fit_is_a_clear_error():
    with pytest.raises(UserError, match="a single row"):
        search({}, timer(MINIATURE, fits=0), PLENTY)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=11), st.integers(1, 2000))
def test_whatever_was_measured_the_choice_fits_and_is_nearly_the_fastest(milliseconds, fits):
    asked: list[int] = []
    found = search({}, timer({1 << i: each for i, each in enumerate(milliseconds)}, fits, asked=asked), PLENTY)
    chosen = next(each for each in found.sizes if each.rows == found.rows)
    assert chosen.rows <= fits
    assert chosen.rate * (1 + GAIN) >= max(each.rate for each in found.sizes) * (1 - 1e-9)
    assert asked == [1 << i for i in range(len(asked))], "doubling, each size once"


@pytest.mark.parametrize(
    ("asked", "device", "found"),
    [
        (None, "cpu", (32, "default")),
        (None, "cuda:1", ("auto", "default")),
        (8, "cuda", (8, "given")),
        ("auto", "cpu", ("auto", "given")),
    ],
)
def test_defaults_belong_to_the_device(asked, device, found):
    assert resolved(asked, device) == found


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


@pytest.fixture(scope="module")
def settings(family: Kandinsky) -> GenerationSettings:
    return family.settings_type.resolve(family.entry.defaults, {"steps": 3, "prior_steps": 2, "dtype": "fp32"})


@pytest.fixture(scope="module")
def conditioning(family: Kandinsky, settings: GenerationSettings) -> Conditioning:
    return family.encode(["a fox", "a boat"], ["a", "b"], settings)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Latents in every denoiser call; searches are short, and their cache is the test's own."""
    rows, predict = [], Kandinsky.predict
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(batch_search, "MOST", 4)
    monkeypatch.setattr(batch_search, "SECONDS", 0)
    monkeypatch.setattr(batch_search, "_unwritten", {})

    def counted(self, latents, k, sampler, conditioned, settings):
        assert all(len(tensor) == len(latents) for tensor in conditioned.values())
        rows.append(len(latents))
        return predict(self, latents, k, sampler, conditioned, settings)

    monkeypatch.setattr(Kandinsky, "predict", counted)
    return rows


def test_it_is_measured_once_and_what_was_measured_is_kept(family, settings, conditioning, calls):
    rows, origin, what = largest_batch(family, "w", conditioning, settings)
    assert origin == "measured"
    assert calls[:8] == [1, 1, 1, 1, 2, 2, 2, 2], "a first call apart, then several"
    (found,) = all_remembered()
    assert found.rows == rows
    assert found.about["weights"] == "w"
    calls.clear()
    assert largest_batch(family, "w", conditioning, settings) == (rows, "remembered", what)
    assert not calls


@pytest.mark.parametrize(
    "change", [{"weights": "other"}, {"height": 2}, {"guidance": 1.0}, {"dtype": "bf16"}, {"torch": "9"}]
)
def test_another_model_size_guidance_type_or_library_is_measured_for_itself(
    family, settings, conditioning, calls, monkeypatch, change
):
    largest_batch(family, "w", conditioning, settings)
    calls.clear()
    if "torch" in change:
        monkeypatch.setattr(torch, "__version__", change.pop("torch"))
    weights = change.pop("weights", "w")
    if "height" in change:
        change["height"] *= settings.height
    assert largest_batch(family, weights, conditioning, settings.model_copy(update=change))[1] == "measured"
    assert calls


@pytest.mark.usefixtures("calls")
def test_seeds_steps_and_how_strong_guidance_is_change_no_shape(family, settings, conditioning):
    largest_batch(family, "w", conditioning, settings)
    other = settings.model_copy(update={"seed": 7, "steps": 5, "guidance": settings.guidance + 1})
    assert largest_batch(family, "w", conditioning, other)[1] == "remembered"


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize("harm", [lambda text: text[:-9], lambda _: "{}", lambda text: text.replace('"rows"', '"r"')])
def test_a_damaged_file_is_measured_again(family, settings, conditioning, tmp_path, harm):
    largest_batch(family, "w", conditioning, settings)
    (path,) = (tmp_path / "cache" / FOLDER).iterdir()
    path.write_text(harm(path.read_text()))
    assert largest_batch(family, "w", conditioning, settings)[1] == "measured"
    assert largest_batch(family, "w", conditioning, settings)[1] == "remembered"


@pytest.mark.usefixtures("calls")
def test_a_cache_that_cannot_be_written_measures_once_a_process(family, settings, conditioning, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "file"))
    assert largest_batch(family, "w", conditioning, settings)[1] == "measured"
    assert largest_batch(family, "w", conditioning, settings)[1] == "remembered"


def test_no_batch_is_larger_than_the_run_and_a_larger_run_measures_again(family, settings, conditioning, calls):
    rows, origin, _ = largest_batch(family, "w", conditioning, settings, 3)
    assert rows <= 3
    assert (origin, set(calls)) == ("measured", {1, 2, 3})
    assert largest_batch(family, "w", conditioning, settings, 2)[1] == "remembered"
    calls.clear()
    assert largest_batch(family, "w", conditioning, settings, 100)[1] == "measured"
    assert max(calls) == batch_search.MOST
    assert largest_batch(family, "w", conditioning, settings, 3)[1] == "remembered"


@pytest.mark.parametrize(("others", "kept"), [(20, 0), (1, 1)])
def test_what_ended_on_a_card_that_others_fill_is_not_remembered(
    family, settings, conditioning, calls, monkeypatch, others, kept
):
    predict = Kandinsky.predict

    def full(self, latents, *rest):
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(self, latents, *rest)

    monkeypatch.setattr(Kandinsky, "predict", full)
    with simulated_card(24, others) as card:
        assert others_have("cuda:0") == pytest.approx(others / 24)
        assert free_bytes("cuda:0") + own_bytes("cuda:0") == card.total - card.others
        monkeypatch.setattr(batch_search, "others_have", lambda _: others_have("cuda:0"))
        rows, origin, what = largest_batch(family, "w", conditioning, settings)
    assert (rows, origin) == (1, "measured")
    assert len(all_remembered()) == kept
    assert ("not remembered" in what) is not bool(kept)


@pytest.mark.usefixtures("calls")
def test_a_call_that_memory_refuses_ends_the_search(family, settings, conditioning, monkeypatch):
    predict = Kandinsky.predict

    def small(self, latents, *rest):
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(self, latents, *rest)

    monkeypatch.setattr(Kandinsky, "predict", small)
    rows, _, what = largest_batch(family, "w", conditioning, settings)
    assert rows == 1
    assert "memory" in what


def test_a_compiled_denoiser_is_not_compiled_for_every_size(family, settings, conditioning, calls, monkeypatch):
    monkeypatch.setattr(family, "acceleration", Acceleration(compilation="full"))
    assert largest_batch(family, "w", conditioning, settings)[:2] == (batch_search.BATCH_SIZE, "default")
    assert not calls


@pytest.mark.usefixtures("calls")
def test_what_changes_how_fast_a_call_is_is_measured_for_itself(family, settings, conditioning, monkeypatch):
    largest_batch(family, "w", conditioning, settings)
    monkeypatch.setattr(family, "_accelerated", {**family.accelerate(), "channels_last": True})
    assert largest_batch(family, "w", conditioning, settings)[1] == "measured"


@pytest.mark.usefixtures("calls")
def test_another_error_is_not_taken_for_memory(family, settings, conditioning, monkeypatch):
    def broken(self, *rest):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Kandinsky, "predict", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        largest_batch(family, "w", conditioning, settings)
