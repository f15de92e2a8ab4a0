"""Backbones of timm: vision transformers other than CLIP, and networks for detectors that train their backbone."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from hidascan.errors import CheckpointError

_NAME = re.compile(r"[\w.]+")
_CNN = re.compile(r"resnet|resnext|convnext|efficientnet|regnet|densenet|mobilenet")


def check_timm_name(name: str) -> None:
    """Refuse names with a colon, for which timm would access a hub or a folder.

    Raises:
        CheckpointError: If the name is not plain, as weights must not cause such accesses.
    """
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"{name!r:.60} is not the name of a timm model")


def create_model(name: str, outputs: int = 0, **options: Any) -> Any:
    """Build a network of timm with random weights, and a classifier of some outputs, 0 for none.

    Raises:
        CheckpointError: If the name is not plain, or timm is missing or cannot build it.
    """
    check_timm_name(name)
    try:
        import timm  # here, as it takes two seconds
    except ImportError:
        raise CheckpointError(f"the backbone {name!r} needs timm: pip install timm") from None
    try:
        return timm.create_model(name, pretrained=False, num_classes=outputs, **options)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"timm cannot build the backbone {name!r}: {error}") from error


def build_timm_vit(name: str, image_size: int) -> Any:
    """Build a ViT with a [CLS] token, with random weights and without the layers after its blocks.

    Raises:
        CheckpointError: If timm cannot build it for the size, or it is not such a ViT.
    """
    vit = create_model(name, img_size=image_size)
    from timm.models import VisionTransformer

    if not isinstance(vit, VisionTransformer) or not vit.has_class_token:
        raise CheckpointError(f"the backbone {name!r} is not a ViT with a [CLS] token")
    vit.norm = vit.fc_norm = vit.head = nn.Identity()
    return vit


def embed_with_timm(vit: Any, x: Tensor) -> Tensor:
    """Turn standardised views (B, 3, S, S) into input tokens (B, P + N, C) of the first block."""
    tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(x))))
    return tokens


def is_cnn(name: str) -> bool:
    """Return whether a timm model is a CNN, by its name."""
    return bool(_CNN.search(name))


def build_timm_cnn(name: str, pooled: bool = True) -> tuple[nn.Module, int]:
    """Build a CNN of timm with random weights and without its classifier, and return it with its width D.

    Its output is (B, D) if `pooled`, averaged over positions, otherwise (B, D, h, w).

    Raises:
        CheckpointError: If timm has no such CNN.
    """
    check_timm_name(name)
    if not is_cnn(name):
        raise CheckpointError(f"{name[:40]!r} is not a timm CNN")
    options: dict[str, Any] = {} if pooled else {"global_pool": ""}
    network = create_model(name, **options)
    return network, int(network.num_features)


def standardisation_of(network: Any) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (1, 3, 1, 1) of RGB in 0..1 in the training of a ViT or a timm model."""
    settings = network.pretrained_cfg
    mean, std = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return mean, std
