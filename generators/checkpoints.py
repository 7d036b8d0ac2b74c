"""Checkpoints in the diffusers format, from a folder or the Hugging Face hub: safetensors only, no remote code."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from common.errors import NoRoomError, UserError
from common.files import DRIVE
from common.loading import loading

OFFLINE = "check the network and the name, or download it elsewhere and pass the folder with --model FOLDER"
INDEX = "model_index.json"
Offload = Literal["none", "model", "sequential"]
# What to do where weights do not fit on an accelerator, by what was tried.
SMALLER: dict[Offload, str] = {
    "none": "use --offload model, a narrower --dtype, or a larger device",
    "model": "use --offload sequential, a narrower --dtype, or a larger device",
    "sequential": "use a larger device, or --device cpu",
}
# Sizes of public models, as OWNER/NAME/COMPONENT/config.json: enough to plan and to count without the hub.
CONFIGURATIONS = Path(__file__).parent / "configurations"

_commits: dict[str, str] = {}


def pipeline_class(source: str) -> str:
    """Return the pipeline class named in `source`'s model_index.json, where its weights are.

    Raises:
        UserError: the folder or its index is missing or unreadable, or the hub has no such model.
    """
    return str(_parsed(_path(source, INDEX)).get("_class_name"))


def named_pipeline(source: str) -> str:
    """Return the pipeline class of `source`, of a public model from this package's copy of its index.

    Raises:
        UserError: as `load_config`.
    """
    return str(_read(source, INDEX).get("_class_name"))


def load_config(source: str, subfolder: str, filename: str = "config.json") -> dict[str, Any]:
    """Return one component's configuration, of `source` itself where `subfolder` is empty; no weights are fetched.

    A public model's comes with this package, until this process asks for the model itself (`hub_commit`).

    Raises:
        UserError: it is missing or unreadable.
    """
    return _read(source, f"{subfolder}/{filename}" if subfolder else filename)


def configured(source: str) -> str:
    """Return where `source`'s configurations are read: a public model's in this package, as `load_config` says."""
    own = source in _commits or Path(source).is_dir() or not (CONFIGURATIONS / source).is_dir()
    return source if own else str(CONFIGURATIONS / source)


def load_pipeline(
    expected: str,
    source: str,
    dtype: Any,
    device: Any,
    parts: Mapping[str, Any] | None = None,
    offload: Offload = "none",
) -> Any:
    """Return the diffusers pipeline at `source`, in `dtype` on `device`.

    Args:
        expected: the pipeline's class name; what the checkpoint says of itself must be the same.
        parts: components that are left out (None), borrowed from another folder (its path), or there already.
        offload: what waits in main memory until it is called: whole components (``model``), or single layers
            (``sequential``, for the smallest memory, and slow), by accelerate's hooks.

    Raises:
        NoRoomError: the weights do not fit.
        UserError: missing, of another class, or its weights are absent or damaged.
    """
    with loading(f"the weights of {source} in {str(dtype).removeprefix('torch.')} on {device}", SMALLER[offload]):
        pipeline = _from_pretrained(expected, source, dtype, parts or {})
        _place(pipeline, device, offload)
    return pipeline


def _from_pretrained(expected: str, source: str, dtype: Any, parts: Mapping[str, Any]) -> Any:
    """Return the pipeline in main memory; arguments and errors are those of `load_pipeline`."""
    import diffusers
    from safetensors import SafetensorError

    index = _parsed(_path(source, INDEX))
    check_pipeline(expected, source)
    try:
        with _quiet():
            borrowed = {
                name: _load_part(index, name, place, dtype) if isinstance(place, str) else place
                for name, place in parts.items()
                if name in index
            }
            pipeline = getattr(diffusers, expected).from_pretrained(
                source,
                revision=None if Path(source).is_dir() else hub_commit(source),
                torch_dtype=dtype,
                use_safetensors=True,
                **borrowed,
            )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        hint = "copy or train the checkpoint again" if Path(source).exists() else OFFLINE
        raise UserError(f"cannot load the weights of {source}: {reason}", hint) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _place(pipeline: Any, device: Any, offload: Offload) -> None:
    """Bring a pipeline's modules onto the device, at once or by hooks as they are called."""
    if offload == "none":
        pipeline.to(device)
        return
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
    from generators.families.encoding import errors_alone

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


def hub_commit(hub_id: str) -> str:
    """Return the commit of a hub model: the hub's current one, or the cached one where the hub cannot be reached.

    It stays the same while this process runs, and everything of that model is read at it.

    Raises:
        UserError: neither answers.
    """
    if hub_id not in _commits:
        # .../snapshots/<commit>/model_index.json
        _commits[hub_id] = _hub_path(hub_id, INDEX).parent.name
    return _commits[hub_id]


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


def _read(source: str, filename: str) -> dict[str, Any]:
    public = Path(configured(source)) / filename
    return _parsed(public if public.is_file() else _path(source, filename))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
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
    return _hub_path(source, filename, hub_commit(source))


@cache
def _hub_path(hub_id: str, filename: str, commit: str | None = None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    page = f"https://huggingface.co/{hub_id}"
    try:
        return Path(hf_hub_download(hub_id, filename, revision=commit))
    except GatedRepoError:
        raise UserError(
            f"{hub_id} is gated: its files are given to those who accepted its licence",
            f"accept it at {page}, then run: hf auth login",
        ) from None
    except RepositoryNotFoundError:  # also what the hub says of private models, and of gated ones at times
        raise UserError(
            f"the Hugging Face hub shows you no model {hub_id}",
            f"check the name; if {page} asks for it, accept the licence there and run: hf auth login",
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):  # that: offline
            hint = "give a repository that a diffusers pipeline was saved to"
            raise UserError(f"{hub_id} holds no {filename} on the Hugging Face hub", hint) from None
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"cannot fetch {filename} of {hub_id} from the Hugging Face hub: {reason}", OFFLINE) from None
