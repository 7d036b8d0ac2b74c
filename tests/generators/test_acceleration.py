"""What makes denoisers faster moves pictures no further than it says, reaches every family, and is refused by name."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from scipy.cluster.hierarchy import linkage
from tiny_flux import save_tiny_flux
from tiny_karlo import save_tiny_karlo
from tiny_stable_diffusion import save_tiny_stable_diffusion
from tiny_stable_unclip import save_tiny_stable_unclip
from torch import Tensor

from common.errors import UserError
from generators.acceleration import Acceleration, uncompilable
from generators.batching import ladder
from generators.catalogue import model
from generators.executor import Execution, execute
from generators.families.base import Family, get_family, resolve_settings
from generators.noise import KeyedNoise
from generators.sharing.plan import SharingPlan, build_plan
from generators.sharing.schedule import get_schedule
from generators.sharing.tree import Tree

PROMPTS = ["a red fox", "a red dog", "a blue cat", "two trees", "a boat"]
FAMILIES = ("kandinsky", "karlo", "stable-diffusion", "stable-unclip", "flux")
COMPILER = uncompilable("cpu")
can_compile = pytest.mark.skipif(COMPILER is not None, reason=f"nothing can be compiled: {COMPILER}")
EMBEDDED = ("mini-kandinsky", "mini-karlo", "mini-sd", "mini-flux", "mini-z-image")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_kandinsky: Path) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("families")
    return {
        "kandinsky": tiny_kandinsky,
        "karlo": save_tiny_karlo(place / "karlo"),
        "stable-diffusion": save_tiny_stable_diffusion(place / "sd"),
        "stable-unclip": save_tiny_stable_unclip(place / "unclip"),
        "flux": save_tiny_flux(place / "flux", guidance_embeds=True),
    }


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Case:
    """A model, loaded anew for every option, with a plan of its prompts that splits."""

    def __init__(self, name: str, steps: int = 4) -> None:
        self.entry = model(name)
        asked = {"steps": steps, "prior_steps": 2, "dtype": "fp32", "super_res_steps": 2}
        asked = {
            name: value
            for name, value in asked.items()
            if name in get_family(self.entry.family).settings_type.model_fields
        }
        if name not in EMBEDDED and self.entry.family == "diffusers":
            asked |= {"height": 16, "width": 16}  # which no configuration of FLUX's says
        self.settings = resolve_settings(self.entry, asked)
        family = self.family()
        self.conditioning = family.encode(PROMPTS, PROMPTS, self.settings)
        rows = family.features(self.conditioning, family.features_options[0])
        tree = Tree.from_linkage(linkage(rows / (rows**2).sum(1, keepdims=True) ** 0.5, "average"))
        steps = family.sampler(self.settings).K
        tau = next(tau for tau in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6) if self.shares(self.plan_of(tree, tau, steps)))
        self.plan = self.plan_of(tree, tau, steps)
        self.plain = self.run(Acceleration())

    @staticmethod
    def plan_of(tree: Tree, tau: float, steps: int) -> SharingPlan:
        return build_plan(tree, get_schedule("eq7"), tau, steps)

    @staticmethod
    def shares(plan: SharingPlan) -> bool:
        return plan.savings > 0.1

    def family(self, dtype: str = "fp32") -> Family:
        return get_family(self.entry.family).load(self.entry, "cpu", dtype)

    @torch.no_grad()
    def output(self, acceleration: Acceleration) -> Tensor:
        """What the denoiser predicts of fresh noise, in one batch."""
        acceleration.begin()
        family, rows = self.family(), self.conditioning.tensors
        family.acceleration = acceleration
        family.accelerate()
        latents = KeyedNoise(0).initial(PROMPTS, family.latent_shape(self.settings))
        sampler = family.sampler(self.settings)
        return family.predict(latents, sampler.K // 2, sampler, rows, self.settings)

    def run(self, acceleration: Acceleration, batch_size: int = 3) -> Execution:
        acceleration.begin()
        family = self.family()
        family.acceleration = acceleration
        return self.denoised(family, batch_size)

    def denoised(self, family: Family, batch_size: int = 3) -> Execution:
        plan, noise = self.plan, KeyedNoise(self.settings.seed)
        return execute(plan, family, self.conditioning, PROMPTS, self.settings, noise=noise, batch_size=batch_size)


@pytest.fixture(scope="module")
def case(folders: dict[str, Path]) -> Callable[[str], Case]:
    known: dict[str, Case] = {}
    return lambda name: known.setdefault(name, known.get(name) or Case(str(folders[name])))


def moved(after: Tensor, before: Tensor) -> float:
    """How far the worst picture's latents are from where they were, as `Within` measures it."""
    rows, was = after.flatten(1).double(), before.flatten(1).double()
    return float(((rows - was).norm(dim=1) / was.norm(dim=1)).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_channels_last_moves_a_whole_plans_pictures_no_further_than_declared(case, name: str):
    its, option = case(name), Acceleration(channels_last=True)
    found, allowed = its.run(option), Acceleration.within("channels_last")
    assert moved(found.latents, its.plain.latents) <= allowed.latents
    assert moved(its.output(option), its.output(Acceleration())) <= allowed.output
    assert found.options == its.plain.options | {"channels_last": name != "flux"}


@pytest.mark.parametrize("name", EMBEDDED)
def test_autocast_moves_trained_models_pictures_no_further_than_declared(name: str):
    """Of models with random weights guidance makes anything of what rounding leaves."""
    its = Case(name, steps=6)
    bf16, allowed = Acceleration(autocast=True), Acceleration.within("autocast")
    found, output = its.run(bf16), its.output(bf16)
    assert 1e-4 < moved(output, its.output(Acceleration())) <= allowed.output
    assert moved(found.latents, its.plain.latents) <= allowed.latents
    assert found.latents.dtype == output.dtype == torch.float32
    assert found.options == its.plain.options | {"autocast": True}


@can_compile
@pytest.mark.parametrize(("name", "how", "batch_size"), [("kandinsky", "full", 1), ("flux", "regional", 2)])
def test_compiled_it_moves_no_further_either_and_meets_few_shapes(case, name: str, how: str, batch_size: int):
    """UNets without transformer blocks have nothing that repeats: they are compiled whole, here for one size of batch.

    Compiling takes a minute for every size of batch.
    """
    its, shapes = case(name), set[int]()
    family = its.family()
    family.acceleration = Acceleration(compilation="regional")
    count = lambda module, args, kwargs: shapes.add(len((*args, *kwargs.values())[0]))  # noqa: E731
    family.network.register_forward_pre_hook(count, with_kwargs=True)
    found = its.denoised(family, batch_size)
    assert found.options["compilation"] == how
    assert moved(found.latents, its.plain.latents) <= Acceleration.within("compilation").latents
    guided = 2 if its.settings.guidance > 1 and name != "flux" else 1
    assert shapes == {guided * size for size in ladder(batch_size)}


def test_under_autocast_weights_stay_and_products_are_in_bf16(case):
    its, seen = case("stable-diffusion"), set[torch.dtype]()
    family = its.family()
    family.acceleration = Acceleration(autocast=True)
    convolution = next(each for each in family.network.modules() if isinstance(each, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    its.denoised(family)
    assert seen == {torch.bfloat16}
    assert {each.dtype for each in family.network.parameters()} == {torch.float32}


def test_autocast_of_half_precision_is_refused_before_and_when_it_runs(case):
    its = case("kandinsky")
    half = its.settings.model_copy(update={"dtype": "bf16"})
    with pytest.raises(UserError, match="--autocast is of fp32 weights, and these are bf16"):
        Acceleration(autocast=True).check(half, "cpu")
    family = its.family("bf16")
    family.acceleration = Acceleration(autocast=True)
    with pytest.raises(UserError, match="--autocast is of fp32 weights"):
        family.accelerate()


def test_it_holds_once(case):
    """A second run of the same model wraps nothing again."""
    its = case("stable-diffusion")
    family = its.family()
    family.acceleration = Acceleration(autocast=True, channels_last=True)
    its.denoised(family)
    forward = family.network.forward
    assert torch.equal(its.denoised(family).latents, its.denoised(family).latents)
    assert family.network.forward is forward
    assert next(each for each in family.network.parameters() if each.dim() == 4).is_contiguous(
        memory_format=torch.channels_last
    )


def test_threads_are_the_processs(case):
    Acceleration(threads=1).begin()
    assert torch.get_num_threads() == 1
    its, two = case("flux"), Acceleration(threads=2)
    found, allowed = its.run(two), Acceleration.within("threads")
    assert found.options["threads"] == 2
    assert moved(found.latents, its.plain.latents) <= allowed.latents
    assert moved(its.output(two), its.output(Acceleration(threads=1))) <= allowed.output


def test_what_a_device_has_by_default_and_what_wins():
    assert Acceleration.chosen("cpu") == Acceleration()
    assert Acceleration.chosen("cuda:1").channels_last
    assert not Acceleration.chosen("cuda", channels_last=False, threads=None).channels_last


def test_every_option_declares_how_far_it_may_move_a_picture():
    assert all(0 < Acceleration.within(name).output < 1 for name in Acceleration.model_fields)


def test_without_a_compiler_compiling_is_refused_by_name(case, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    its = case("flux")
    with pytest.raises(UserError, match=r"--compile full cannot run here: .*no-such-compiler"):
        Acceleration(compilation="full").check(its.settings, "cpu")


def test_a_family_that_names_no_denoiser_can_only_have_threads():
    held = Acceleration(channels_last=True).apply(None, torch.device("cpu"), torch.float32, "mine")
    assert held["channels_last"] is False
    with pytest.raises(UserError, match="mine does not say which module denoises"):
        Acceleration(autocast=True).apply(None, torch.device("cpu"), torch.float32, "mine")
