"""Sections of a model card that only a HiDA-Net has."""

from __future__ import annotations

from typing import cast

from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.hidanet import cross_validation, heatmaps
from hidascan.lab.measure.card import CardSpec, Section
from hidascan.scanner import Scanner


def _cross_validation(scanner: Scanner, spec: CardSpec) -> str:
    parts: list[str] = []
    recipe, device, perturbed = spec.recipe, str(scanner.device), spec.images["perturbed"]
    cross_validation.report(recipe, spec.cache, device, scanner.dtype, parts.append, False, perturbed)
    return "\n\n".join(parts)


def _where(scanner: Scanner, spec: CardSpec) -> str:
    parts: list[str] = []
    residuals, device = cast(HiDANet, scanner.detector).residuals, str(scanner.device)
    heatmaps.report_heatmaps(spec.recipe, spec.cache, residuals, device, scanner.dtype, parts.append)
    return "\n\n".join(parts)


SECTIONS: dict[str, Section] = {"cross_validation": _cross_validation, "where": _where}
