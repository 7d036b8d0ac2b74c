"""Nodes that begin from finished pictures are made as diffusers' own image-to-image loop makes them."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from common.errors import UserError
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.denoising_checkpoints import DenoisingCheckpoints
from generators.executor import execute, leading_to
from generators.families.kandinsky import Kandinsky
from generators.noise import KeyedNoise, node_key
from generators.sharing.parts import Part, parts
from generators.sharing.plan import SharingPlan, baseline_plan

PROMPTS = ["a red fox", "a red dog", "a blue cat", "a tree by a lake", "a boat"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]
K = 6
SCHEDULERS = [
    "default",  # it draws noise at every step
    "DDIMScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
]


def plan_of(steps: int = K) -> SharingPlan:
    """0 from noise; 1 from its picture at step 2, 2 from that one's at 4; 3 parts from 1 at 3; 4 from 0's at 4."""
    first, stop = [0, 2, 3, 4, 3, 4], [steps, 3, steps, steps, steps, steps]
    source, picture = [-1, -1, 1, -1, 1, -1], [-1, 0, -1, 2, -1, 0]
    own = np.array([0, 1, 1, 2, 3, 4])
    places = np.arange(len(own))
    output = [0, 2, 3, 4, 5]
    return SharingPlan(len(PROMPTS), steps, first, stop, source, own, places, places + 1, output, "mean", picture)


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


def settings_of(family: Kandinsky, scheduler: str = "default"):
    asked = {"steps": K, "guidance": 2.0, "prior_steps": 3, "dtype": "fp32", "height": 16, "width": 16}
    return family.settings_type.resolve(family.entry.defaults, {**asked, "scheduler": scheduler})


@pytest.fixture(scope="module")
def conditioning(family: Kandinsky) -> Conditioning:
    return family.encode(PROMPTS, KEYS, settings_of(family))


def run(plan, family, conditioning, settings, batch_size=4, keys=KEYS, **more):
    noise = KeyedNoise(settings.seed, settings.noise)
    return execute(plan, family, conditioning, keys, settings, noise=noise, batch_size=batch_size, **more)


def stock(prompt: int, plan: SharingPlan, family, conditioning, settings, noise: KeyedNoise) -> Tensor:
    """One prompt's path in plain diffusers calls: `add_noise` to a finished latent, then the scheduler's own steps."""
    own = family.decoder.scheduler
    kind = type(own) if settings.scheduler == "default" else getattr(diffusers, settings.scheduler)
    shape, path, node = family.latent_shape(settings), [], int(plan.output[prompt])
    while node >= 0:
        path.insert(0, node)
        node = int(plan.source[node])
    # the family splits predicted variances off for those that do not use them
    config = {k: v for k, v in own.config.items() if kind is diffusers.DDPMScheduler or k != "variance_type"}
    scheduler = kind.from_config(config)
    scheduler.set_timesteps(settings.steps)
    begins, root = int(plan.first[path[0]]), path[0]
    key = node_key([KEYS[i] for i in plan.members(root)])
    if plan.picture[root] >= 0:
        lender = int(np.flatnonzero(plan.output == plan.picture[root])[0])
        clean = stock(lender, plan, family, conditioning, settings, noise)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begins)
        latent = scheduler.add_noise(
            clean[None], noise.renoise([key], begins, shape), scheduler.timesteps[begins : begins + 1]
        )
    else:
        latent = noise.initial([key], shape) * scheduler.init_noise_sigma
    for k in range(begins, len(scheduler.timesteps)):
        t = scheduler.timesteps[k]
        (node,) = [i for i in path if plan.first[i] <= k < plan.stop[i]]
        (who,) = plan.members(node).tolist()
        embeds = torch.stack([conditioning.tensors[name][who] for name in ("negative_image_embeds", "image_embeds")])
        with torch.no_grad():
            scaled = scheduler.scale_model_input(torch.cat([latent, latent]), t)
            output = family.decoder.unet(scaled, t, None, added_cond_kwargs={"image_embeds": embeds}).sample
        (eps_negative, _), (eps, variance) = output[0].split(4), output[1].split(4)
        guided = (eps_negative + settings.guidance * (eps - eps_negative))[None]
        if kind is diffusers.DDPMScheduler:
            guided = torch.cat([guided, variance[None]], dim=1)
        drawn = noise.step([node_key([KEYS[who]])], k, shape)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{kind.__module__}.randn_tensor", lambda *args, drawn=drawn, **kw: drawn, raising=False)
            latent = scheduler.step(guided, t, latent).prev_sample
    return latent[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_it_is_diffusers_own_image_to_image_loop(family, conditioning, scheduler: str) -> None:
    plan, settings = plan_of(), settings_of(family, scheduler)
    done = run(plan, family, conditioning, settings, batch_size=1)
    noise = KeyedNoise(settings.seed, settings.noise)
    for prompt in range(len(PROMPTS)):
        expected = stock(prompt, plan, family, conditioning, settings, noise)
        assert torch.allclose(done.latents[prompt], expected, atol=2e-5 * (1 + expected.abs().max())), prompt
    assert done.rows == plan.node_steps == 6 + 4 + 2 + 3 + 2


def test_what_begins_from_noise_is_what_it_is_alone(family, conditioning) -> None:
    settings = settings_of(family)
    whole = run(plan_of(), family, conditioning, settings, batch_size=1)
    alone = run(baseline_plan(len(PROMPTS), K), family, conditioning, settings, batch_size=1)
    assert torch.equal(whole.latents[0], alone.latents[0])
    assert not torch.allclose(whole.latents[1:], alone.latents[1:], atol=1e-3)


def test_neither_batches_nor_order_nor_what_else_is_there_matter(family, conditioning) -> None:
    plan, settings = plan_of(), settings_of(family, "UniPCMultistepScheduler")
    one = run(plan, family, conditioning, settings, batch_size=1).latents
    assert torch.allclose(one, run(plan, family, conditioning, settings, batch_size=5).latents, atol=1e-4)
    some = np.array([False, False, True, False, False])
    part = plan.restricted(some)
    assert part.node_steps == 6 + 4 + 2  # its picture's picture, and what that comes from
    assert torch.equal(run(part, family, conditioning, settings, batch_size=1).latents, one[2:3])
    back = np.arange(len(PROMPTS))[::-1].copy()
    turned = SharingPlan(
        plan.n_prompts, K, plan.first, plan.stop, plan.source, back[plan.order], plan.lo, plan.hi, plan.output[back],
        "mean", plan.picture,
    )  # fmt: skip
    keys = [KEYS[place] for place in back]
    other = run(turned, family, conditioning.taken(back), settings, batch_size=1, keys=keys).latents
    assert torch.equal(other[torch.from_numpy(back)], one)


def test_only_what_leads_to_the_needed_is_denoised(family, conditioning) -> None:
    plan, settings = plan_of(), settings_of(family)
    whole = run(plan, family, conditioning, settings, batch_size=1)
    needed = leading_to(plan, plan.output[[2]])
    assert np.flatnonzero(needed).tolist() == [0, 1, 2, 3]
    some = run(plan, family, conditioning, settings, batch_size=1, needed=needed)
    assert torch.equal(some.latents[2], whole.latents[2])
    assert some.rows == 6 + 4 + 2


@pytest.mark.parametrize("killed_at", [2, 6, 7, 11, 13, 14])
def test_a_killed_run_goes_on_in_any_stage(family, conditioning, tmp_path: Path, killed_at: int) -> None:
    plan, settings = plan_of(), settings_of(family, "UniPCMultistepScheduler")
    whole = run(plan, family, conditioning, settings, batch_size=8)
    calls = 0

    def killed(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise KeyboardInterrupt

    assert whole.calls == 14 == 6 + 4 + 2 + 2  # the stages' steps, at a batch each
    states = DenoisingCheckpoints(tmp_path, "this", every=0)
    with pytest.raises(KeyboardInterrupt):
        run(plan, family, conditioning, settings, batch_size=8, observers=[killed], checkpoints=states)
    state = DenoisingCheckpoints(tmp_path, "this", every=1e9)
    assert state.load().k == killed_at - 1
    again = run(plan, family, conditioning, settings, batch_size=8, checkpoints=state)
    assert torch.equal(again.latents, whole.latents)
    assert again.rows == whole.rows


@pytest.mark.parametrize("scheduler", SCHEDULERS[:1] + SCHEDULERS[3:4])
def test_what_was_finished_before_is_begun_from_and_not_made_again(family, conditioning, scheduler: str) -> None:
    """As a server does, to which prompts come one after another."""
    settings = settings_of(family, scheduler)
    whole = run(plan_of(), family, conditioning, settings, batch_size=1)
    plan = plan_of()
    finished = np.array([0]), whole.latents[[0]]
    done = run(plan, family, conditioning, settings, batch_size=1, finished=finished)
    assert torch.equal(done.latents, whole.latents)
    assert done.rows == whole.rows - K
    with pytest.raises(ValueError, match="left out"):
        run(baseline_plan(len(PROMPTS), K), family, conditioning, settings, finished=finished)


def test_a_picture_whose_numbers_overflowed_makes_none(family, conditioning) -> None:
    broken = conditioning.taken(np.arange(len(PROMPTS)))
    broken.tensors["image_embeds"][1] = torch.nan
    done = run(plan_of(), family, broken, settings_of(family), batch_size=1)
    assert sorted(done.overflows) == [1, 2, 3]  # 2 began from 1's picture and 3 from its latent
    assert torch.isfinite(done.latents[[0, 4]]).all()


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "LMSDiscreteScheduler", "EDMEulerScheduler"])
def test_a_scheduler_that_cannot_begin_there_is_refused_before_anything_is_denoised(
    family, conditioning, scheduler: str
) -> None:
    settings = settings_of(family, scheduler)
    denoised: list[object] = []
    with pytest.raises(UserError, match=scheduler):
        run(plan_of(family.sampler(settings).K), family, conditioning, settings, observers=[denoised.append])
    assert not denoised


def test_such_a_plan_is_one_part(family, conditioning) -> None:
    plan = plan_of()
    cut = parts(plan, rows=1)
    assert [nodes.tolist() for nodes in cut.nodes] == [[0, 1, 2, 3, 4, 5]]
    whole = Part.of(plan, cut.nodes[0])
    assert whole.plan.digest == plan.digest
    with pytest.raises(ValueError, match="not cut"):
        Part.of(plan, np.array([1, 2]))
    with pytest.raises(ValueError, match="whole"):
        run(plan, family, conditioning, settings_of(family), on_exit=lambda state: None)
