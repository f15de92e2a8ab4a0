"""How HiDA-Net is trained, and what is measured of it alone."""

from __future__ import annotations

from hidascan.lab.hidanet.card import SECTIONS
from hidascan.lab.hidanet.comparison import train_for_comparison
from hidascan.lab.hidanet.cross_validation import report as cross_validate
from hidascan.lab.hidanet.heatmaps import report_heatmaps
from hidascan.lab.hidanet.recipe import HiDANetRecipe as Recipe
from hidascan.lab.hidanet.train import train, train_part

__all__ = [
    "SECTIONS",
    "Recipe",
    "cross_validate",
    "report_heatmaps",
    "train",
    "train_for_comparison",
    "train_part",
]
