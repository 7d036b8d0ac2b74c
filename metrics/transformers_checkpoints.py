"""Folders of transformers checkpoints, and the architecture that a checkpoint names."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from common import hub
from common.errors import UserError, nearest
from common.files import parse_json

FULL = "fp32"
DTYPES = {FULL: "float32", "fp16": "float16", "bf16": "bfloat16"}
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]

_fetched: dict[str, Path] = {}


def architecture(place: str) -> str:
    """Return the class of the checkpoint's model, by its configuration.

    Args:
        place: a folder, or a hub id as owner/name.

    Raises:
        UserError: the checkpoint cannot be had, or names no class.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text('{"architectures": ["BlipForQuestionAnswering"]}')
        ...     architecture(folder)
        'BlipForQuestionAnswering'
    """
    folder = checkpoint_folder(place)
    try:
        return str(parse_json((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder} is no transformers checkpoint: its config.json names no architecture",
            "give a folder written by save_pretrained",
        ) from error


def checkpoint_folder(checkpoint: str, alternative: str = "t2v:clip-flant5-xxl") -> Path:
    """Return a checkpoint's folder.

    A hub id's configuration, tokenizer and safetensors are fetched into the hub's cache; never pickled weights.

    Args:
        checkpoint: a folder, or a hub id as owner/name.
        alternative: another checkpoint that could have been named, for the hint.

    Raises:
        UserError: there is no such folder, or the hub does not give it.

    Examples:
        >>> str(checkpoint_folder("."))
        '.'
        >>> try:
        ...     checkpoint_folder("./no-such-folder")
        ... except UserError as error:
        ...     print(error.message)
        there is no scorer folder ./no-such-folder
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder
    if checkpoint.count("/") != 1 or checkpoint.startswith((".", "/", "~")):
        raise UserError(
            f"there is no scorer folder {checkpoint}", f"give a folder, a hub id as owner/name, or {alternative}"
        )
    if checkpoint not in _fetched:
        _fetched[checkpoint] = _fetch(checkpoint)
    return _fetched[checkpoint]


def checked_dtype(dtype: str) -> str:
    """Return the name of a dtype that weights can have.

    Raises:
        UserError: there is no such dtype.

    Examples:
        >>> checked_dtype("bf16")
        'bf16'
    """
    if dtype not in DTYPES:
        raise UserError(f"there is no dtype {dtype!r} for a scorer", nearest(str(dtype), DTYPES))
    return dtype


def dtype_identity(dtype: str) -> dict[str, str]:
    """Return what a scorer's identity says of its dtype: nothing for the usual one, so that old scores stay its own.

    Examples:
        >>> dtype_identity("fp32"), dtype_identity("bf16")
        ({}, {'dtype': 'bf16'})
    """
    return {} if dtype == FULL else {"dtype": dtype}


def room_needed(metric: str, checkpoint: str, dtype: str, device: str) -> tuple[str, str]:
    """Return what a scorer's weights are called where they do not fit, and what to do then, for `loading`.

    Examples:
        >>> room_needed("vqa", "org/seven-billion", "fp32", "cuda")
        ('the weights of org/seven-billion in fp32 on cuda', 'use --metric vqa:dtype=bf16=..., or a smaller scorer')
    """
    narrower = f"use --metric {metric}:dtype=bf16=..., or a smaller scorer"
    return f"the weights of {checkpoint} in {dtype} on {device}", narrower if dtype == FULL else "use a smaller scorer"


def load_pretrained(
    checkpoint: str, folder: Path, processor: Path, kind: str, hint: str, *, device: str, dtype: str = FULL
) -> tuple[Any, Any]:
    """Return a checkpoint's model, on the device and in evaluation mode, and its processor.

    Args:
        checkpoint: as the user named it.
        folder: where it lies.
        processor: the folder of its processor.
        kind: the model that it should be, for messages.
        hint: what to do where it is none.
        device: a torch device.
        dtype: of the weights.

    Raises:
        UserError: it cannot be loaded from safetensors without code of its own, or lacks weights.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoProcessor

    readers = AutoProcessor if (processor / "tokenizer_config.json").is_file() else AutoImageProcessor
    try:
        reader = readers.from_pretrained(processor, trust_remote_code=False)
        model, report = AutoModel.from_pretrained(
            folder,
            dtype=getattr(torch, DTYPES[dtype]),
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise UserError(f"cannot load the {kind} {checkpoint}: {error}", hint) from error
    if missing := sorted(report["missing_keys"]):  # they would be random, and so the scores
        raise UserError(f"{checkpoint} lacks the weights {missing[:3]}", "choose a checkpoint that has all its layers")
    return model.to(device).eval(), reader


def _fetch(checkpoint: str) -> Path:
    names = [name for name in hub.snapshot(checkpoint, _count).files if _is_read(name)]
    if "config.json" not in names:
        raise UserError(f"{checkpoint} is no transformers checkpoint: it has no config.json", "choose another scorer")
    return hub.fetch(checkpoint, names, _count)


def _is_read(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in PATTERNS)


def _count(folder: Path) -> int:
    return sum(_is_read(path.name) for path in folder.rglob("*") if path.is_file())
