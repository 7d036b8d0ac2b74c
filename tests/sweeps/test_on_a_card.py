"""Sweeps on a simulated CUDA device: tensors that meet are together, and memory is what the plan says by phase."""

import re
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
from generators.component import Component
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


def predicted(made: Made, parts: Sequence[Component], offload: str) -> dict[str, int]:
    family, settings = made.family, made.settings
    return peaks(
        parts,
        family.latent_shape(settings),
        len(PROMPTS),
        "fp32",
        batch_size=len(PROMPTS),
        remembered=family.sampler(settings).remembered,
        offload=offload,
    )


def weights(parts: Sequence[Component], *phases: str) -> int:
    return sum(parameters(part) * BYTES["fp32"] for part in parts if part.phase in phases)


@pytest.mark.parametrize("name", ["kandinsky", "stable-unclip", "xl"])
def test_offload_makes_the_same_pictures_in_the_memory_that_is_planned(name: str, folders, card):
    whole = made(name, folders[name], card, "none")
    parts, before = whole.family.components(whole.settings), {"none": 0}
    for offload in ("none", "model", "sequential"):
        there = before.get(offload, card.live)
        run = whole if offload == "none" else made(name, folders[name], card, offload)
        assert np.array_equal(run.pictures, whole.pictures), offload
        for phase, planned in predicted(run, parts, offload).items():
            slack = 0
            if phase == "encode":  # a prompt's states stay while the next are encoded, and one prior stays whole
                slack = LITTLE + (weights(parts, "encode") if offload == "sequential" else 0)
            if phase == "decode" and offload == "model":  # until the decoder is called the denoiser is there
                planned = max(planned, weights(parts, "denoise"))
            assert run.most[phase] - there == pytest.approx(planned, rel=0.25, abs=slack), (offload, phase)
        if offload != "none":
            assert run.left - there < LITTLE, "nothing stays"
            assert run.most["denoise"] - there < whole.most["denoise"]


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
    few |= {"height": 32, "width": 32} if name == "flux" else {}
    with simulated_card(float64=False) as card:
        run = swept(folders[name], tmp_path / "run", card, tau="0.6", prompt=PROMPTS[:2], **few)
        assert [record.status for record in run.records] == ["done"], [record.error for record in run.records]
        assert card.live < LITTLE, "everything left"


def test_a_miniature_that_borrows_components_sweeps_offloaded(card, tmp_path):
    run = swept("mini-flux", tmp_path / "run", card, tau="1", prompt=PROMPTS[:2], offload="model")
    assert [record.status for record in run.records] == ["done"]
    assert run.began["denoise"] < LITTLE, "encoders left"
    assert card.live < LITTLE


@pytest.fixture(scope="module")
def free(tiny, folders, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A sweep with scorers on a card that is large enough."""
    with simulated_card() as card:
        run = swept(folders["kandinsky"], tmp_path_factory.mktemp("free") / "run", card, tau="0.6", **scoring(tiny))
        assert card.live < LITTLE, "scorers left when they had scored"
        return run


def scoring(tiny) -> dict[str, object]:
    return {"metric": [f"vqa={tiny.vqa}", f"clip_diversity={tiny.clip}"], "prior_steps": 2}


def test_what_a_phase_does_not_need_has_left(free):
    assert [record.status for record in free.records] == ["done"], [record.error for record in free.records]
    assert not [note for note in free.notes if "memory ran out" in note]
    assert free.began["encode"] < LITTLE, "scorers left when they had seen the prompts"
    assert free.began["denoise"] < LITTLE, "encoders left"
    assert free.began["score"] < LITTLE, "the denoiser left"


@pytest.mark.parametrize("how", [{"isolate": True}, {"official": True, "steps": "2", "guidance": 2}])
def test_encoders_leave_however_it_is_run(how: dict[str, object], folders, free, card, tmp_path):
    run = swept(folders["kandinsky"], tmp_path / "run", card, prior_steps=2, tau="0.6", **how)
    assert [record.status for record in run.records] == ["done"], [record.error for record in run.records]
    denoiser_and_decoder = free.began["decode"]
    assert run.began["denoise"] < (denoiser_and_decoder if "isolate" in how else 0) + LITTLE
    assert card.live < LITTLE


def test_images_without_a_sweep_let_encoders_go(folders, card, tmp_path):
    spec, watch = spec_of(folders["stable-diffusion"], tau="0.6", offload="sequential"), Watch(card)
    session = Session.of(spec, DEVICE, watch)
    (cell,) = cells(spec, DEVICE)
    job = plan_pictures(cell, tmp_path / "folder", session)
    (done,) = generate([job], session).values()
    assert not isinstance(done.manifest, Exception), done.manifest
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


@pytest.mark.parametrize(
    ("room", "offload", "tried"), [("encode", "none", 1), ("denoise", "none", 2), ("denoise", "model", 2)]
)
def test_weights_that_do_not_fit_are_one_line_and_are_not_loaded_for_every_cell(
    room, offload, tried, folders, card, loads, tmp_path
):
    asked = {"seed": "1,2", "tau": "0.3,0.6", "prior_steps": 2, "offload": offload}
    run = swept(
        folders["kandinsky"], tmp_path / "run", card, {room: 10_000 if room == "encode" else 1_000_000}, **asked
    )
    assert len(run.records) == 4
    for record in run.records:
        assert record.status == "failed"
        assert re.fullmatch("the weights of .* on cuda:0 do not fit into its memory", record.error.message)
        assert f"--offload {'model' if offload == 'none' else 'sequential'}" in record.error.hint
        assert record.error.traceback is None
    assert len(loads) == tried, "once"
    assert not [note for note in run.notes if "could not be denoised as one" in note]
    assert card.live < LITTLE, "what did fit is not kept by the errors"


def test_a_scorer_that_does_not_fit_is_named_before_pictures_are_made(tiny, folders, card, tmp_path):
    card.total = 10_000
    watch = Watch(card)
    asked = {**scoring(tiny), "metric": [f"vqa={tiny.vqa}"]}
    records = sweep(spec_of(folders["kandinsky"], **asked), tmp_path / "run", device=DEVICE, emit=watch)
    for record in records:
        assert record.error.message == f"the weights of {tiny.vqa} in fp32 on cuda:0 do not fit into its memory"
        assert "vqa:dtype=bf16" in record.error.hint
    assert "encode" not in watch.began


@pytest.mark.parametrize("phase", ["encode", "denoise", "decode", "score"])
def test_memory_that_ends_in_a_phase_makes_its_batches_smaller(phase, tiny, folders, free, card, tmp_path):
    limits = {phase: free.most[phase] - 1}
    tight = swept(folders["kandinsky"], tmp_path / "tight", card, limits, tau="0.6", **scoring(tiny))
    assert [record.status for record in tight.records] == ["done"], [record.error for record in tight.records]
    assert [note for note in tight.notes if "memory ran out" in note], tight.notes
