"""Sweeps on a simulated CUDA device: tensors that meet are together, and memory is what the plan says by phase."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from simulated_card import Card, simulated_card
from tiny_flux import save_tiny_flux
from tiny_karlo import save_tiny_karlo
from tiny_pipelines import save_tiny_pipeline
from tiny_stable_diffusion import save_tiny_stable_diffusion
from tiny_stable_unclip import save_tiny_stable_unclip

from generators import checkpoints
from generators.batching import Batches
from generators.catalogue import model
from generators.executor import decode_images, execute
from generators.families.base import Family, get_family, resolve_settings
from generators.noise import KeyedNoise
from generators.settings import GenerationSettings
from generators.sharing.plan import baseline_plan
from metrics.memory import BYTES, parameters, peaks
from sweeps.events import Event, Note, StageStarted
from sweeps.generate import generate
from sweeps.grid import cells
from sweeps.passes import sweep
from sweeps.plan import plan_pictures
from sweeps.record import Record
from sweeps.session import Session
from sweeps.spec import SweepSpec, make_spec

DEVICE = "cuda:0"
PROMPTS = ["a red fox", "a red wolf", "a blue car", "a blue van"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]
FAMILIES = ("kandinsky", "karlo", "stable-diffusion", "stable-unclip", "flux", "xl")
LITTLE = 100_000  # bytes: of schedulers, and of what is between two steps of a tiny model
PHASES = ("encode", "denoise", "decode")


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "kandinsky": tiny.model,
        "karlo": save_tiny_karlo(folder / "karlo"),
        "stable-diffusion": save_tiny_stable_diffusion(folder / "sd"),
        "stable-unclip": save_tiny_stable_unclip(folder / "unclip"),
        "flux": save_tiny_flux(folder / "flux", guidance_embeds=True),
        "xl": save_tiny_pipeline("StableDiffusionXLPipeline", folder / "xl"),
    }


@pytest.fixture
def card() -> Iterator[Card]:
    with simulated_card() as there:
        yield there


def settings_of(name: str, model_name: str) -> GenerationSettings:
    few = {"steps": 2, "dtype": "fp32"}
    few |= {"prior_steps": 2} if name in ("kandinsky", "karlo", "stable-unclip") else {}
    few |= {"super_res_steps": 2} if name == "karlo" else {}
    return resolve_settings(model(model_name), few, DEVICE)


@dataclass
class Made:
    """A batch of pictures, and the most bytes that were on the card in each phase, and after it."""

    family: Family
    settings: GenerationSettings
    pictures: np.ndarray
    most: dict[str, int] = field(default_factory=dict)
    left: int = 0


def made(name: str, folder: Path | str, card: Card, offload: str, batch: int = 4) -> Made:
    """Encode, denoise and decode by hand, as passes do."""
    entry, settings = model(str(folder)), settings_of(name, str(folder))
    family = get_family(entry.family).load(entry, DEVICE, "fp32")
    family.offload = offload
    most = {}

    def phase(name: str) -> None:
        most[name], card.peak = card.peak, card.live

    card.peak = card.live
    conditioning = family.encode(PROMPTS, KEYS, settings, Batches(batch))
    phase("encode")
    noise, plan = KeyedNoise(0), baseline_plan(len(PROMPTS), family.sampler(settings).K)
    execution = execute(plan, family, conditioning, KEYS, settings, noise=noise, batch_size=batch)
    phase("denoise")
    decoded = list(decode_images(family, execution, KEYS, settings, noise=noise, batches=Batches(batch)))
    phase("decode")
    return Made(family, settings, np.concatenate(decoded), most, card.live)


def predicted(made: Made, offload: str, batch: int = 4) -> dict[str, int]:
    family, settings = made.family, made.settings
    return peaks(
        family.components(settings),
        family.latent_shape(settings),
        len(PROMPTS),
        "fp32",
        batch_size=batch,
        remembered=family.sampler(settings).remembered,
        offload=offload,
    )


def weights(made: Made, *phases: str) -> int:
    parts = made.family.components(made.settings)
    return sum(parameters(part) * BYTES["fp32"] for part in parts if part.phase in phases)


@pytest.mark.parametrize("name", FAMILIES)
def test_offload_makes_the_same_pictures_in_the_memory_that_is_planned(name: str, folders, card):
    whole = made(name, folders[name], card, "none")
    for phase in PHASES:
        assert whole.most[phase] == pytest.approx(predicted(whole, "none")[phase], rel=0.25), phase
    assert whole.most["denoise"] < weights(whole, *PHASES) + predicted(whole, "model")["denoise"]
    for offload in ("model", "sequential"):
        whole.family.release_encoders()
        kept = card.live
        part = made(name, folders[name], card, offload)
        assert np.array_equal(part.pictures, whole.pictures), offload
        assert part.left - kept < LITTLE, "nothing stays"
        for phase in PHASES:
            most = part.most[phase] - kept
            assert most == pytest.approx(predicted(part, offload)[phase], rel=0.25), (offload, phase)


def spec_of(folder: Path | str, **asked: object) -> SweepSpec:
    few = {"model": str(folder), "prompt": PROMPTS, "steps": "2", "tau": "0,0.6", "metric": "none", "batch_size": "4"}
    quiet = {"another_seed": False, "audit": False, "dtype": "fp32"}
    return make_spec([{**few, **quiet}, asked])


@dataclass
class Watched:
    """A sweep's records, its notes, and by stage the bytes on the card when it first began and the most in it."""

    records: Sequence[Record]
    notes: list[str]
    began: dict[str, int]
    most: dict[str, int]


class Watch:
    """Hears a sweep; `limits` are the bytes that the card has from a stage on."""

    def __init__(self, card: Card, limits: dict[str, int] | None = None) -> None:
        self.card, self.limits, self.unlimited = card, limits or {}, card.total
        self.notes: list[str] = []
        self.began: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.stage = ""

    def __call__(self, event: Event) -> None:
        self.most[self.stage] = max(self.most.get(self.stage, 0), self.card.peak)
        self.card.peak = self.card.live
        if isinstance(event, Note):
            self.notes.append(event.text)
        if isinstance(event, StageStarted):
            self.stage = event.stage
            self.began.setdefault(event.stage, self.card.live)
            self.card.total = self.limits.get(event.stage, self.unlimited)


def swept(folder: Path | str, run: Path, card: Card, limits: dict[str, int] | None = None, **asked: object) -> Watched:
    watch = Watch(card, limits)
    records = sweep(spec_of(folder, **asked), run, device=DEVICE, emit=watch)
    return Watched(records, watch.notes, watch.began, watch.most)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_sweeps_on_a_card_without_double_precision(name: str, folders, tmp_path):
    few = {"prior_steps": 2} if name in ("kandinsky", "karlo", "stable-unclip") else {}
    with simulated_card(float64=False) as card:
        run = swept(folders[name], tmp_path / "run", card, tau="0.6", **few)
        assert [record.status for record in run.records] == ["done"], [record.error for record in run.records]
        assert card.live < LITTLE, "everything left"


@pytest.mark.parametrize("name", ["mini-sd", "mini-flux"])
def test_the_miniatures_sweep_offloaded(name: str, card, tmp_path):
    run = swept(name, tmp_path / "run", card, tau="1", prompt=PROMPTS[:2], offload="model")
    assert [record.status for record in run.records] == ["done"]
    assert run.began["denoise"] < LITTLE, "encoders left"
    assert card.live < LITTLE


@pytest.fixture
def scored(tiny) -> dict[str, object]:
    return {"metric": [f"vqa={tiny.vqa}", f"clip_diversity={tiny.clip}"], "prior_steps": 2}


@pytest.mark.parametrize("how", [{}, {"isolate": True}, {"official": True, "steps": "2", "guidance": 2}])
def test_what_a_phase_does_not_need_has_left(how: dict[str, object], folders, scored, card, tmp_path):
    run = swept(folders["kandinsky"], tmp_path / "run", card, **scored, **how)
    assert [record.status for record in run.records] == ["done", "done"], [record.error for record in run.records]
    assert run.began["encode"] < LITTLE, "scorers left when they had seen the prompts"
    first = "warm-up" if "isolate" in how else "denoise"
    assert run.most[first] < run.most["decode"] + LITTLE
    assert run.began["denoise"] < LITTLE or "isolate" in how
    assert run.began["score"] < LITTLE, "the denoiser left"
    assert card.live < LITTLE, "scorers left when they had scored"


def test_images_without_a_sweep_let_encoders_go(folders, card, tmp_path):
    spec, watch = spec_of(folders["stable-diffusion"], tau="0.6", offload="model"), Watch(card)
    session = Session.of(spec, DEVICE, watch)
    (cell,) = cells(spec, DEVICE)
    job = plan_pictures(cell, tmp_path / "folder", session)
    (done,) = generate([job], session).values()
    assert not isinstance(done.manifest, Exception)
    assert watch.began["denoise"] < LITTLE
    assert card.live < LITTLE


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pipelines that were brought onto the card."""
    placed, place = [], checkpoints._place
    monkeypatch.setattr(
        checkpoints, "_place", lambda pipeline, *rest: (placed.append(type(pipeline).__name__), place(pipeline, *rest))
    )
    return placed


@pytest.mark.parametrize(("room", "tried"), [("encode", 1), ("denoise", 2)])
@pytest.mark.parametrize("offload", ["none", "model"])
def test_weights_that_do_not_fit_are_one_line_and_are_not_loaded_for_every_cell(
    room, tried, offload, folders, card, loads, tmp_path
):
    limits = {"encode": 10_000} if room == "encode" else {"denoise": 10_000, "decode": 10_000}
    run = swept(
        folders["kandinsky"], tmp_path / "run", card, limits, seed="1,2", tau="0.3,0.6", prior_steps=2, offload=offload
    )
    if offload == "none":
        assert len(loads) == tried, "once"
        for record in run.records:
            assert record.status == "failed"
            assert "the weights of" in record.error.message and "cuda:0 do not fit" in record.error.message
            assert "--offload model" in record.error.hint
            assert record.error.traceback is None
        assert not [note for note in run.notes if "could not be denoised as one" in note]
    else:  # the weights come when they are called, and then it is a batch that does not fit
        assert {record.status for record in run.records} == {"failed"}
        assert all("memory ran out" in record.error.message for record in run.records)
    assert card.live < LITTLE, "what did fit is not kept by the errors"


@pytest.mark.parametrize("phase", ["encode", "denoise", "decode", "score"])
def test_memory_that_ends_in_a_phase_makes_its_batches_smaller(phase, folders, scored, card, tmp_path):
    free = swept(folders["kandinsky"], tmp_path / "free", card, tau="0.6", **scored)
    assert not [note for note in free.notes if "memory ran out" in note]
    tight = swept(folders["kandinsky"], tmp_path / "tight", card, {phase: free.most[phase] - 1}, tau="0.6", **scored)
    assert [record.status for record in tight.records] == ["done"], [record.error for record in tight.records]
    assert [note for note in tight.notes if "memory ran out" in note], tight.notes
