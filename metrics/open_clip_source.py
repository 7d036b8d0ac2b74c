"""Source of an open_clip encoder: a folder or a published model, and the encoder as its publisher trained it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from common.files import sha256_file, sha256_tree
from common.loading import loading
from metrics.clip_towers import assembled

LOCAL = "local-dir:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
AGAIN = "fetch the checkpoint again or choose another"


@dataclass(frozen=True)
class Source:
    """The place that open_clip loads an encoder from.

    Attributes:
        model: ``local-dir:<folder>`` or the name of an open_clip configuration.
        tag: pretrained tag; None for a folder.
        quick_gelu: true where the tag was trained with x * sigmoid(1.702 x) although the configuration says GELU: its
            weights would load without it, and give other embeddings.

    Examples:
        >>> str(Source("ViT-L-14", "openai", quick_gelu=True)), str(Source("local-dir:clip"))
        ('ViT-L-14:openai', 'local-dir:clip')
    """

    model: str
    tag: str | None = None
    quick_gelu: bool = False

    @classmethod
    def of(cls, checkpoint: str) -> "Source":
        """Return the source that a folder, ``local-dir:<folder>`` or ``<model>:<tag>`` names.

        Raises:
            UserError: there is no such folder, model or tag; the folder holds no safetensors; or the model's
                activation is not the one that the tag was trained with.

        Examples:
            >>> try:
            ...     Source.of("no-such-folder")
            ... except UserError as error:
            ...     print(error.message)
            there is no CLIP folder no-such-folder
        """
        folder = Path(checkpoint.removeprefix(LOCAL))
        if checkpoint.startswith(LOCAL) or folder.is_dir():
            return cls._folder(folder)
        model, colon, tag = checkpoint.rpartition(":")
        if not colon:
            raise UserError(
                f"there is no CLIP folder {checkpoint}",
                "give a folder, or an open_clip model and tag as ViT-L-14:openai",
            )
        return cls._pretrained(model, tag)

    @classmethod
    def _folder(cls, folder: Path) -> "Source":
        folder = assembled(folder)
        if not (folder / CONFIG).is_file() or not any((folder / name).is_file() for name in WEIGHTS):
            raise UserError(
                f"{folder} is no open_clip folder: it needs {CONFIG} and {WEIGHTS[0]}",
                "save the weights as safetensors; pickled ones are not read",
            )
        return cls(f"{LOCAL}{folder}")

    @classmethod
    def _pretrained(cls, model: str, tag: str) -> "Source":
        import open_clip

        config, tags = open_clip.get_model_config(model), open_clip.list_pretrained_tags_by_model(model)
        if config is None:
            raise UserError(f"open_clip knows no model {model!r}", nearest(model, open_clip.list_models()))
        if not open_clip.is_pretrained_cfg(model, tag):
            raise UserError(f"open_clip's {model} has no pretrained tag {tag!r}", nearest(tag, tags))
        trained, configured = (
            bool(settings.get("quick_gelu", False)) for settings in (open_clip.get_pretrained_cfg(model, tag), config)
        )
        if configured and not trained:
            raise UserError(
                f"{model} computes with QuickGELU, its tag {tag} is not marked as trained with it",
                "choose the model's variant without QuickGELU, or another tag",
            )
        return cls(model, tag, quick_gelu=trained and not configured)

    def sha256(self) -> str:
        """Return the hash of the folder, or of the tag's weights, which are fetched if they are not here yet.

        Raises:
            UserError: they cannot be fetched.
        """
        import open_clip

        if self.tag is None:
            return sha256_tree(Path(self.model.removeprefix(LOCAL)))
        try:
            return sha256_file(open_clip.download_pretrained(open_clip.get_pretrained_cfg(self.model, self.tag)))
        except Exception as error:  # network, hub and file errors share no base class
            raise UserError(
                f"cannot fetch the CLIP weights {self}: {error}",
                "check the connection, or give a folder that holds them",
            ) from error

    def load(self, device: str) -> tuple[Any, Callable[..., Any]]:
        """Return the model on `device`, in evaluation mode, and its preprocessing of a picture.

        Raises:
            NoRoomError: it does not fit.
            UserError: it cannot be fetched or loaded.
        """
        import open_clip

        with loading(f"the weights of {self} on {device}", "use a smaller encoder, or a larger device"):
            try:
                model, preprocess = open_clip.create_model_from_pretrained(
                    self.model, self.tag, device=device, force_quick_gelu=self.quick_gelu
                )
            except Exception as error:  # open_clip raises what its parts raise: network, JSON, safetensors, shapes
                raise UserError(f"cannot load the CLIP encoder {self}: {error}", AGAIN) from error
            return model.eval(), preprocess

    def tokenizer(self) -> Any:
        """Return the model's own tokenizer, which cuts texts longer than its `context_length`.

        Raises:
            UserError: it cannot be fetched or loaded.
        """
        import open_clip

        try:
            return open_clip.get_tokenizer(self.model)
        except Exception as error:  # as above
            raise UserError(f"cannot load the tokenizer of the CLIP encoder {self}: {error}", AGAIN) from error

    def __str__(self) -> str:
        return self.model if self.tag is None else f"{self.model}:{self.tag}"


def vocabulary(model: Any) -> int | None:
    """Return the number of tokens that a model embeds; None where it does not say."""
    words = getattr(getattr(model, "text", model), "vocab_size", None)
    return None if words is None else int(words)


def knows(model: Any, tokenizer: Any) -> bool:
    """Return False where the tokenizer has tokens that the model lacks: they would be read out of bounds."""
    words = vocabulary(model)
    return words is None or int(tokenizer("").max()) < words
