"""The files of a diffusers checkpoint that loading reads, told by their names: the same in a folder and on the hub."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.errors import UserError

INDEX = "model_index.json"
MODULAR_INDEX = "modular_model_index.json"  # of a pipeline that diffusers makes of blocks; where there is no other
CONFIG = "config.json"
SAFE = "safetensors"
# diffusion_pytorch_model.fp16-00001-of-00002.safetensors, model.safetensors.index.fp16.json and all that lies between;
# diffusers wrote model-00001-of-00002.fp16.safetensors too.
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<before>\w+?))?"
    r"(?:-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?(?:\.(?P<behind>\w+))?"
    r"\.(?P<kind>safetensors|bin)(?P<index>\.index(?:\.(?P<of>\w+))?\.json)?"
)
# What else lies in a component's folder and is not read: weights of other formats, code.
IDLE = re.compile(r".*\.(?:safetensors|bin|msgpack|h5|onnx|onnx_data|pb|ckpt|pt|pth|gguf|xml|py|md|png|jpg)")
WITHOUT_WEIGHTS = re.compile("Tokenizer|Scheduler|Processor|Extractor|Guide|Guidance")


@dataclass(frozen=True)
class Chosen:
    """What loading reads, as names relative to the checkpoint, and the variant of weights among it; None: none."""

    names: tuple[str, ...]
    variant: str | None


@dataclass(frozen=True)
class _Weights:
    name: str
    variant: str | None
    safe: bool
    index: bool
    shard: int
    shards: int


def choose(
    source: str,
    names: Iterable[str],
    components: Mapping[str, str],
    wanted: Iterable[str],
    variant: str | None,
    index: str = INDEX,
) -> Chosen:
    """Return the files of the wanted components.

    Weights without a variant's name are read unless `variant` names another, or one variant is all that there is.
    A component without weights of the variant has its plain ones read, as in diffusers.

    Args:
        source: the checkpoint, for messages.
        names: of all files that it has, relative to it.
        components: the classes of all its components, by their names.
        variant: such as ``fp16``.
        index: the name of its index.

    Raises:
        UserError: a wanted component is not there or not whole, has weights of no such variant, or of several, or
            pickled ones alone.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, slash, _ = name.partition("/")
        if slash and folder in components:
            folders.setdefault(folder, []).append(name)
    weights = {folder: [found for name in inside if (found := _weights(name))] for folder, inside in folders.items()}
    chosen = _variant(
        source, {folder: {one.variant for one in of if one.safe} for folder, of in weights.items()}, variant
    )
    taken, marked = [index], False
    for component in wanted:
        inside, of = folders.get(component, []), weights.get(component, [])
        if not inside:
            raise _lacking(source, f"it has no {component}/, which its {index} names")
        read = [one for one in of if one.safe and one.variant == chosen] or [
            one for one in of if one.safe and one.variant is None
        ]
        _refuse(source, component, components[component], inside, of, read)
        others = {one.name for one in of}
        taken += [name for name in inside if name not in others and not IDLE.fullmatch(name) and "." in name]
        taken += [one.name for one in read]
        marked = marked or any(one.variant for one in read)
    return Chosen(tuple(taken), chosen if marked else None)


def whole(names: Iterable[str], components: Mapping[str, str]) -> int:
    """Return how many components have all that loading reads."""
    every = list(names)

    def is_whole(component: str) -> bool:
        variants = {found.variant for name in every if (found := _weights(name)) and name.startswith(f"{component}/")}
        for variant in variants or {None}:
            try:
                choose("", every, {component: components[component]}, [component], variant)
            except UserError:
                continue
            return True
        return False

    return sum(map(is_whole, components))


def _weights(name: str) -> _Weights | None:
    match = WEIGHTS.fullmatch(name.rpartition("/")[2])
    if match is None:
        return None
    parts = match.groupdict()
    variant = parts["before"] or parts["behind"] or parts["of"]
    shard, shards = int(parts["shard"] or 0), int(parts["shards"] or 0)
    return _Weights(name, variant, parts["kind"] == SAFE, parts["index"] is not None, shard, shards)


def _variant(source: str, variants: Mapping[str, set[str | None]], asked: str | None) -> str | None:
    """Return the variant to ask for, None for plain weights; `variants` are those that components have."""
    with_weights = {folder: of for folder, of in variants.items() if of}
    known = sorted({variant for of in with_weights.values() for variant in of if variant})
    if asked:
        if asked in known or not with_weights:
            return asked
        there = f"variants: {', '.join(known)}" if known else "it has plain weights only"
        raise UserError(
            f"{source} has no weights of the variant {asked}", f"{there}; leave --variant out, or change it"
        )
    unmarked = [of for of in with_weights.values() if None not in of]
    if not unmarked:
        return None
    common = sorted(variant for variant in set.intersection(*unmarked) if variant)
    if len(common) == 1:
        return common[0]
    raise UserError(
        f"{source} has no plain weights, but those of several variants: {', '.join(known)}",
        f"choose one with --variant {known[0]}",
    )


def _refuse(
    source: str, component: str, kind: str, inside: list[str], weights: list[_Weights], read: list[_Weights]
) -> None:
    """Raise UserError where a component's files cannot be loaded."""
    if not read and any(not one.safe for one in weights):
        raise UserError(
            f"cannot load the weights of {source}: those of {component} are pickled (.bin), and nothing is unpickled",
            "many repositories have them as .safetensors in a pull request: OWNER/NAME@refs/pr/1, see its Community "
            "tab; or save the pipeline again with diffusers: save_pretrained(FOLDER, safe_serialization=True)",
        )
    if not read and (weights or f"{component}/{CONFIG}" in inside) and not WITHOUT_WEIGHTS.search(kind):
        raise _lacking(source, f"there are none of {component}")
    shards = {one.shard for one in read if one.shards and not one.index}
    number = max((one.shards for one in read), default=0)
    if (number and len(shards) < number) or (read and not any(not one.index for one in read)):
        raise _lacking(source, f"{component} has {len(shards)} of its {number or 'several'} files")


def _lacking(source: str, reason: str) -> UserError:
    return UserError(f"cannot load the weights of {source}: {reason}", "copy, train or download the checkpoint again")
