"""How HiDA-Net is trained, and what is measured of it alone."""

from __future__ import annotations

from typing import cast

from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.hidanet.cross_validation import report as cross_validate
from hidascan.lab.hidanet.heatmaps import report_heatmaps
from hidascan.lab.hidanet.recipe import HiDANetRecipe as Recipe
from hidascan.lab.hidanet.train import train, train_for_comparison, train_part
from hidascan.lab.measure.card import CardSpec, Section
from hidascan.scanner import Scanner

__all__ = [
    "SECTIONS",
    "Recipe",
    "cross_validate",
    "report_heatmaps",
    "train",
    "train_for_comparison",
    "train_part",
]


def _cross_validation(scanner: Scanner, spec: CardSpec) -> str:
    parts: list[str] = []
    recipe, device, perturbed = spec.recipe, str(scanner.device), spec.images["perturbed"]
    cross_validate(recipe, spec.cache, device, scanner.dtype, parts.append, False, perturbed)
    return "\n\n".join(parts)


def _where(scanner: Scanner, spec: CardSpec) -> str:
    parts: list[str] = []
    residuals, device = cast(HiDANet, scanner.detector).residuals, str(scanner.device)
    report_heatmaps(spec.recipe, spec.cache, residuals, device, scanner.dtype, parts.append)
    return "\n\n".join(parts)


SECTIONS: dict[str, Section] = {"cross_validation": _cross_validation, "where": _where}  # of a model card
