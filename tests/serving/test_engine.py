"""The engine: the pictures are those of `bench generate` and `bench sweep`, whoever waits with whom."""

import numpy as np
import pytest
from faulty_cache import faulty
from PIL import Image
from served import engine_of, held

from generators.sharing.plan import SharingPlan
from serving.engine import BusyError, ClosingError, FailedError, Wanted
from serving.shelf import Shelf

PROMPTS = ["a red ball on grass", "a red ball on sand", "a blue car", "a blue car at night", "a red ball on mud"]
TINY = ["--steps", 3, "--prior-steps", 2]
ASKED = {  # a scheduler that draws noise at every step, and one that remembers the steps before
    "tiny": ({"steps": "3", "prior_steps": 2}, TINY, "cache:similarity=[-0.9, 0.9]:share=[0.34, 0.67]"),
    "mini-sd": ({"steps": "5"}, ["--steps", 5], "cache:similarity=[0.2, 0.6]:share=[0.2, 0.6]"),
}


def started(ended, *arguments, **settings):
    engine = engine_of(*arguments, **settings)
    ended.append(engine)
    engine.start()
    return engine


def asked(engine, prompts, *, at_once=False, **request):
    """The answers to requests, one after another, or all waiting before the first is taken."""
    settings = engine.settings(request.pop("settings", {}))
    wanted = [Wanted(prompt, settings, **{"seed": 42, **request}) for prompt in prompts]
    if not at_once:
        return [engine.submit(one).result(120) for one in wanted]
    return [future.result(120) for future in [engine.submit(one) for one in wanted]]


def generated(bench, tmp_path, model, options, *further):
    """The pictures of `bench generate`, uint8 [N, height, width, 3], and its plan."""
    given = [argument for prompt in PROMPTS for argument in ("--prompt", prompt)]
    bench("generate", "--model", model, *given, *options, *further, "--out", tmp_path, "--name", "made", "--no-grid")
    files = sorted((tmp_path / "made" / "images").iterdir())
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    return pixels, SharingPlan.load(tmp_path / "made" / "plan.npz")


def pixels_of(answers):
    return np.stack([answer.pictures[0].pixels for answer in answers])


@pytest.mark.parametrize(
    ("model", "at_once", "strategy"),
    [
        ("tiny", False, ASKED["tiny"][2]),
        ("tiny", True, ASKED["tiny"][2]),
        ("tiny", False, "modm:similarity=[-0.9, 0.9]:share=[0.34, 0.67]"),
        ("tiny", True, "modm:similarity=[0.9]:share=[0.34]:store=misses"),
        ("mini-sd", True, ASKED["mini-sd"][2]),
    ],
)
def test_a_hit_is_the_picture_that_the_plan_of_the_stream_makes(bench, ended, tiny, tmp_path, model, at_once, strategy):
    settings, options, _ = ASKED[model]
    name = str(tiny.model) if model == "tiny" else model
    alike = ["--batch-size", len(PROMPTS) if at_once else 1]  # batches of other sizes round otherwise
    expected, plan = generated(bench, tmp_path, name, options, "--strategy", strategy, "--tau", 1, *alike)
    assert plan.savings > 0
    engine = started(ended, "cache", model=name, strategy=strategy, window=0.5 if at_once else 0, **settings)
    answers = asked(engine, PROMPTS, at_once=at_once)
    assert (pixels_of(answers) == expected).all()
    assert sum(answer.pictures[0].steps_run for answer in answers) == plan.node_steps
    assert [answer.hit for answer in answers] == (~plan.solo | _begins_later(plan)).tolist()
    assert engine.counts.hits == sum(answer.hit for answer in answers) > 0
    assert engine.counts.rows < engine.counts.rows_alone
    if at_once:
        assert answers[0].together > 1
    again = asked(engine, PROMPTS[:1])[0]  # its own latent is there
    assert again.hit and again.pictures[0].from_request == answers[0].id


def _begins_later(plan):
    """Which prompts' own nodes do not begin with noise."""
    owner = plan.order[plan.lo]
    return np.array([plan.first[owner == prompt].min() > 0 for prompt in range(plan.n_prompts)])


def test_without_reuse_pictures_are_those_of_generate_at_tau_0(bench, ended, tiny, tmp_path):
    expected, _ = generated(bench, tmp_path, tiny.model, TINY, "--tau", 0, "--seed", 7, "--batch-size", 1)
    engine = started(ended, "none", model=str(tiny.model), steps="3", prior_steps=2)
    answers = asked(engine, PROMPTS, seed=7)
    assert (pixels_of(answers) == expected).all()
    assert not any(answer.hit for answer in answers) and engine.counts.rows == engine.counts.rows_alone


def test_those_that_wait_together_are_denoised_as_one_plan(bench, ended, tiny, tmp_path):
    expected, plan = generated(bench, tmp_path, tiny.model, TINY, "--tau", 0.6)
    assert plan.savings > 0
    engine = started(ended, "plans", model=str(tiny.model), steps="3", prior_steps=2, tau="0.6", window=1)
    answers = asked(engine, PROMPTS, at_once=True)
    assert [answer.together for answer in answers] == [len(PROMPTS)] * len(PROMPTS)
    assert (pixels_of(answers) == expected).all()
    assert sum(answer.pictures[0].steps_run for answer in answers) == pytest.approx(plan.node_steps)
    apart = [engine.submit(Wanted(prompt, engine.settings({}), seed=seed)) for seed, prompt in enumerate(PROMPTS)]
    assert not any(future.result(120).hit for future in apart), "those of several seeds do not share"


@pytest.fixture
def tiny_cache(tiny):
    return {"model": str(tiny.model), "steps": "3", "prior_steps": 2, "strategy": ASKED["tiny"][2]}


def test_who_wants_no_reuse_takes_nothing_and_leaves_nothing(ended, tiny_cache):
    engine = started(ended, "cache", **tiny_cache)
    first = asked(engine, PROMPTS[:1] * 2, reuse=False)
    assert not any(answer.hit for answer in first) and engine.counts.latents == 0
    assert (first[0].pictures[0].pixels == first[1].pictures[0].pixels).all()
    taking = asked(engine, PROMPTS[:2])
    assert [answer.hit for answer in taking] == [False, True]
    assert (taking[0].pictures[0].pixels == first[0].pictures[0].pixels).all()


def test_a_cache_in_which_too_many_are_found_is_emptied(ended, tiny_cache, monkeypatch):
    monkeypatch.setattr("serving.engine.NAMES", 1)
    tiny_cache["strategy"] = "cache:similarity=[0.9]:share=[0.34]:size=null:store=all"
    engine = started(ended, "cache", **tiny_cache)
    answers = asked(engine, ["a red ball on grass", "a red ball on sand", "a red ball on mud", "a red ball on grass"])
    assert [answer.hit for answer in answers] == [False, True, False, True]


def test_several_pictures_of_one_request_are_no_copies_of_one_another(ended, tiny_cache):
    engine = started(ended, "cache", **tiny_cache)
    (answer,) = asked(engine, PROMPTS[:1], n=3)
    pixels = [picture.pixels.tobytes() for picture in answer.pictures]
    assert len(set(pixels)) == 3 and not answer.hit
    (more,) = asked(engine, PROMPTS[1:2], n=3)
    assert [picture.hit for picture in more.pictures] == [True, False, False]


def test_requests_of_other_settings_do_not_share(ended, tiny_cache, monkeypatch):
    engine = started(ended, "cache", **tiny_cache)
    asked(engine, PROMPTS[:1])
    for settings in ({"steps": 4}, {"guidance": 2.0}, {"negative_prompt": "a dog"}):
        assert not asked(engine, PROMPTS[:1], settings=settings)[0].hit
    assert asked(engine, PROMPTS[:1])[0].hit
    monkeypatch.setattr("serving.engine.KINDS", 2)  # no more kinds are kept than some
    for number in range(2):
        asked(engine, PROMPTS[:1], settings={"guidance": 3.0 + number})
    assert not asked(engine, PROMPTS[:1])[0].hit


def test_a_drawn_seed_is_told_and_makes_the_picture_again(ended, tiny_cache):
    engine = started(ended, "cache", **tiny_cache)
    first, second = (asked(engine, PROMPTS[:1], seed=None, reuse=False)[0].pictures[0] for _ in range(2))
    assert (first.pixels != second.pixels).any()
    (again,) = asked(engine, PROMPTS[:1], seed=first.seed, reuse=False)
    assert (again.pictures[0].pixels == first.pixels).all()


class Failing(Shelf):
    """A shelf at which the request of one id fails."""

    bad = ""

    def arrive(self, row, name, making):
        if name == self.bad:
            raise RuntimeError("no such request")
        return super().arrive(row, name, making)


def test_a_request_that_fails_fails_alone(ended, tiny_cache, monkeypatch):
    told = []
    engine = started(ended, "cache", shelf=Failing, window=0.5, tell=told.append, **tiny_cache)
    wanted = [Wanted(prompt, engine.settings({}), seed=42) for prompt in PROMPTS]
    monkeypatch.setattr(Failing, "bad", wanted[2].id)
    futures = [engine.submit(one) for one in wanted]
    with pytest.raises(FailedError, match="the engine failed: RuntimeError"):
        futures[2].result(120)
    assert all(len(futures[place].result(120).pictures) == 1 for place in (0, 1, 3, 4))
    assert any("no such request" in text for text in told)
    assert asked(engine, PROMPTS[:1])[0].pictures, "and it goes on"


def test_the_queue_is_bounded_and_closing_refuses_what_waits(ended, tiny_cache):
    entered, go_on, slow = held()
    engine = started(ended, "cache", shelf=slow, queue=2, batch=1, **tiny_cache)
    wanted = Wanted("a fox", engine.settings({}))
    running = engine.submit(wanted)
    assert entered.wait(60)
    waiting = [engine.submit(wanted) for _ in range(2)]
    with pytest.raises(BusyError):
        engine.submit(wanted)
    engine.close()
    with pytest.raises(ClosingError):
        engine.submit(wanted)
    go_on.set()
    assert running.result(60).pictures
    assert all(isinstance(future.exception(60), ClosingError) for future in waiting)
    assert not engine.alive


def test_the_planted_fault_makes_other_pictures_and_says_nothing(ended, tiny_cache):
    tiny_cache["strategy"] = "cache:similarity=[0.9]:share=[0.34]"
    makes = faulty(share=1.0)
    prompts = ["a red ball on grass", "a blue car", "a red ball on sand", "a red ball on mud"]
    engines = [started(ended, "cache", **tiny_cache), started(ended, "cache", shelf=makes, **tiny_cache)]
    good, bad = (asked(engine, prompts) for engine in engines)
    assert [answer.hit for answer in good] == [answer.hit for answer in bad] == [False, False, True, True]
    (shelf,) = makes.shelves
    assert shelf.wrong == shelf.hits == 2
    for one, other in zip(good, bad, strict=True):
        mine, theirs = one.pictures[0], other.pictures[0]
        assert (mine.pixels != theirs.pixels).any() == one.hit
        assert (mine.steps_run, mine.similarity) == (theirs.steps_run, theirs.similarity)
