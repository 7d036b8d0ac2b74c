"""Where a transformers checkpoint is, and what it says it is."""

import json
from pathlib import Path

from common.errors import UserError

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]

_fetched: dict[str, Path] = {}


def architecture(place: str) -> str:
    """What the checkpoint's configuration says its model is.

    Raises:
        UserError: the checkpoint cannot be had, or says nothing.
    """
    folder = checkpoint_folder(place)
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder} is no transformers checkpoint: its config.json names no architecture",
            "give a folder written by save_pretrained",
        ) from error


def checkpoint_folder(checkpoint: str, others: str = "t2v:clip-flant5-xxl") -> Path:
    """A checkpoint's folder; a hub id's configuration, tokenizer and safetensors are fetched into the hub's cache.

    Args:
        checkpoint: a folder, or a hub id as owner/name.
        others: what else could have been given, for the hint.

    Raises:
        UserError: there is no such folder, or the hub does not give it.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder
    if checkpoint.count("/") != 1 or checkpoint.startswith((".", "/", "~")):
        raise UserError(
            f"there is no scorer folder {checkpoint}", f"give a folder, a hub id as owner/name, or {others}"
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
