"""CNNs of timm, for detectors that train their backbone."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.timm_vit import check_timm_name
from hidascan.errors import CheckpointError

_CNN = re.compile(r"resnet|resnext|convnext|efficientnet|regnet|densenet|mobilenet")


def is_cnn(name: str) -> bool:
    """Return whether a timm model is a CNN, by its name."""
    return bool(_CNN.search(name))


def build_timm_cnn(name: str, pooled: bool = True) -> tuple[nn.Module, int]:
    """Build a CNN with random weights and without its classifier.

    Args:
        name: Name in timm.
        pooled: Whether the output is averaged over positions: (B, D), else (B, D, h, w).

    Returns:
        The network, and D.

    Raises:
        CheckpointError: If timm has no such CNN.
    """
    check_timm_name(name)
    if not is_cnn(name):
        raise CheckpointError(f"{name[:40]!r} is not a timm CNN")
    import timm  # here, as it takes two seconds

    try:
        network: Any = timm.create_model(
            name, pretrained=False, num_classes=0, **({} if pooled else {"global_pool": ""})
        )
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"timm cannot build {name!r}: {error}") from error
    return network, int(network.num_features)


def standardisation_of(network: Any) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (1, 3, 1, 1) of RGB in 0..1 for a timm model."""
    settings = network.pretrained_cfg
    mean, std = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return mean, std
