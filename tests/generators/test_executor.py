"""Plans are run exactly: their cost, their paths, their noise."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage
from torch import Tensor

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.denoising_checkpoints import DenoisingCheckpoints
from generators.executor import Execution, decode_images, execute
from generators.families.kandinsky import Kandinsky
from generators.noise import KeyedNoise, node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree
from generators.sharing.union import union

PROMPTS = ["a red fox", "a red dog", "a blue cat", "a tree by a lake", "two trees", "a boat", "a cat"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]
N, K = len(PROMPTS), 6


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


@pytest.fixture(scope="module")
def settings(family: Kandinsky) -> GenerationSettings:
    return family.settings_type.resolve(
        family.entry.defaults,
        {"steps": K, "guidance": 2.0, "prior_steps": 3, "dtype": "fp32", "height": 16, "width": 16},
    )


@pytest.fixture(scope="module")
def conditioning(family: Kandinsky, settings: GenerationSettings) -> Conditioning:
    return family.encode(PROMPTS, KEYS, settings)


def tree_of(conditioning: Conditioning) -> Tree:
    features = conditioning.tensors["image_embeds"].double().numpy()
    return Tree.from_linkage(linkage(features / np.linalg.norm(features, axis=1, keepdims=True), "average"))


def hierarchical(conditioning: Conditioning) -> SharingPlan:
    plan = build_plan(tree_of(conditioning), get_schedule("eq7"), 1.0, K)
    splits = set(plan.first.tolist())
    assert len(splits) > 2, "the plan must split more than once for these tests to mean something"
    return plan


def counted(family: Kandinsky) -> tuple[list[int], torch.utils.hooks.RemovableHandle]:
    """Rows of every denoiser call, guidance included."""
    rows: list[int] = []
    hook = family.decoder.unet.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["sample"])), with_kwargs=True
    )
    return rows, hook


def run(plan, family, conditioning, settings, batch_size=4, noise=None, keys=KEYS, observers=(), **more) -> Execution:
    noise = noise or KeyedNoise(settings.seed, settings.noise)
    return execute(
        plan, family, conditioning, keys, settings, noise=noise, batch_size=batch_size, observers=observers, **more
    )


def naive(prompt: int, plan: SharingPlan, family: Kandinsky, conditioning: Conditioning, settings, noise) -> Tensor:
    """One prompt's path, alone: no batches, no state shared with other prompts, plain diffusers calls."""
    unet = family.decoder.unet
    stock = family.decoder.scheduler
    kind = type(stock) if settings.scheduler == "default" else getattr(diffusers, settings.scheduler)
    scheduler = kind.from_config(stock.config)
    scheduler.set_timesteps(settings.steps)
    shape = family.latent_shape(settings)
    latent = None
    for k, t in enumerate(scheduler.timesteps):
        node = next(
            int(i) for i in range(len(plan.first)) if plan.first[i] <= k < plan.stop[i] and prompt in plan.members(i)
        )
        members = plan.members(node).tolist()
        key = node_key([KEYS[i] for i in members])
        if latent is None:
            latent = noise.initial([key], shape) * scheduler.init_noise_sigma
        means = [
            torch.stack([conditioning.tensors[name][i].double() for i in members]).mean(0).float()
            for name in ("negative_image_embeds", "image_embeds")
        ]
        with torch.no_grad():
            scaled = scheduler.scale_model_input(torch.cat([latent, latent]), t)
            output = unet(scaled, t, None, added_cond_kwargs={"image_embeds": torch.stack(means)}).sample
        (eps_negative, _), (eps, variance) = output[0].split(4), output[1].split(4)
        guided = (eps_negative + settings.guidance * (eps - eps_negative))[None]
        if kind is diffusers.DDPMScheduler:
            guided = torch.cat([guided, variance[None]], dim=1)
        drawn = noise.step([key], k, shape)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{kind.__module__}.randn_tensor", lambda *args, drawn=drawn, **kw: drawn, raising=False)
            latent = scheduler.step(guided, t, latent).prev_sample
    return latent[0]


HISTORY = ["PNDMScheduler", "UniPCMultistepScheduler", "HeunDiscreteScheduler", "EulerAncestralDiscreteScheduler"]


@pytest.mark.parametrize("scheduler", ["default", *HISTORY])
def test_hierarchical_plan_is_every_prompts_own_path(family, conditioning, settings, scheduler: str):
    settings, noise = settings.model_copy(update={"scheduler": scheduler}), KeyedNoise(settings.seed)
    plan = build_plan(tree_of(conditioning), get_schedule("eq7"), 1.0, family.sampler(settings).K)
    assert len(set(plan.first.tolist())) > 2
    done = run(plan, family, conditioning, settings, batch_size=1, noise=noise)
    cut = run(plan, family, conditioning, settings, batch_size=3, noise=noise)
    assert torch.allclose(done.latents, cut.latents, rtol=1e-3, atol=1e-4 * float(done.latents.std()))
    for prompt in range(N):
        expected = naive(prompt, plan, family, conditioning, settings, noise)
        assert torch.equal(done.latents[prompt], expected)
    assert done.prompts.tolist() == list(range(N))


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_run_costs_what_the_plan_said(family, conditioning, settings, batch_size: int):
    plan = hierarchical(conditioning)
    rows, hook = counted(family)
    done = run(plan, family, conditioning, settings, batch_size)
    hook.remove()
    assert sum(rows) == 2 * plan.node_steps  # guidance doubles the rows
    assert max(rows) <= 2 * batch_size
    assert (done.calls, done.rows) == (len(rows), plan.node_steps)
    assert done.calls == sum(-(-len(plan.active(k)) // batch_size) for k in range(K))
    assert plan.node_steps < plan.baseline_node_steps


def test_restricted_plan_runs_only_what_its_prompts_need(family, conditioning, settings):
    plan = hierarchical(conditioning)
    wanted = np.isin(np.arange(N), [1, 4])
    part = plan.restricted(wanted)
    rows, hook = counted(family)
    done = run(part, family, conditioning, settings, batch_size=1)
    hook.remove()
    assert sum(rows) == 2 * part.node_steps < 2 * plan.node_steps
    assert done.prompts.tolist() == [1, 4]
    assert torch.equal(done.latents, run(plan, family, conditioning, settings, batch_size=1).latents[[1, 4]])


def test_batch_size_changes_nothing_visible(family, conditioning, settings):
    plan = hierarchical(conditioning)
    latents = [run(plan, family, conditioning, settings, size).latents for size in (1, 3, 50)]
    for other in latents[1:]:
        assert torch.allclose(other, latents[0], rtol=1e-3, atol=1e-4 * float(latents[0].std()))


def test_order_of_prompts_changes_nothing_visible(family, conditioning, settings):
    order = np.random.default_rng(0).permutation(N)
    shuffled = Conditioning({name: tensor[order] for name, tensor in conditioning.tensors.items()})
    keys = [KEYS[i] for i in order]
    expected = run(hierarchical(conditioning), family, conditioning, settings).latents
    done = run(hierarchical(shuffled), family, shuffled, settings, keys=keys).latents
    assert torch.allclose(done, expected[order], rtol=1e-3, atol=1e-4 * float(expected.std()))


def test_prompt_alone_on_its_path_is_standards_bit_for_bit(family, conditioning, settings):
    tree = tree_of(conditioning)
    first_threshold = np.median(tree.score[tree.parent[:N]])  # half of the prompts join above it
    plan = build_plan(tree, get_schedule("eq7"), first_threshold * K / (K - 1), K)
    assert 0 < plan.solo.sum() < N
    ours = run(plan, family, conditioning, settings, batch_size=1).latents
    standard = run(baseline_plan(N, K), family, conditioning, settings, batch_size=1).latents
    assert torch.equal(ours[plan.solo], standard[plan.solo])
    assert not torch.equal(ours, standard)


def test_shared_noise_starts_every_prompt_from_one_latent(family, conditioning, settings):
    shared = settings.model_copy(update={"noise": "shared"})
    seen: list[Tensor] = []
    hook = family.decoder.unet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["sample"].clone()), with_kwargs=True
    )
    run(baseline_plan(N, K), family, conditioning, shared, batch_size=N)
    run(baseline_plan(N, K), family, conditioning, settings, batch_size=N)
    hook.remove()
    assert all(torch.equal(row, seen[0][0]) for row in seen[0])
    assert not torch.equal(seen[1][0], seen[1][1])  # step noise is each node's own
    assert not torch.equal(seen[K][0], seen[K][1])  # per-root: so is the initial latent


def test_observers_see_every_node_once_a_step(family, conditioning, settings):
    plan = hierarchical(conditioning)
    seen: list[tuple[int, list[int]]] = []
    last: dict[int, Tensor] = {}

    def observe(k, nodes, latents, x0):
        assert latents.shape == x0.shape == (len(nodes), *family.latent_shape(settings))
        seen.append((k, nodes.tolist()))
        last.update(zip(nodes.tolist(), latents.clone(), strict=True))

    done = run(plan, family, conditioning, settings, batch_size=2, observers=[observe])
    for k in range(K):
        assert [node for step, nodes in seen if step == k for node in nodes] == plan.active(k).tolist()
    assert all(torch.equal(last[int(plan.output[i])], done.latents[i]) for i in range(N))


def test_memory_running_out_halves_the_batch_and_says_so(family, conditioning, settings, monkeypatch):
    plan = hierarchical(conditioning)
    expected = run(plan, family, conditioning, settings, batch_size=8)
    forward = family.decoder.unet.forward

    def small(*args, **kwargs):
        if len(kwargs["sample"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*args, **kwargs)

    monkeypatch.setattr(family.decoder.unet, "forward", small)
    done = run(plan, family, conditioning, settings, batch_size=8)
    assert done.batch_size_used <= 3
    assert "memory ran out" in done.notes[0]
    assert done.rows == plan.node_steps
    assert torch.allclose(done.latents, expected.latents, rtol=1e-3, atol=1e-4 * float(expected.latents.std()))
    assert (expected.batch_size_used, expected.notes) == (8, ())


def test_memory_running_out_for_one_row_is_a_clear_error(family, conditioning, settings, monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(family.decoder.unet, "forward", full)
    with pytest.raises(UserError, match="single row"):
        run(baseline_plan(N, K), family, conditioning, settings)


def test_pictures_come_in_order_whatever_the_batches(family, conditioning, settings):
    done, noise = run(baseline_plan(N, K), family, conditioning, settings), KeyedNoise(settings.seed)
    images = np.concatenate(list(decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(3))))
    assert images.shape == (N, settings.height, settings.width, 3)
    assert images.dtype == np.uint8
    alone = np.concatenate(list(decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(1))))
    apart = np.abs(images.astype(int)[:, None] - alone[None]).mean((2, 3, 4))
    assert apart.argmin(1).tolist() == list(range(N))
    assert apart.diagonal().max() < 0.1


def test_what_decoding_draws_belongs_to_the_prompt(family, conditioning, settings, monkeypatch):
    """Not to its batch, nor to which clusters it went through."""

    def drawn(self, latents, settings, draw):
        both = draw((len(latents), 2), 0), draw((len(latents), 2), 1)
        assert not torch.equal(*both)
        return torch.cat(both, dim=1).numpy()

    monkeypatch.setattr(Kandinsky, "decode", drawn)
    noise, found = KeyedNoise(settings.seed), []
    for plan, size in ((baseline_plan(N, K), 3), (hierarchical(conditioning), 50)):
        done = run(plan, family, conditioning, settings)
        found.append(list(decode_images(family, done, KEYS, settings, noise=noise, batches=Batches(size))))
    assert np.array_equal(*(np.concatenate(one) for one in found))
    assert len(np.unique(np.concatenate(found[0])[:, 0])) == N


@pytest.mark.parametrize(("prompts", "steps", "message"), [(N - 1, K, "prompts"), (N, K - 1, "steps")])
def test_what_does_not_belong_together_is_refused(family, conditioning, settings, prompts, steps, message):
    with pytest.raises(ValueError, match=message):
        run(baseline_plan(prompts, steps), family, conditioning, settings)


@pytest.mark.parametrize("scheduler", ["default", "PNDMScheduler"])
def test_a_union_gives_every_plans_latents_and_denoises_what_they_share_once(
    family, conditioning, settings, scheduler: str
):
    settings = settings.model_copy(update={"scheduler": scheduler})
    steps = family.sampler(settings).K
    plans = [build_plan(tree_of(conditioning), get_schedule("eq7"), tau, steps) for tau in (0.0, 0.5, 1.0, 2.0)]
    made = union(plans)
    done = run(made.plan, family, conditioning, settings, batch_size=1, ends=(made.ends, made.prompts))
    assert done.rows == made.plan.node_steps < sum(plan.node_steps for plan in plans)
    together = run(made.plan, family, conditioning, settings, batch_size=16, ends=(made.ends, made.prompts))
    for plan, rows in zip(plans, made.rows, strict=True):
        alone = run(plan, family, conditioning, settings, batch_size=1).latents
        assert torch.equal(done.latents[rows], alone)
        assert torch.allclose(together.latents[rows], alone, rtol=1e-3, atol=1e-4 * float(alone.std()))


class KilledError(Exception):
    pass


def killed_at(step: int):
    def observe(k, nodes, latents, x0):
        if k == step:
            raise KilledError

    return [observe]


@pytest.mark.parametrize("scheduler", ["default", *HISTORY])
@pytest.mark.parametrize("step", [1, 4])
def test_a_killed_run_goes_on_from_its_last_state(family, conditioning, settings, tmp_path, scheduler: str, step: int):
    settings = settings.model_copy(update={"scheduler": scheduler})
    plan = build_plan(tree_of(conditioning), get_schedule("eq7"), 1.0, family.sampler(settings).K)
    whole = run(plan, family, conditioning, settings, batch_size=3)
    with pytest.raises(KilledError):
        run(
            plan, family, conditioning, settings, batch_size=3,
            observers=killed_at(step), checkpoints=DenoisingCheckpoints(tmp_path, "this", every=0),
        )  # fmt: skip
    rows, hook = counted(family)
    again = run(
        plan,
        family,
        conditioning,
        settings,
        batch_size=3,
        checkpoints=DenoisingCheckpoints(tmp_path, "this", every=1e9),
    )
    hook.remove()
    assert torch.equal(again.latents, whole.latents)
    assert sum(rows) == 2 * sum(len(plan.active(k)) for k in range(step, plan.steps)), "what was done is not done again"
    assert (again.calls, again.rows) == (whole.calls, whole.rows)
    assert f"after step {step} of {plan.steps}" in again.notes[0]


def test_a_resumed_run_keeps_the_batch_that_memory_allowed(family, conditioning, settings, tmp_path, monkeypatch):
    plan, forward = baseline_plan(N, K), family.decoder.unet.forward

    def small(*args, **kwargs):
        if len(kwargs["sample"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(family.decoder.unet, "forward", small)
        run(
            plan, family, conditioning, settings, batch_size=N,
            observers=killed_at(2), checkpoints=DenoisingCheckpoints(tmp_path, "this", every=0),
        )  # fmt: skip
    rows, hook = counted(family)
    checkpoints = DenoisingCheckpoints(tmp_path, "this", every=1e9)
    again = run(plan, family, conditioning, settings, batch_size=N, checkpoints=checkpoints)
    hook.remove()
    assert "resumed after step 2" in " ".join(again.notes)
    assert max(rows) <= 6, "it does not run out of memory a second time"
    assert again.batch_size_used <= 3
