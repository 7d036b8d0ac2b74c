"""`--official` makes the pictures that the paper's released code makes."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import KandinskyV22Pipeline, KandinskyV22PriorPipeline
from drawn_shapes import drawn_shapes
from PIL import Image
from tiny_kandinsky import save_tiny_kandinsky

from benchmarks.published_procedure import Published, decoded, published
from common.errors import UserError
from generators.executor import execute
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from sweeps.events import StageStarted
from sweeps.generate import generate
from sweeps.grid import Cell, cells
from sweeps.jobs import Job
from sweeps.pictures import Manifest, picture_name
from sweeps.plan import baseline_job, plan_pictures
from sweeps.session import Session
from sweeps.spec import make_spec

THINGS = ("fox", "wolf", "car", "van", "tree", "ship", "house", "bird")
PROMPTS = [f"a {colour} {thing}" for thing in THINGS for colour in ("red", "blue", "green", "grey", "pink")]
STEPS, PRIOR_STEPS, SEED = 6, 3, 42
SAME = 1e-4


@dataclass(frozen=True)
class Both:
    """One set of prompts by our code and by the published procedure, and the shapes of noise that the latter drew."""

    session: Session
    cell: Cell
    plan: SharingPlan
    theirs: Published
    drawn: list[tuple[int, ...]]
    movq: torch.nn.Module


@pytest.fixture(scope="module", params=["learned_range", "fixed_small"])
def folder(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Little noise and clipped predictions: a guidance of 10 on random weights makes much of float32's rounding."""
    folder = tmp_path_factory.mktemp("official")
    return save_tiny_kandinsky(folder, variance_type=request.param, clip_sample_range=3.0, beta_end=0.002)


def cell_of(folder: Path, tau: float, **more: object) -> Cell:
    asked = {"model": str(folder), "prompt": PROMPTS, "official": True, "steps": STEPS, "prior_steps": PRIOR_STEPS}
    (cell,) = cells(make_spec([{**asked, "tau": str(tau), **more}]), "cpu")
    return cell


def session_of() -> Session:
    return Session("cpu", lambda event: None)


def plan_of(session: Session, cell: Cell) -> SharingPlan:
    tree, _ = session.grouping(cell.source, cell.strategy, cell.config.features)
    return build_plan(tree, cell.schedule, float(cell.config.tau), cell.source.steps, cell.config.combiner)


def made(job: Job, session: Session) -> Manifest:
    manifest = generate([job], session)[job.folder].manifest
    assert isinstance(manifest, Manifest), manifest
    return manifest


@pytest.fixture(scope="module", params=[0.0, 0.03, 0.1])
def both(request, folder: Path) -> Both:
    cell = cell_of(folder, request.param)
    settings = cell.source.settings
    assert (settings.guidance, settings.prior_guidance, settings.scheduler) == (10, 4, "DDPMScheduler")
    prior = KandinskyV22PriorPipeline.from_pretrained(folder / "prior", use_safetensors=True)
    decoder = KandinskyV22Pipeline.from_pretrained(folder / "decoder", use_safetensors=True)
    prior.set_progress_bar_config(disable=True)
    with drawn_shapes() as shapes:
        theirs = published(
            prior,
            decoder,
            PROMPTS,
            tau=request.param,
            steps=STEPS,
            guidance=10.0,
            prior_steps=PRIOR_STEPS,
            prior_guidance=4.0,
            seed=SEED,
            height=settings.height,
            width=settings.width,
        )
    session = session_of()
    return Both(session, cell, plan_of(session, cell), theirs, shapes, decoder.movq)


def test_the_plan_has_their_clusters(both: Both):
    assert [len(both.plan.active(k)) for k in range(STEPS)] == both.theirs.sizes
    assert both.plan.node_steps == sum(both.theirs.sizes)
    assert max(both.theirs.sizes) > 32, "there are several batches a step"


def test_there_are_splits_at_every_step_and_several_batches_at_some(folder: Path):
    cell = cell_of(folder, 0.03)
    sizes = [len(plan_of(session_of(), cell).active(k)) for k in range(STEPS)]
    assert sizes == sorted(set(sizes))
    assert sum(size > 32 for size in sizes) >= 2


def test_embeddings_are_theirs(both: Both):
    ours = both.session.encoded(both.cell.source).conditioning.tensors
    for name, theirs in zip(("image_embeds", "negative_image_embeds"), both.theirs.embeds, strict=True):
        assert (ours[name] - theirs).abs().max() <= SAME


@pytest.mark.parametrize("batch_size", [32, 7])
def test_latents_and_pictures_are_theirs(both: Both, batch_size: int):
    session, source = both.session, both.cell.source
    conditioning, noise = session.encoded(source).conditioning, session.noise(source, both.plan)
    with drawn_shapes() as shapes:
        done = execute(
            both.plan,
            session.family(source),
            conditioning,
            source.prompts.keys,
            source.settings,
            noise=noise,
            batch_size=batch_size,
        )
    theirs = [shape for shape in both.drawn if shape[1:] == shapes[0][1:]]
    assert shapes == theirs, "drawn in their batches, whatever ours are"
    assert 0.5 < both.theirs.latents.std() < 5
    assert (done.latents - both.theirs.latents).abs().max() <= SAME
    assert (decoded(both.movq, done.latents) - both.theirs.pictures).abs().max() <= SAME


def test_files_are_theirs_to_the_last_level(both: Both, tmp_path: Path):
    made(plan_pictures(both.cell, tmp_path, both.session), both.session)
    files = [np.asarray(Image.open(tmp_path / "images" / picture_name(i))) for i in range(len(PROMPTS))]
    theirs = both.theirs.pictures.permute(0, 2, 3, 1).numpy() * 255
    assert theirs.std() > 1
    assert np.abs(np.stack(files) - theirs).max() <= 0.5 + 255 * SAME


@pytest.mark.parametrize(
    "other", [{"noise": "shared"}, {"seed": 43}, {"guidance": 9}, {"prior_seed": 42}, {"prior_steps": 4}]
)
def test_flags_win_and_make_other_pictures(folder: Path, tmp_path: Path, other: dict[str, object]):
    few = {"prompt": PROMPTS[:4]}
    images = []
    for number, more in enumerate(({}, other)):
        session = session_of()
        job = plan_pictures(cell_of(folder, 0.6, **few, **more), tmp_path / str(number), session)
        images.append(made(job, session).images)
    assert not set(images[0].values()) & set(images[1].values())


def test_a_prior_seed_is_the_run_that_finds_its_embeddings_kept(folder: Path):
    """The released code keeps embeddings: its second run draws its first latent where the first drew the prior's."""
    session = session_of()
    first, second = (cell_of(folder, 0, **more).source for more in ({}, {"prior_seed": SEED}))
    for name, embeds in session.encoded(first).conditioning.tensors.items():
        assert torch.equal(embeds, session.encoded(second).conditioning.tensors[name])
    torch.manual_seed(SEED)
    plan = baseline_plan(len(PROMPTS), STEPS)
    assert torch.equal(session.noise(second, plan).initial(["any"], (4, 8, 8)), torch.randn(1, 4, 8, 8))
    assert first.conditioning_key == second.conditioning_key
    assert first.key != second.key


def test_identity_has_the_device_of_the_stream_and_only_there(folder: Path):
    official, shared = (cell_of(folder, 1, **more) for more in ({}, {"noise": "shared"}))
    assert official.identity["stream"] == "cpu"
    assert replace(official.source, stream="another card").key != official.source.key
    assert not {"stream", "prior_seed"} & {*shared.identity, *shared.identity["settings"]}
    assert official.source.conditioning_key != shared.source.conditioning_key


def test_families_that_the_released_code_does_not_run_are_refused():
    with pytest.raises(UserError, match=r"Kandinsky 2\.2 alone") as refused:
        cells(make_spec([{"official": True, "model": "mini-sd"}]), "cpu")
    assert "--noise shared" in str(refused.value)


def test_in_a_sweep_nothing_is_reused_but_all_at_tau_0(sweep, tiny_spec, tmp_path: Path):
    asked = {"official": True, "steps": 3, "prior_steps": 2}
    cell, *_ = cells(tiny_spec(**asked), "cpu")
    heights = np.unique(session_of().grouping(cell.source, cell.strategy, cell.config.features)[0].score)
    zero, shared = sweep(tmp_path / "run", **asked, tau=f"0,{(heights[1] + heights[2]) / 2:.6f}")
    assert (zero.config.tau, zero.execution.reused, zero.plan.savings) == (0, 4, 0)
    solo = SharingPlan.load(shared.folder(tmp_path / "run") / "plan.npz").solo
    assert 0 < solo.sum() < 4, "some prompts are alone all the way"
    assert shared.execution.reused == 0


def test_standard_images_are_those_of_the_released_code_at_tau_0(folder: Path, tmp_path: Path):
    cell, session = cell_of(folder, 0, prompt=PROMPTS[:7]), session_of()
    own = made(plan_pictures(cell, tmp_path / "own", session), session)
    assert own.images == made(baseline_job(cell.source, tmp_path), session).images


def test_an_interrupted_sweep_goes_on_in_the_same_stream(sweep, tmp_path: Path):
    run, asked = tmp_path / "run", {"official": True, "steps": 3, "prior_steps": 2}
    _, before = sweep(run, **asked)
    folder = before.folder(run)
    pictures = {path.name: path.read_bytes() for path in (folder / "images").iterdir()}
    (folder / "record.json").unlink()
    (folder / "generation.json").unlink()
    events = []
    sweep(run, events=events, **asked)
    assert "encode" not in [event.stage for event in events if isinstance(event, StageStarted)]
    assert {path.name: path.read_bytes() for path in (folder / "images").iterdir()} == pictures
