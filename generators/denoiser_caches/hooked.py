"""A denoiser under a cache's hooks, whose memory belongs to the nodes of a plan.

The hooks keep their memory for one sequence of calls, and decide for a whole batch at once what to skip. So a node is
denoised in calls of its own, and what the hooks remember is taken out after each and put back before the next: a child
inherits its source's. Every path through a plan is then computed as it would be alone, whoever else is in the run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.errors import UserError
from generators.denoiser_caches.base import DenoiserCache, Installed

if TYPE_CHECKING:
    from generators.families.base import Family
    from generators.model_entry import ModelEntry
    from generators.sampler import Sampler
    from generators.settings import GenerationSettings

Memory = list[Any]
DENOISER = "denoiser"  # the name of the component that the hooks are on
REGISTRY = "_diffusers_hook"


@contextmanager
def installed(cache: DenoiserCache, denoiser: nn.Module) -> Iterator[Installed]:
    """Hang the cache's hooks on a denoiser while the block runs.

    Raises:
        UserError: they have no place there.
    """
    hooks: Installed = Hooks(denoiser)
    try:
        try:
            hooks = cache.install(denoiser, lambda: hooks.timestep) or hooks
        except Exception as error:  # libraries say in many ways that a model is not made for it
            raise _no_place(cache, denoiser, str(error) or type(error).__name__) from error
        if isinstance(hooks, Hooks):
            hooks.find()
        if not hooks.paths:
            raise _no_place(cache, denoiser, "it finds no block or attention that it knows")
        yield hooks
    finally:
        hooks.remove()


def _no_place(cache: DenoiserCache, denoiser: nn.Module, reason: str) -> UserError:
    what = f"the denoiser cache {cache.name!r} is unavailable for {type(denoiser).__name__}"
    return UserError(f"{what}: {reason.strip().partition(chr(10))[0]}", "leave --denoiser-cache out, or choose another")


def _hooks(denoiser: nn.Module) -> list[tuple[str, nn.Module, Any]]:
    """Return every hook of diffusers: the path of its module, the module, the hook."""
    return [
        (path, module, hook)
        for path, module in denoiser.named_modules()
        if hasattr(module, REGISTRY)
        for hook in getattr(module, REGISTRY).hooks.values()
    ]


def _look_again(denoiser: nn.Module) -> None:
    """Make registries list those below them anew: hooks that come and go make their lists wrong."""
    for module in denoiser.modules():
        if hasattr(module, REGISTRY):
            getattr(module, REGISTRY)._child_registries_cache = None


def _name_of(module: nn.Module, hook: Any) -> str:
    hooks: dict[str, Any] = getattr(module, REGISTRY).hooks
    return next(name for name, other in hooks.items() if other is hook)


class Hooks(Installed):
    """A cache's hooks of diffusers on one denoiser: their memory, and which modules they let compute.

    Attributes:
        own: the path of each hook's module, the module, the hook.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.own: list[tuple[str, nn.Module, Any]] = []
        self._others = {id(hook) for _, _, hook in _hooks(denoiser)}
        self._uncounted: list[tuple[Any, Callable[..., Any]]] = []

    def find(self) -> None:
        """Find the hooks that came since this was made, and note from now on which modules they let compute."""
        self.own = [entry for entry in _hooks(self.denoiser) if id(entry[2]) not in self._others]
        for path, _, hook in self.own:
            forward = hook.fn_ref.original_forward
            if forward is not None:
                self._uncounted.append((hook.fn_ref, forward))
                hook.fn_ref.original_forward = self._noted(path, forward)
        _look_again(self.denoiser)

    def remove(self) -> None:
        for reference, forward in self._uncounted:
            reference.original_forward = forward
        self._uncounted = []
        for _, module, hook in _hooks(self.denoiser):
            if id(hook) not in self._others:
                getattr(module, REGISTRY).remove_hook(_name_of(module, hook), recurse=False)
        _look_again(self.denoiser)

    def _noted(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.computed.add(path)
            return forward(*args, **kwargs)

        return noted

    @property
    def paths(self) -> set[str]:
        return {path for path, _, hook in self.own if hook.fn_ref.original_forward is not None}

    def context(self) -> Any:
        name = getattr(self.denoiser, "cache_context", None)
        return name("cond") if name else nullcontext()

    def take(self) -> Memory:
        return [
            {name: _copied(vars(state)) for name, state in holder._state_cache.items()}
            if _manages(holder)
            else _copied(vars(holder))
            for holder in self._holders()
        ]

    def put(self, memory: Memory | None) -> None:
        for place, holder in enumerate(self._holders()):
            holder.reset()
            if memory is None:
                continue
            kept = memory[place]
            if not _manages(holder):
                vars(holder).update(_copied(kept))
                continue
            for name, attributes in kept.items():
                state = holder._state_cls(*holder._init_args, **holder._init_kwargs)
                vars(state).update(_copied(attributes))
                holder._state_cache[name] = state

    def _holders(self) -> list[Any]:
        """Return the objects that keep memory, each once: hooks of several blocks may share one."""
        holders: dict[int, Any] = {}
        for _, _, hook in self.own:
            for value in vars(hook).values():
                if _manages(value) or (hasattr(value, "reset") and type(value).__name__.endswith("State")):
                    holders[id(value)] = value
        return list(holders.values())


def _manages(holder: Any) -> bool:
    return hasattr(holder, "_state_cache")


def _copied(value: Any) -> Any:
    """Return the value with containers of its own; tensors stay, as hooks replace them and never change them."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value


class Hooked:
    """A family's denoiser under a cache, for the nodes of one plan as the executor has them.

    Attributes:
        skipped: by the module's path in the denoiser, over how many node-steps it was not computed.
    """

    def __init__(self, family: "Family", hooks: Installed) -> None:
        self._family, self._hooks = family, hooks
        self._memory: dict[int, Any] = {}
        self.skipped: dict[str, int] = {}

    def enter(self, nodes: NDArray[np.int64], origin: NDArray[np.int64]) -> None:
        """Let these nodes be active, each with the memory of its `origin`, which it was or starts from; -1: none."""
        pairs = zip(nodes.tolist(), origin.tolist(), strict=True)
        self._memory = {node: self._memory[start] for node, start in pairs if start in self._memory}

    def predict(
        self,
        nodes: NDArray[np.int64],
        latents: Tensor,
        k: int,
        sampler: "Sampler",
        rows: dict[str, Tensor],
        settings: "GenerationSettings",
    ) -> tuple[Tensor, Callable[[], None]]:
        """Return what `Family.predict` does, one node after the other, and a function to call when the step is done.

        A batch that runs out of memory is tried again: nothing of it may be remembered.
        """
        hooks, outputs, after = self._hooks, [], {}
        skipped: list[str] = []
        hooks.timestep = float(sampler.timesteps[k])
        for place, node in enumerate(nodes.tolist()):
            row = slice(place, place + 1)
            hooks.put(self._memory.get(node))
            hooks.computed.clear()
            with hooks.context():
                outputs.append(
                    self._family.predict(
                        latents[row], k, sampler, {name: tensor[row] for name, tensor in rows.items()}, settings
                    )
                )
            after[node] = hooks.take()
            skipped += hooks.paths - hooks.computed

        def done() -> None:
            self._memory.update(after)
            for path in skipped:
                self.skipped[path] = self.skipped.get(path, 0) + 1

        return torch.cat(outputs), done


@contextmanager
def hooked(cache: DenoiserCache, family: "Family") -> Iterator[Hooked]:
    """Hang a cache's hooks on the family's denoiser while the block runs.

    Raises:
        UserError: the family has no single denoiser, or the hooks have no place there.
    """
    if family.network is None:
        raise UserError(f"{family.name} does not say which module denoises", "leave --denoiser-cache out")
    with installed(cache, family.network) as hooks:
        yield Hooked(family, hooks)


def check_place(cache: DenoiserCache, model: "ModelEntry", settings: "GenerationSettings") -> None:
    """Try a cache's hooks on the model's denoiser, without weights.

    Raises:
        UserError: they have no place there, and why.
    """
    from generators.families.base import get_family

    components = get_family(model.family).components_of(model, settings)
    denoiser = next((component for component in components if component.name == DENOISER), None)
    if denoiser is None:
        raise UserError(f"{model.name} does not say which module denoises", "leave --denoiser-cache out")
    with torch.device("meta"):
        network = denoiser.build()
    with installed(cache, network):
        pass
