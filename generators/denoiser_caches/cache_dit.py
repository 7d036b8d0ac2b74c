"""cache-dit's DBCache, as serving engines use it."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import Field

from generators.denoiser_caches.base import DenoiserCache, Installed

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.utils.hooks import RemovableHandle

PACKAGE = "cache_dit"


class CacheDit(DenoiserCache):
    """Blocks between the first and last few are skipped where the first ones' residual is nearly the last computed."""

    name = "cache-dit"
    source = "DBCache of cache-dit (github.com/vipshop/cache-dit), for the transformers that it knows"

    threshold: float = Field(0.08, ge=0, lt=1, description="the relative change of the first blocks' residual below")
    first: int = Field(1, ge=1, description="always compute so many first blocks (cache-dit's Fn)")
    last: int = Field(0, ge=0, description="and so many last ones (its Bn)")
    warmup: int = Field(8, ge=0, description="compute the first so many steps")
    in_a_row: int | None = Field(None, ge=1, description="skip at most so many steps one after the other; null: any")
    taylor: int | None = Field(None, ge=1, description="extrapolate what is skipped, to this order; null: reuse it")

    @classmethod
    def unavailable(cls) -> str | None:
        return None if find_spec(PACKAGE) else "it is not installed: pip install 'reusebench[cache-dit]'"

    def install(self, denoiser: "Module", timestep: Callable[[], float]) -> "Contexts":
        import cache_dit

        for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == PACKAGE]:
            logging.getLogger(name).setLevel(logging.ERROR)  # it tells of every layer that it finds
        before = {module: set(vars(module)) for module in denoiser.modules()}
        config = cache_dit.DBCacheConfig(
            Fn_compute_blocks=self.first,
            Bn_compute_blocks=self.last,
            residual_diff_threshold=self.threshold,
            max_warmup_steps=self.warmup,
            max_continuous_cached_steps=self.in_a_row or -1,
            enable_separate_cfg=False,  # the calls of a step have contexts of their own
        )
        taylor = self.taylor and cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=self.taylor)
        contexts = Contexts(denoiser, before)
        try:
            if (adapter := cache_dit.BlockAdapterRegister.get_adapter(denoiser)) is None:
                raise TypeError("cache-dit does not know it")
            cache_dit.enable_cache(adapter, cache_config=config, calibrator_config=taylor or None)
            contexts.begin([blocks for lists in adapter.blocks for blocks in lists], self.first + self.last)
        except BaseException:
            contexts.remove()
            raise
        return contexts


class Contexts(Installed):
    """What cache-dit remembers of a denoiser, as an object that can be taken out and put back.

    Its contexts, one a list of blocks, are plain objects: counters of steps, and tensors that are replaced and never
    changed. Where a step calls the denoiser several times, as for guidance, each call has contexts of its own.
    """

    def __init__(self, denoiser: "Module", before: Mapping["Module", set[str]]) -> None:
        super().__init__()
        self.denoiser, self._before = denoiser, before
        self._manager: Any = None
        self._first: dict[str, dict[str, Any]] = {}
        self._calls: list[dict[str, Any]] = []
        self._call = 0
        self._paths: set[str] = set()
        self._handles: list[RemovableHandle] = []

    @property
    def paths(self) -> set[str]:
        return self._paths

    def begin(self, lists: "Sequence[Sequence[Module]]", always: int) -> None:
        """Note what a fresh context is made of, and from now on which blocks are computed.

        Args:
            lists: of the denoiser's blocks, each with a context.
            always: the blocks of each list that are computed at every step.

        Raises:
            TypeError: a list has no block besides.
        """
        if any(len(blocks) <= always for blocks in lists):
            raise TypeError(f"it has {' and '.join(str(len(blocks)) for blocks in lists)} blocks: none is left to skip")
        self._manager = self.denoiser._context_manager
        self._first = {name: one._init_kwargs for name, one in self._manager._cached_context_manager.items()}
        path_of = {module: path for path, module in self.denoiser.named_modules()}
        self._paths = {path_of[block] for blocks in lists for block in blocks}
        self._handles = [
            self.denoiser.register_forward_pre_hook(lambda *_: self._enter()),
            *(self._noted(block, path_of[block]) for blocks in lists for block in blocks),
        ]

    def _noted(self, block: "Module", path: str) -> "RemovableHandle":
        return block.register_forward_pre_hook(lambda *_: self.computed.add(path))

    def take(self) -> list[dict[str, Any]]:
        return [_copied(contexts) for contexts in self._calls]

    def put(self, memory: list[dict[str, Any]] | None) -> None:
        self._calls, self._call = [_copied(contexts) for contexts in memory or ()], 0

    def remove(self) -> None:
        import cache_dit

        for handle in self._handles:
            handle.remove()
        cache_dit.disable_cache(self.denoiser)
        for module, names in self._before.items():  # it leaves patched calls behind
            for name in set(vars(module)) - names:
                delattr(module, name)

    def _enter(self) -> None:
        """Let the next call of this step have its contexts, new ones if it has none."""
        if self._call == len(self._calls):
            self._manager._cached_context_manager = {}
            for name, parameters in self._first.items():
                self._manager.reset_context(name, **copy.deepcopy(parameters))
            self._calls.append(self._manager._cached_context_manager)
        self._manager._cached_context_manager = self._calls[self._call]
        self._call += 1


def _copied(value: Any) -> Any:
    """Return the value with containers and contexts of its own; tensors stay, as nobody changes them."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    if type(value).__module__.partition(".")[0] == PACKAGE and hasattr(value, "__dict__"):
        twin = copy.copy(value)
        vars(twin).update(_copied(vars(value)))
        return twin
    return value
