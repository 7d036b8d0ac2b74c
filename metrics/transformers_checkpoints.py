"""Folders of transformers checkpoints, and the architecture that a checkpoint names."""

import json
from pathlib import Path

from common.errors import UserError

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
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0])
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


def _fetch(checkpoint: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(checkpoint, allow_patterns=PATTERNS))
    except Exception as error:  # network, hub and cache errors share no base class
        raise UserError(
            f"cannot fetch the scorer {checkpoint} from the hub: {error}",
            "check the name and the connection, or give a folder that holds it",
        ) from error
