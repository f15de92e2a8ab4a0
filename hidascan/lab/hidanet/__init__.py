"""Training of HiDA-Net, and measurements that only it supports."""

from __future__ import annotations

from typing import cast

from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.hidanet.cross_validation import cross_validate
from hidascan.lab.hidanet.heatmaps import report_heatmaps
from hidascan.lab.hidanet.recipe import HiDANetRecipe as Recipe
from hidascan.lab.hidanet.train import train, train_for_comparison, train_part
from hidascan.lab.measure.card import CardSpec, Section
from hidascan.lab.training.artifacts import Workspace
from hidascan.scanner import Scanner

__all__ = ["SECTIONS", "Recipe", "cross_validate", "report_heatmaps", "train", "train_for_comparison", "train_part"]


def _cross_validation(scanner: Scanner, spec: CardSpec) -> str:
    workspace = Workspace(spec.cache, scanner.device, scanner.dtype)
    return "\n\n".join(cross_validate(spec.recipe, workspace, steps=False, perturbed=spec.images["perturbed"]))


def _where(scanner: Scanner, spec: CardSpec) -> str:
    workspace = Workspace(spec.cache, scanner.device, scanner.dtype)
    return "\n\n".join(report_heatmaps(spec.recipe, cast(HiDANet, scanner.detector).residuals, workspace))


SECTIONS: dict[str, Section] = {"cross_validation": _cross_validation, "where": _where}  # of a model card
