"""How HiDA-Net is trained, and what is measured of it alone."""

from __future__ import annotations

from hidascan.lab.hidanet.comparison import train_for_comparison
from hidascan.lab.hidanet.recipe import HiDANetRecipe as Recipe
from hidascan.lab.hidanet.train import train, train_heatmap

__all__ = [
    "Recipe",
    "card",
    "cross_validation",
    "train",
    "train_for_comparison",
    "train_heatmap",
]
