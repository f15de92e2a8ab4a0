"""Load the frozen backbone of a recipe, as far as somebody needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.backbones.packed import pack_linears
from hidascan.detectors.checkpoint import load_backbone, sha256_of
from hidascan.lab.hidanet.recipe import HiDANetRecipe


def recipe_backbone(recipe: HiDANetRecipe, taps: tuple[int, ...], device: str, dtype: torch.dtype) -> FrozenViT:
    """Load the frozen backbone with the blocks `taps` (counted from 1), packed where that is faster."""
    network = recipe.network
    backbone = load_backbone(network.backbone, taps, network.side, Path(recipe.data.backbone), dtype).to(device)
    if device == "cpu":
        pack_linears(backbone)
    return backbone


def what_decides_tokens(recipe: HiDANetRecipe) -> list[Any]:
    """Return what decides the frozen tokens of an image: a changed backbone must not reuse old ones."""
    network = recipe.network
    return [network.backbone, network.taps, network.side, sha256_of(Path(recipe.data.backbone))]
