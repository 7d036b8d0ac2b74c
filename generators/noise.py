"""Noise that belongs to a node and a step, not to a batch, an order or a device."""

import hashlib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from generators.settings import noise_policy

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan

# nodes that the paper's released code denoises, and draws the noise of, at once
OFFICIAL_BATCH = 32
# ends a namespace's name in a key; no prompt's own key holds it
NAMESPACE_END = "/"
# begins the name of the namespace of prompts that have a seed of their own
SEED = "seed="


class NoiseSource(Protocol):
    """A source of the executor's noise: one row a node, in the dtype and on the device it was drawn in."""

    def initial(self, node_keys: Sequence[str], shape: tuple[int, ...]) -> Tensor:
        """Return unit-variance initial latents, [len(node_keys), *shape]."""
        ...

    def step(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        """Return the `draw`-th noise that a scheduler asks for at step k, [len(node_keys), *shape]."""
        ...

    def renoise(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...]) -> Tensor:
        """Return the fresh noise of what begins before step k, [len(node_keys), *shape].

        Copies of a prompt part with it; a finished picture that a node begins from gets it.
        """
        ...


def node_key(member_keys: Sequence[str]) -> str:
    """Return a cluster's key: the hash of its members' sorted keys, so that only its members matter.

    Members of one namespace (`in_namespace`), or of one within another, make a cluster of that namespace.

    Args:
        member_keys: the prompts' keys, one or more.

    Examples:
        >>> node_key(["fox#0", "dog#0"]) == node_key(["dog#0", "fox#0"])
        True
        >>> node_key(["fox#0"]) == node_key(["fox#1"])
        False
        >>> node_key([in_namespace("one", "fox#0")]) == "one/" + node_key(["fox#0"])
        True
        >>> node_key([in_namespace("one", seeded(7, "fox#0"))]) == "one/seed=7/" + node_key(["fox#0"])
        True
    """
    shared = posixpath.commonpath({key.rpartition(NAMESPACE_END)[0] for key in member_keys})
    namespace = f"{shared}{NAMESPACE_END}" if shared else ""
    own = sorted(key.removeprefix(namespace) for key in member_keys)
    return f"{namespace}{hashlib.sha256(chr(10).join(own).encode()).hexdigest()}"


def in_namespace(namespace: str, key: str) -> str:
    """Return a prompt's key among those of several sources of noise, as `NamespacedNoise` takes it apart again.

    Args:
        namespace: names the source; holds no slash.
        key: the prompt's own.

    Examples:
        >>> in_namespace("seed 1", "fox#0")
        'seed 1/fox#0'
    """
    return f"{namespace}{NAMESPACE_END}{key}"


def seeded(seed: int, key: str) -> str:
    """Return the key of a prompt that has a seed of its own: its noise is that of a run with this seed.

    Examples:
        >>> own, run = seeded(7, "fox#0"), KeyedNoise(7)
        >>> bool((KeyedNoise(42).step([own], 0, (2,)) == run.step(["fox#0"], 0, (2,))).all())
        True
    """
    return in_namespace(f"{SEED}{seed}", key)


def own_seed(key: str, seed: int) -> tuple[int, str]:
    """Return the seed that a key's noise is drawn from, which is `seed` unless the key names its own, and its rest.

    Examples:
        >>> own_seed(seeded(7, "fox#0"), 42), own_seed("fox#0", 42)
        ((7, 'fox#0'), (42, 'fox#0'))
    """
    if not key.startswith(SEED):
        return seed, key
    named, _, rest = key.partition(NAMESPACE_END)
    return int(named.removeprefix(SEED)), rest


def derived_key(*parts: object) -> int:
    """Return 128 bits that depend on every part and on where one part ends and the next begins.

    Examples:
        >>> derived_key(42, "step") == derived_key(42, "step")
        True
        >>> derived_key("ab", "c") == derived_key("a", "bc")
        False
    """
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=16).digest(), "big")


class KeyedNoise:
    """N(0, I) drawn from (seed, purpose, node key, step, draw).

    Philox takes the whole 128-bit key; torch's CPU generator keeps 32 bits of its seed, so that among
    100,000 draws of a run two would likely be the same.

    Args:
        seed: of the pictures whose keys name none of their own (`seeded`); several of one prompt are several seeds.
        policy: as settings have it (`noise_policy`): ``per-root`` draws an initial latent for every cluster active at
            the first step (Algorithm 1, line 13), ``shared`` one for all (the official code).

    Examples:
        >>> noise = KeyedNoise(42)
        >>> alone, among_others = noise.initial(["a"], (2, 2))[0], noise.initial(["b", "a"], (2, 2))[1]
        >>> bool((alone == among_others).all())
        True
        >>> tuple(noise.step(["a", "b", "c"], 5, (4, 8, 8)).shape)
        (3, 4, 8, 8)
    """

    def __init__(self, seed: int, policy: str = "per-root") -> None:
        self.seed = seed
        self.policy = noise_policy(policy).source

    def initial(self, node_keys: Sequence[str], shape: tuple[int, ...]) -> Tensor:
        own = [own_seed(key, self.seed) for key in node_keys]
        if self.policy == "shared":
            latents = {seed: self._row(seed, ("initial", "shared"), shape) for seed in {seed for seed, _ in own}}
            return torch.stack([latents[seed] for seed, _ in own])
        return torch.stack([self._row(seed, ("initial", key), shape) for seed, key in own])

    def step(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        own = [own_seed(key, self.seed) for key in node_keys]
        return torch.stack([self._row(seed, ("step", key, k, draw), shape) for seed, key in own])

    def renoise(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...]) -> Tensor:
        own = [own_seed(key, self.seed) for key in node_keys]
        return torch.stack([self._row(seed, ("renoise", key, k), shape) for seed, key in own])

    def _row(self, seed: int, what: tuple[object, ...], shape: tuple[int, ...]) -> Tensor:
        generator = np.random.Generator(np.random.Philox(key=derived_key(seed, *what)))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


class NamespacedNoise:
    """Several sources of noise as one: each key names its namespace, and its noise is drawn there as if alone.

    Args:
        sources: by namespace; none draws from one stream.

    Examples:
        >>> both = NamespacedNoise({"one": KeyedNoise(1), "two": KeyedNoise(2)})
        >>> rows = both.initial([in_namespace("two", "a"), in_namespace("one", "a")], (3,))
        >>> bool((rows[1] == KeyedNoise(1).initial(["a"], (3,))[0]).all())
        True
    """

    def __init__(self, sources: Mapping[str, NoiseSource]) -> None:
        self._sources = sources

    def initial(self, node_keys: Sequence[str], shape: tuple[int, ...]) -> Tensor:
        return self._drawn(node_keys, lambda source, keys: source.initial(keys, shape))

    def step(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        return self._drawn(node_keys, lambda source, keys: source.step(keys, k, shape, draw))

    def renoise(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...]) -> Tensor:
        return self._drawn(node_keys, lambda source, keys: source.renoise(keys, k, shape))

    def _drawn(self, node_keys: Sequence[str], draw: Callable[[NoiseSource, list[str]], Tensor]) -> Tensor:
        """Return what each key's source draws for it, in the order of the keys."""
        parts = [key.partition(NAMESPACE_END) for key in node_keys]
        rows: list[Tensor | None] = [None] * len(parts)
        for namespace, source in self._sources.items():
            places = [place for place, part in enumerate(parts) if part[0] == namespace]
            if places:
                for place, row in zip(places, draw(source, [parts[place][2] for place in places]), strict=True):
                    rows[place] = row
        return torch.stack([row for row in rows if row is not None])


class OfficialNoise:
    """N(0, I) from one generator, drawn in the order of the paper's released code.

    First one initial latent for all; then, step after step, the noise of the nodes in the order of their `fcluster`
    labels, `OFFICIAL_BATCH` at a time. A step's noise is drawn at once and found by node, so that whose turn it is does
    not depend on our batches; a step that nobody asks for is drawn too, so that a run can be taken up at any.
    From ddecatur/hierarchical-diffusion at 62b43d7.

    Args:
        generator: where it stands after the draws that come before, the prior's.
        dtype: of the draws: half precision numbers are others than rounded float32 ones.
        plan: whose noise it is: all of it, neither restricted nor united with others.
        order: int64 [N], the prompts as `fcluster_order` has them.
        keys: one a prompt.

    Raises:
        ValueError: the plan is no whole one, or a step is asked for after a later one.
        UserError: the scheduler draws twice a step.
    """

    def __init__(
        self,
        generator: torch.Generator,
        dtype: torch.dtype,
        plan: "SharingPlan",
        order: NDArray[np.int64],
        keys: Sequence[str],
    ) -> None:
        if np.sum((plan.stop - plan.first) * (plan.hi - plan.lo)) != plan.steps * plan.n_prompts:
            raise ValueError("the official noise is of a plan that denoises every prompt once a step")
        self._generator, self._dtype, self._plan = generator, dtype, plan
        place = np.argsort(order)
        members = [plan.members(node) for node in range(len(plan.first))]
        self._place = np.array([place[prompts].min() for prompts in members])
        self._keys = [node_key([keys[prompt] for prompt in prompts]) for prompts in members]
        self._started, self._k, self._rows = False, -1, dict[str, Tensor]()

    def initial(self, node_keys: Sequence[str], shape: tuple[int, ...]) -> Tensor:
        self._started = True
        return self._draw(1, shape).expand(len(node_keys), *shape).clone()

    def step(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        if draw:
            raise UserError(
                "this scheduler draws noise twice a step, which has no place in the released code's stream",
                "use --scheduler DDPMScheduler, or leave out --official",
            )
        if k < self._k:
            raise ValueError(f"step {k} was drawn, and step {self._k} after it")
        if not self._started:
            self.initial(["nobody"], shape)
        while self._k < k:
            self._k += 1
            self._rows = self._step_rows(self._k, shape)
        return torch.stack([self._rows[key] for key in node_keys])

    def renoise(self, node_keys: Sequence[str], k: int, shape: tuple[int, ...]) -> Tensor:
        raise ValueError("the released code's one stream has no noise for copies that part")  # settings refuse it

    def _step_rows(self, k: int, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the noise of step k, a row by node key."""
        nodes = self._plan.active(k)
        nodes = nodes[np.argsort(self._place[nodes])]
        batches = [nodes[start : start + OFFICIAL_BATCH] for start in range(0, len(nodes), OFFICIAL_BATCH)]
        rows = torch.cat([self._draw(len(batch), shape) for batch in batches])
        return {self._keys[node]: row for node, row in zip(nodes, rows, strict=True)}

    def _draw(self, rows: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(rows, *shape, generator=self._generator, device=self._generator.device, dtype=self._dtype)


def generator_name(device: str) -> str:
    """Return a name for the numbers that a generator on this device draws.

    Another kind of accelerator may draw others from the same seed.

    Examples:
        >>> generator_name("cpu")
        'cpu'
    """
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind
