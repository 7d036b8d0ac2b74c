"""Checkpoints in the diffusers format, from a folder or the Hugging Face hub: safetensors only, no remote code."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from common import hub
from common.errors import NoRoomError, UserError
from common.files import DRIVE, input_file, parse_json, split_revision
from common.loading import loading
from generators.checkpoint_files import INDEX as INDEX
from generators.checkpoint_files import MODULAR_INDEX, Chosen, choose, whole

Offload = Literal["none", "model", "sequential"]
# Classes of components that are no longer where indexes say; families load them themselves.
MOVED = ("UnCLIPTextProjModel",)
# What to do where weights do not fit on an accelerator, by what was tried.
SMALLER: dict[Offload, str] = {
    "none": "use --offload model, a narrower --dtype, or a larger device",
    "model": "use --offload sequential, a narrower --dtype, or a larger device",
    "sequential": "use a larger device, or --device cpu",
}
# Sizes of public models, as OWNER/NAME/COMPONENT/config.json: enough to plan and to count without the hub.
CONFIGURATIONS = Path(__file__).parent / "configurations"


def pipeline_class(source: str) -> str:
    """Return the pipeline class named in `source`'s index, where its weights are.

    Raises:
        UserError: the folder or its index is missing or unreadable, or the hub has no such model.
    """
    return str(_parsed(_path(source, index_name(source))).get("_class_name"))


def named_pipeline(source: str) -> str:
    """Return the pipeline class of `source`, of a public model from this package's copy of its index.

    Raises:
        UserError: as `load_config`.
    """
    return str(load_index(source).get("_class_name"))


def has_index(folder: Path) -> bool:
    """Return whether the folder is one of a whole pipeline, classic or modular."""
    return any((folder / name).is_file() for name in (INDEX, MODULAR_INDEX))


def index_name(source: str) -> str:
    """Return the name of `source`'s index: a modular pipeline's where it has no other.

    Raises:
        UserError: the hub has no such model.
    """
    folder = Path(source)
    if folder.is_dir():
        modular = not (folder / INDEX).is_file() and (folder / MODULAR_INDEX).is_file()
    elif folder.is_absolute() or DRIVE.match(source):
        modular = False  # which is said where it is read
    else:
        modular = _only_modular(hub.snapshot(source, _rank))
    return MODULAR_INDEX if modular else INDEX


def _only_modular(known: hub.Snapshot) -> bool:
    """Return whether a hub model has a modular pipeline's index and no other, as far as is known."""
    return MODULAR_INDEX in known.files and INDEX not in known.files


def load_index(source: str) -> dict[str, Any]:
    """Return `source`'s index, a public model's from this package; a modular one's in the form of others.

    Raises:
        UserError: as `load_config`.
    """
    public = Path(configured(source)) / INDEX
    return _index(_parsed(public if public.is_file() else _path(source, index_name(source))))


def _index(content: dict[str, Any]) -> dict[str, Any]:
    """Return an index with a pair of library and class for each component, as classic pipelines have it.

    Examples:
        >>> spec = {"type_hint": ["diffusers", "AutoencoderKL"], "subfolder": "vae"}
        >>> _index({"vae": [None, None, spec], "scale": 8})
        {'vae': ['diffusers', 'AutoencoderKL'], 'scale': 8}
    """

    def pair(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], dict):
            return value
        return value[:2] if value[0] and value[1] else list(value[2].get("type_hint") or value[:2])

    return {name: pair(value) for name, value in content.items()}


def load_config(source: str, subfolder: str, filename: str = "config.json") -> dict[str, Any]:
    """Return one component's configuration, of `source` itself where `subfolder` is empty; no weights are fetched.

    A public model's comes with this package, until this process asks for the model itself (`hub_commit`).

    Raises:
        UserError: it is missing or unreadable.
    """
    return _read(source, f"{subfolder}/{filename}" if subfolder else filename)


def packaged(source: str = "") -> Path:
    """Return where a public model's configurations are in this package, if they are; without one, all of them."""
    return CONFIGURATIONS / source


def configured(source: str) -> str:
    """Return where `source`'s configurations are read: a public model's in this package, as `load_config` says."""
    own = hub.settled(source) or Path(source).is_dir() or not packaged(source).is_dir()
    return source if own else str(packaged(source))


def load_pipeline(
    expected: str,
    source: str,
    dtype: Any,
    device: Any,
    parts: Mapping[str, Any] | None = None,
    offload: Offload = "none",
    variant: str | None = None,
) -> Any:
    """Return the diffusers pipeline at `source`, in `dtype` on `device`.

    Args:
        expected: the pipeline's class name; what the checkpoint says of itself must be the same.
        parts: components that are left out (None), borrowed from another folder (its path), or there already.
        offload: what waits in main memory until it is called: whole components (``model``), or single layers
            (``sequential``, for the smallest memory, and slow), by accelerate's hooks.
        variant: of the weights, such as ``fp16``; None: plain ones, or the only variant that there is.

    Raises:
        NoRoomError: the weights do not fit.
        UserError: missing, of another class, or its weights are absent or damaged.
    """
    with loading(f"the weights of {source} in {str(dtype).removeprefix('torch.')} on {device}", SMALLER[offload]):
        pipeline = _from_pretrained(expected, source, dtype, parts or {}, variant)
        _place(pipeline, device, offload)
    return pipeline


def _from_pretrained(expected: str, source: str, dtype: Any, parts: Mapping[str, Any], variant: str | None) -> Any:
    """Return the pipeline in main memory; arguments and errors are those of `load_pipeline`."""
    from safetensors import SafetensorError

    from generators.families.modular import classic_class

    index = _index(_parsed(_path(source, index_name(source))))
    check_pipeline(expected, source)
    folder, variant = checkpoint_folder(source, [name for name in components(source) if name not in parts], variant)
    try:
        with _quiet():
            borrowed = {
                name: _load_part(index, name, place, dtype) if isinstance(place, str) else place
                for name, place in parts.items()
                if name in index
            }
            pipeline = classic_class(expected).from_pretrained(
                str(folder),
                variant=variant,
                torch_dtype=dtype,
                use_safetensors=True,
                **borrowed,
            )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        hint = "copy or train the checkpoint again"
        if not Path(source).exists():
            hint = f"the files in {folder} are damaged: delete them, and run the same command again"
        raise UserError(f"cannot load the weights of {source}: {reason}", hint) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _place(pipeline: Any, device: Any, offload: Offload) -> None:
    """Bring a pipeline's modules onto the device, at once or by hooks as they are called."""
    if offload == "none":
        pipeline.to(device)
        return
    if not hasattr(pipeline, "enable_model_cpu_offload"):
        raise UserError(f"a {type(pipeline).__name__} cannot be offloaded", "use --offload none")
    # hooks look for weights to move, and shells have none
    modules = {name: part for name, part in pipeline.components.items() if hasattr(part, "parameters")}
    empty = [name for name, part in modules.items() if next(iter(part.parameters()), None) is None]
    pipeline._exclude_from_cpu_offload = [*pipeline._exclude_from_cpu_offload, *empty]
    if offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
        return
    chain = str(pipeline.model_cpu_offload_seq or "").split("->")
    pipeline.model_cpu_offload_seq = "->".join(name for name in chain if name not in empty)
    pipeline._exclude_from_cpu_offload = empty  # what is read of a module beside its call is read while it is there
    pipeline.enable_model_cpu_offload(device=device)
    for hook in pipeline._all_hooks:
        _make_alone(hook, [other for other in pipeline._all_hooks if other is not hook])


def _make_alone(hook: Any, others: Sequence[Any]) -> None:
    """Have a module's call send all others to main memory, not only the one before it in the pipeline's usual order.

    One that does not fit goes back whole: accelerate takes a module for moved whose first weight is.
    """
    own, name = hook.hook.pre_forward, type(hook.model).__name__

    def alone(module: Any, *args: Any, **kwargs: Any) -> Any:
        if next(module.parameters()).device.type != "cpu":
            return own(module, *args, **kwargs)
        for other in others:
            if next(other.model.parameters()).device.type != "cpu":
                other.offload()
        try:
            with loading(f"the weights of a {name} on {hook.hook.execution_device}", SMALLER["model"]):
                return own(module, *args, **kwargs)
        except NoRoomError:
            hook.offload()
            raise

    hook.hook.pre_forward = alone


def _load_part(index: dict[str, Any], name: str, place: str, dtype: Any) -> Any:
    """Return the component of that name, of the class that the pipeline's index gives it, from another folder.

    Raises:
        UserError: the folder lacks some of its weights; what it has besides them is left there.
    """
    from common.logs import errors_alone

    library, class_name = index[name]
    kind = getattr(import_module(library), class_name)
    if not hasattr(kind, "parameters"):
        return kind.from_pretrained(place)
    with errors_alone("transformers"):  # which reports at length what is left
        part, report = kind.from_pretrained(place, torch_dtype=dtype, use_safetensors=True, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"{place} is no {class_name}: it has no {missing[0]}", f"borrow {name} from another folder")
    return part


def check_pipeline(expected: str, source: str) -> None:
    """Raise UserError unless `source` is a checkpoint of the pipeline class `expected`."""
    pipeline = named_pipeline(source)
    if pipeline != expected:
        raise UserError(f"{source} is a {pipeline}, not a {expected}", "choose a checkpoint of this model family")


def components(source: str) -> dict[str, str]:
    """Return the components that a checkpoint's index names, and their classes.

    Raises:
        UserError: as `load_config`.
    """
    return _classes(load_index(source))


def chosen_files(source: str, wanted: Collection[str], variant: str | None) -> Chosen:
    """Return the files that loading these components reads; of a hub model, whether they are here or not.

    Raises:
        UserError: as `choose`, or the hub does not tell what there is.
    """
    index = index_name(source)
    place = _path(source, index)  # a gated model says what it holds to everybody, and gives it to few
    if index == MODULAR_INDEX:
        _refuse_elsewhere(source, _parsed(place), wanted)
    try:
        return choose(source, _names(source), components(source), wanted, variant, index)
    except UserError as error:
        if Path(source).is_dir() or hub.snapshot(source, _rank).told:
            raise
        raise UserError(error.message, "only a part of it is here: connect, and run the same command again") from None


def _refuse_elsewhere(source: str, index: Mapping[str, Any], wanted: Collection[str]) -> None:
    """Raise UserError where a modular pipeline takes a component from somewhere else."""
    here = {name.partition("/")[0] for name in _names(source)}
    for name in wanted:
        place = index[name][-1].get("pretrained_model_name_or_path") if len(index[name]) > 2 else None
        if name not in here and place not in (None, source, split_revision(source)[0]):
            raise UserError(
                f"{source} takes its {name} from {place}",
                "load it with diffusers, and save it whole: pipeline.save_pretrained(FOLDER)",
            )


def checkpoint_folder(source: str, wanted: Collection[str], variant: str | None) -> tuple[Path, str | None]:
    """Return a folder that holds these components, and the variant to load them as; a hub model's are fetched.

    diffusers and transformers are given the folder in place of a hub id: asked for an id, they check components that
    are not wanted too, and refuse pipelines whose classes they have moved since.

    Raises:
        UserError: as `chosen_files`, or the files cannot be had.
    """
    chosen = chosen_files(source, wanted, variant)
    folder = Path(source)
    return (folder if folder.is_dir() else hub.fetch(source, chosen.names, _rank)), chosen.variant


def check_classes(source: str, wanted: Collection[str]) -> None:
    """Raise UserError if a component is of a class that diffusers and transformers, as installed, do not have."""
    import diffusers
    import transformers

    index, known = load_index(source), {"diffusers": diffusers, "transformers": transformers}
    for name in wanted:
        library, kind = index[name]
        if kind in MOVED or hasattr(diffusers.pipelines, library) or library not in known:
            continue
        module = known[library]
        # not dir(), which takes half a second of transformers; former names are aliases that neither tells
        if kind not in getattr(module, "__all__", ()) and not hasattr(module, kind):
            raise UserError(
                f"{name} of {source} is a {kind}, which {library} {module.__version__} here does not have",
                "install newer ones: pip install --upgrade diffusers transformers",
            )


def hub_hashes(source: str, wanted: Collection[str], variant: str | None) -> dict[str, str]:
    """Return the hashes of the files that loading a hub model's components reads, as the hub tells them.

    They are the same at every commit that has the same of these files.

    Raises:
        UserError: as `chosen_files`.
    """
    files = hub.snapshot(source, _rank).files
    return {name: files[name].hash for name in chosen_files(source, wanted, variant).names}


def hub_commit(source: str) -> str:
    """Return the commit of a hub model that this process reads (`common.hub.snapshot`, with the same errors)."""
    return hub.snapshot(source, _rank).commit


def hub_bytes(
    source: str, spare: Callable[[str], Collection[str]], variant: str | None, *, ask: bool
) -> tuple[int, int | None]:
    """Return how many bytes of the files that loading a hub model reads are here, and of how many.

    Args:
        spare: of a pipeline's class, the components of it that are not loaded.
        ask: the hub; else what its cache remembers is all that is known, and the second number may be None.

    Raises:
        UserError: the hub is asked, and does not tell.
    """
    known = hub.told(source) if ask else next(iter(hub.cached(source, _rank)), None)
    if known is None:
        return 0, None
    files = known.files if known.told else hub.listed(known) or known.files
    name = MODULAR_INDEX if _only_modular(known) else INDEX
    place = known.here(name) or packaged(source) / name
    if ask and not place.is_file():
        place = hub.hub_file(source, name, _rank)
    try:
        index = _index(_parsed(place))
        unread = spare(str(index.get("_class_name")))
        wanted = [part for part in _classes(index) if part not in unread]
        names = choose(source, files, _classes(index), wanted, variant, name).names
    except UserError:  # not all is here, and nobody told how much that is
        return sum(file.size for file in known.files.values()), None
    here = sum(files[name].size for name in names if known.here(name))
    return here, sum(files[name].size for name in names)


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no loading bars: a checkpoint has many parts, and the command line shows its own progress."""
    import diffusers
    import transformers

    libraries = (diffusers.utils.logging, transformers.utils.logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # The argument is called dtype since mid-2026; every diffusers before 1.0 takes this name.
            warnings.filterwarnings("ignore", ".*torch_dtype.*", FutureWarning)
            yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _classes(index: Mapping[str, Any]) -> dict[str, str]:
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    return {name: kind for name, (_, kind) in pairs.items() if isinstance(kind, str) and not name.startswith("_")}


def _read(source: str, filename: str) -> dict[str, Any]:
    public = Path(configured(source)) / filename
    return _parsed(public if public.is_file() else _path(source, filename))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(input_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}", "the checkpoint is damaged: copy or train it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no configuration", "the checkpoint is damaged: copy or train it again")
    return content


def _path(source: str, filename: str) -> Path:
    folder = Path(source)
    if folder.is_dir():
        path = folder / filename
        if not path.is_file():
            raise UserError(f"{folder} holds no {filename}", "give the folder of a diffusers checkpoint")
        return path
    if folder.is_absolute() or DRIVE.match(source):
        raise UserError(f"the model folder {folder} does not exist", "check the path")
    return hub.hub_file(source, filename, _rank)


def _names(source: str) -> list[str]:
    """Return the names of all files of a checkpoint."""
    folder = Path(source)
    if folder.is_dir():
        return [path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()]
    return list(hub.snapshot(source, _rank).files)


def _rank(folder: Path) -> int:
    """Return how many components of a checkpoint are whole in a folder."""
    if not has_index(folder):
        return 0
    try:
        return whole(_names(str(folder)), components(str(folder)))
    except UserError:  # a damaged index
        return 0
