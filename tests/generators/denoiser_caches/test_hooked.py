"""A denoiser cache under sharing: every path is the stock pipeline's, alone under the same cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.hooks import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig, TaylorSeerCacheConfig
from tiny_flux import save_tiny_flux
from torch import Tensor
from torch.utils.data import default_collate

from common.errors import UserError
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.denoiser_caches.base import REFUSED, denoiser_caches, get_denoiser_cache
from generators.denoiser_caches.hooked import check_place, installed
from generators.denoising_checkpoints import DenoisingCheckpoints
from generators.executor import Execution, execute
from generators.families.base import get_family, resolve_settings
from generators.families.diffusers_pipeline import DiffusersPipeline
from generators.families.prompt_returns import unpacked
from generators.noise import KeyedNoise, node_key
from generators.settings import GenerationSettings
from generators.sharing.plan import SharingPlan, baseline_plan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree

PROMPTS = ["a red fox", "a blue cat, asleep", "nine dogs", "a tree by a lake", "a red dog"]
KEYS = [f"{prompt}#0" for prompt in PROMPTS]
N, STEPS, LENGTH = len(PROMPTS), 8, 28
NOISE = KeyedNoise(1, "shared")  # one initial latent, so that a path has the same start alone
# Ours, and what diffusers calls it; with each, some steps of the tiny model are skipped and some are not.
CACHES: dict[str, tuple[dict[str, Any], Any]] = {
    "first-block": ({"threshold": 0.3}, lambda _: FirstBlockCacheConfig(threshold=0.3)),
    "pyramid-attention": (
        {"every": 3, "earliest": 950, "latest": 300},
        lambda now: PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=3,
            spatial_attention_timestep_skip_range=(300, 950),
            current_timestep_callback=now,
        ),
    ),
    "taylorseer": (
        {"interval": 2, "warmup": 2},
        lambda _: TaylorSeerCacheConfig(
            cache_interval=2, disable_cache_before_step=2, max_order=1, taylor_factors_dtype=torch.float32
        ),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_tiny_flux(tmp_path_factory.mktemp("flux"), guidance_embeds=True)


@pytest.fixture(scope="module")
def family(folder: Path) -> DiffusersPipeline:
    entry = model(str(folder))
    return get_family(entry.family).load(entry, "cpu", "fp32")


@pytest.fixture(scope="module")
def settings(family: DiffusersPipeline) -> GenerationSettings:
    asked = {"steps": STEPS, "dtype": "fp32", "max_sequence_length": LENGTH, "height": 16, "width": 16}
    return family.settings_type.resolve(family.entry.defaults, asked)


@pytest.fixture(scope="module")
def conditioning(family: DiffusersPipeline, settings: GenerationSettings) -> Conditioning:
    return family.encode(PROMPTS, KEYS, settings)


def shared_plan() -> SharingPlan:
    """Clusters split at steps 1, 3 and 5, whatever the hooks do then."""
    tree = Tree.from_linkage([[0, 1, 0.3, 2], [2, 3, 0.5, 2], [5, 6, 0.75, 4], [7, 4, 0.75, 5]])
    plan = build_plan(tree, get_schedule("eq7"), 1.0, STEPS)
    assert sorted(set(plan.first.tolist())) == [0, 1, 3, 5]
    return plan


def run(plan: SharingPlan, family, conditioning, settings, cache: Any = None, batch_size: int = 3, **more) -> Execution:
    return execute(
        plan, family, conditioning, KEYS, settings, noise=NOISE, batch_size=batch_size, cache=cache, **more
    )  # fmt: skip


def path_of(plan: SharingPlan, prompt: int) -> list[int]:
    """The node that is denoised for a prompt at each step."""
    nodes, node = [-1] * plan.steps, int(plan.output[prompt])
    while node >= 0:
        nodes[plan.first[node] : plan.stop[node]] = [node] * int(plan.stop[node] - plan.first[node])
        node = int(plan.source[node])
    return nodes


def stock_path(
    folder: Path,
    family: DiffusersPipeline,
    settings,
    rows: list[dict[str, Tensor]],
    make_config: Any,
    enable: Any = None,
) -> Tensor:
    """A path alone, on stock diffusers: a fresh transformer with its cache enabled, a fresh scheduler, one row."""
    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer").eval()
    sampler, now = family.sampler(settings), [0.0]
    if enable:
        enable(transformer)
    else:
        transformer.enable_cache(make_config(lambda: now[0]))
    latents = NOISE.initial([node_key(KEYS[:1])], family.latent_shape(settings))
    height = settings.height // 2 // (family.denoiser.vae_scale_factor)
    ids = FluxPipeline._prepare_latent_image_ids(1, height, height, torch.device("cpu"), torch.float32)
    for k, row in enumerate(rows):
        ((states, pooled, _),) = unpacked(row, torch.device("cpu"))
        now[0] = float(sampler.timesteps[k])
        with torch.no_grad(), transformer.cache_context("cond"):
            output = transformer(
                hidden_states=latents,
                timestep=sampler.timesteps[k].expand(1) / 1000,
                guidance=torch.full([1], settings.guidance),
                pooled_projections=pooled,
                encoder_hidden_states=states,
                txt_ids=torch.zeros(LENGTH, 3),
                img_ids=ids,
                return_dict=False,
            )[0]
        latents = sampler.step(output, k, latents, lambda shape, draw: torch.zeros(shape)).latents
    return latents


@pytest.mark.parametrize("name", sorted(CACHES))
def test_every_path_of_a_plan_is_stock_alone_under_the_same_cache(name, folder, family, settings, conditioning) -> None:
    """Bit for bit: in batches of changing rows, through splits, the hooks remember what they would alone."""
    parameters, make_config = CACHES[name]
    plan = shared_plan()
    found = run(plan, family, conditioning, settings, get_denoiser_cache(name, **parameters))
    nodes = conditioning.rows(plan, np.arange(len(plan.first)))
    for prompt in range(N):
        rows = [default_collate([nodes[node]]) for node in path_of(plan, prompt)]
        assert torch.equal(found.latents[prompt], stock_path(folder, family, settings, rows, make_config)[0])


@pytest.mark.parametrize("name", sorted(CACHES))
def test_standard_under_a_cache_is_the_stock_pipeline_with_it_enabled(
    name, folder, family, settings, conditioning
) -> None:
    parameters, make_config = CACHES[name]
    found = run(baseline_plan(N, STEPS), family, conditioning, settings, get_denoiser_cache(name, **parameters))
    pipeline = FluxPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    start = NOISE.initial([node_key(KEYS[:1])], family.latent_shape(settings))
    for prompt in range(N):
        if pipeline.transformer.is_cache_enabled:
            pipeline.transformer.disable_cache()
        pipeline.transformer.enable_cache(make_config(lambda: pipeline.current_timestep))
        row = {name: tensor[[prompt]] for name, tensor in conditioning.tensors.items()}
        ((states, pooled, _),) = unpacked(row, torch.device("cpu"))
        latents = pipeline(
            prompt_embeds=states,
            pooled_prompt_embeds=pooled,
            height=settings.height,
            width=settings.width,
            num_inference_steps=STEPS,
            guidance_scale=settings.guidance,
            latents=start.clone(),
            output_type="latent",
        ).images
        assert torch.equal(found.latents[prompt], latents[0])


@pytest.mark.parametrize("name", sorted(CACHES))
def test_skipped_modules_are_those_that_stock_does_not_call(name, folder, family, settings, conditioning) -> None:
    """Counted apart, where stock's hooks would call the module's own forward."""
    parameters, make_config = CACHES[name]
    plan = baseline_plan(1, STEPS)
    alone = Conditioning({name: tensor[:1] for name, tensor in conditioning.tensors.items()})
    cache = get_denoiser_cache(name, **parameters)
    found = execute(plan, family, alone, KEYS[:1], settings, noise=NOISE, batch_size=1, cache=cache)
    calls: dict[str, int] = {}
    plain = FluxTransformer2DModel.forward
    assert 0 < sum(found.skipped.values()) < STEPS * len(found.skipped)

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        for path in found.skipped:
            inner = self.get_submodule(path).get_submodule("to_q" if path.endswith("attn") else "attn.to_q")
            if not hasattr(inner, "counted"):
                inner.counted = inner.register_forward_hook(
                    lambda *_, path=path: calls.update({path: calls.get(path, 0) + 1})
                )
        return plain(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FluxTransformer2DModel, "forward", counting)
        stock_path(folder, family, settings, [alone.tensors] * STEPS, make_config)
    assert {path: STEPS - calls.get(path, 0) for path in found.skipped} == found.skipped


def test_batches_change_nothing(family, settings, conditioning) -> None:
    cache, plan = get_denoiser_cache("first-block", threshold=0.3), shared_plan()
    runs = [run(plan, family, conditioning, settings, cache, batch_size) for batch_size in (1, 2, 9)]
    assert all(torch.equal(runs[0].latents, other.latents) for other in runs)
    assert runs[0].skipped == runs[1].skipped == runs[2].skipped != {}


def test_a_batch_that_runs_out_of_memory_is_remembered_once(family, settings, conditioning) -> None:
    cache, plan = get_denoiser_cache("taylorseer", interval=2, warmup=2), shared_plan()
    expected = run(plan, family, conditioning, settings, cache)
    predict, failures = family.predict, []

    def failing(latents: Tensor, k: int, *rest: Any) -> Tensor:
        output = predict(latents, k, *rest)
        if k == 5 and len(failures) < 3:  # the third row of the batch: two were computed before
            failures.append(k)
            if len(failures) == 3:
                raise torch.OutOfMemoryError("made up")
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "predict", failing)
        found = run(plan, family, conditioning, settings, cache)
    assert found.notes and found.batch_size_used == 1
    assert torch.equal(found.latents, expected.latents) and found.skipped == expected.skipped


def test_no_hook_is_left_behind(family, settings, conditioning) -> None:
    plan = shared_plan()
    before = run(plan, family, conditioning, settings)
    with pytest.raises(RuntimeError, match="made up"):
        run(plan, family, conditioning, settings, get_denoiser_cache("first-block"), observers=[_broken])
    for name, (parameters, _) in CACHES.items():
        run(plan, family, conditioning, settings, get_denoiser_cache(name, **parameters))
    after = run(plan, family, conditioning, settings)
    assert torch.equal(before.latents, after.latents) and after.skipped == {}
    assert not [hook for each in family.network.modules() for hook in getattr(each, "_diffusers_hook", _NoHooks).hooks]


class _NoHooks:
    hooks: tuple = ()


def _broken(*_: Any) -> None:
    raise RuntimeError("made up")


def test_a_run_under_a_cache_is_whole(family, settings, conditioning, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whole"):
        run(
            shared_plan(), family, conditioning, settings, get_denoiser_cache("first-block"),
            checkpoints=DenoisingCheckpoints(tmp_path, "it", 0),
        )  # fmt: skip


def test_pyramid_attention_on_a_unet_is_stock_too() -> None:
    """UNets have no `enable_cache`, but the hooks find their attention; a guided call's two rows are one node's."""
    from diffusers.hooks import apply_pyramid_attention_broadcast

    entry = model("mini-sd")
    settings = resolve_settings(entry, {"steps": 6})
    family = get_family(entry.family).load(entry, "cpu", "fp32")
    conditioning = family.encode(PROMPTS[:3], KEYS[:3], settings)
    cache = get_denoiser_cache("pyramid-attention", every=2, cross_every=3, earliest=900, latest=200)
    noise, K = KeyedNoise(1), family.sampler(settings).K
    found = execute(
        baseline_plan(3, K), family, conditioning, KEYS[:3], settings, noise=noise, batch_size=3, cache=cache
    )
    assert {path.rpartition(".")[2] for path in found.skipped} == {"attn1", "attn2"}
    other = get_family(entry.family).load(entry, "cpu", "fp32")
    unet, sampler, now, memory = other.denoiser.unet, other.sampler(settings), [0.0], ()
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        cross_attention_block_skip_range=3,
        spatial_attention_timestep_skip_range=(200, 900),
        cross_attention_timestep_skip_range=(200, 900),
        current_timestep_callback=lambda: now[0],
    )
    apply_pyramid_attention_broadcast(unet, config)
    latents = noise.initial([node_key(KEYS[:1])], other.latent_shape(settings)) * sampler.init_sigma
    rows = {name: tensor[:1] for name, tensor in conditioning.tensors.items()}
    for k in range(K):
        now[0] = float(sampler.timesteps[k])
        output = other.predict(latents, k, sampler, rows, settings)
        step = sampler.step(
            output, k, latents, lambda shape, i, k=k: noise.step([node_key(KEYS[:1])], k, shape[1:], i), memory
        )
        latents, memory = step.latents, step.memory
    assert torch.equal(found.latents[0], latents[0])


# cache-dit

needs_cache_dit = pytest.mark.skipif(denoiser_caches()["cache-dit"].unavailable() is not None, reason="not installed")
WAYS = [{"threshold": 0.3, "warmup": 2}, {"threshold": 0.3, "warmup": 3, "taylor": 1, "in_a_row": 2}]


def enable_cache_dit(which: Any, threshold: float, warmup: int, taylor: int | None = None, in_a_row: int = -1) -> None:
    """As its documentation does."""
    import cache_dit

    config = cache_dit.DBCacheConfig(
        Fn_compute_blocks=1,
        residual_diff_threshold=threshold,
        max_warmup_steps=warmup,
        max_continuous_cached_steps=in_a_row,
    )
    taylorseer = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=taylor) if taylor else None
    cache_dit.enable_cache(which, cache_config=config, calibrator_config=taylorseer)


@needs_cache_dit
@pytest.mark.parametrize("parameters", WAYS)
def test_every_path_of_a_plan_is_cache_dit_on_it_alone(parameters, folder, family, settings, conditioning) -> None:
    """Bit for bit, through splits and in any batch: its memory is a node's and follows the path."""
    plan, cache = shared_plan(), get_denoiser_cache("cache-dit", **parameters)
    found = run(plan, family, conditioning, settings, cache)
    nodes = conditioning.rows(plan, np.arange(len(plan.first)))
    for prompt in range(N):
        rows = [default_collate([nodes[node]]) for node in path_of(plan, prompt)]
        alone = stock_path(folder, family, settings, rows, None, lambda stock: enable_cache_dit(stock, **parameters))
        assert torch.equal(found.latents[prompt], alone[0])
    assert 0 < sum(found.skipped.values()) < len(found.skipped) * plan.node_steps
    assert torch.equal(found.latents, run(plan, family, conditioning, settings, cache, batch_size=9).latents)


@needs_cache_dit
def test_standard_under_cache_dit_is_the_stock_pipeline_with_it_enabled(folder, family, settings, conditioning) -> None:
    found = run(baseline_plan(N, STEPS), family, conditioning, settings, get_denoiser_cache("cache-dit", **WAYS[0]))
    pipeline = FluxPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    enable_cache_dit(pipeline, **WAYS[0])
    start = NOISE.initial([node_key(KEYS[:1])], family.latent_shape(settings))
    for prompt in range(N):
        ((states, pooled, _),) = unpacked(
            {name: one[[prompt]] for name, one in conditioning.tensors.items()}, torch.device("cpu")
        )
        latents = pipeline(
            prompt_embeds=states,
            pooled_prompt_embeds=pooled,
            height=settings.height,
            width=settings.width,
            num_inference_steps=STEPS,
            guidance_scale=settings.guidance,
            latents=start.clone(),
            output_type="latent",
        ).images
        assert torch.equal(found.latents[prompt], latents[0])


@needs_cache_dit
def test_skipped_blocks_are_those_that_are_not_called_and_nothing_is_left_behind(
    family, settings, conditioning
) -> None:
    plan = shared_plan()
    before = run(plan, family, conditioning, settings)
    attributes = {module: set(vars(module)) for module in family.network.modules()}
    calls: dict[str, int] = {}
    blocks = [
        *family.network.transformer_blocks.named_children(),
        *family.network.single_transformer_blocks.named_children(),
    ]
    counting = [
        block.attn.to_q.register_forward_hook(lambda *_, place=place: calls.update({place: calls.get(place, 0) + 1}))
        for place, (_, block) in enumerate(blocks)
    ]
    found = run(plan, family, conditioning, settings, get_denoiser_cache("cache-dit", **WAYS[0]))
    for hook in counting:
        hook.remove()
    assert sum(found.skipped.values()) == plan.node_steps * len(blocks) - sum(calls.values()) > 0
    assert torch.equal(before.latents, run(plan, family, conditioning, settings).latents)
    assert {module: set(vars(module)) for module in family.network.modules()} == attributes


@needs_cache_dit
def test_the_calls_of_a_step_remember_apart(family, settings, conditioning) -> None:
    """As of pipelines that call the denoiser once with the prompt and once without: each call has its own memory."""
    row = {name: one[[0]] for name, one in conditioning.tensors.items()}
    ((states, pooled, _),) = unpacked(row, torch.device("cpu"))
    height = settings.height // 2 // family.denoiser.vae_scale_factor
    ids = FluxPipeline._prepare_latent_image_ids(1, height, height, torch.device("cpu"), torch.float32)
    latents = NOISE.initial([node_key(KEYS[:1])], family.latent_shape(settings))

    def call(scale: float) -> None:
        with torch.no_grad():
            family.network(
                hidden_states=latents * scale,
                timestep=torch.tensor([0.5]),
                guidance=torch.full([1], 3.5),
                pooled_projections=pooled,
                encoder_hidden_states=states,
                txt_ids=torch.zeros(LENGTH, 3),
                img_ids=ids,
            )

    with installed(get_denoiser_cache("cache-dit", threshold=1e-6, warmup=0), family.network) as hooks:
        memory = None
        for step in range(2):
            hooks.put(memory)
            for scale in (1.0, -3.0):
                hooks.computed.clear()
                call(scale)
                assert (hooks.computed == hooks.paths) == (step == 0), "the second step is the first again"
            memory = hooks.take()


@needs_cache_dit
def test_cache_dit_refuses_what_it_does_not_know_or_has_nothing_to_skip_in() -> None:
    with pytest.raises(UserError, match="'cache-dit' is unavailable for UNet2DConditionModel: cache-dit does not know"):
        check_place(get_denoiser_cache("cache-dit"), model("mini-sd"), resolve_settings(model("mini-sd"), {}))
    with pytest.raises(UserError, match="none is left to skip"):
        check_place(
            get_denoiser_cache("cache-dit", first=8), model("mini-flux"), resolve_settings(model("mini-flux"), {})
        )


# What cannot be had


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("first-block", "mini-sd"),
        ("first-block", "mini-kandinsky"),
        ("pyramid-attention", "mini-karlo"),
        ("taylorseer", "mini-sd"),
    ],
)
def test_a_denoiser_without_a_place_for_the_hooks_is_refused_by_name(name: str, where: str) -> None:
    entry = model(where)
    with pytest.raises(UserError, match=f"'{name}' is unavailable for UNet2DConditionModel"):
        check_place(get_denoiser_cache(name), entry, resolve_settings(entry, {}))


def test_what_a_failed_try_put_on_is_taken_off() -> None:
    from diffusers import UNet2DConditionModel

    config = model("mini-sd").config("pipeline", "unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    with pytest.raises(UserError), installed(get_denoiser_cache("taylorseer"), unet):
        pass
    assert not [each for each in unet.modules() if getattr(each, "_diffusers_hook", _NoHooks).hooks]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_diffusers_ships_besides_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(UserError, match="is not offered"):
        get_denoiser_cache(name)


def test_names_and_parameters_are_checked() -> None:
    assert get_denoiser_cache("none") is None
    assert set(denoiser_caches()) == {*CACHES, "cache-dit"}
    with pytest.raises(UserError, match="unknown denoiser cache 'first-blok'"):
        get_denoiser_cache("first-blok")
    with pytest.raises(UserError, match="no parameter 'treshold'"):
        get_denoiser_cache("first-block", treshold=1)
    with pytest.raises(UserError, match="threshold"):
        get_denoiser_cache("first-block", threshold=-1)
