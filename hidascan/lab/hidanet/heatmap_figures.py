"""Measure heatmaps on windows that TFL knows nothing of: of unseen sources, autoencoders left out in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hidascan.detectors.hidanet.heatmap import HeatmapThresholds
from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.lab.hidanet.heatmap_thresholds import fit_heatmap_thresholds
from hidascan.lab.hidanet.located import FOLDS, Located, locate_out_of_fold
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.window_cells import window_store
from hidascan.lab.hidanet.windows import EDIT, GENERATED, PASTED, REPAINTED, RETOUCHED, UNTOUCHED
from hidascan.lab.measure import markdown

_FORGED = ["", "n", "token AUC", "IoU", "with a region"]
_HONEST = ["", "n", "with a region", "hot area, mean"]


def report_heatmaps(
    recipe: HiDANetRecipe,
    cache: Path,
    residuals: ResidualFilters,
    device: str,
    dtype: torch.dtype,
    on_part: Callable[[str], object],
) -> None:
    """Measure heatmaps out of fold, and hand out what is found, part by part, in Markdown.

    Args:
        recipe: What is measured.
        cache: With its windows; what is missing is made.
        residuals: Filters of pixel residuals that TFL sees.
        device: Where features are computed that are missing.
        dtype: What in.
        on_part: Called with each part.
    """
    store = window_store(recipe, cache, residuals, device, dtype)
    located = locate_out_of_fold(recipe, store, cache)
    thresholds, edits = HeatmapThresholds(), len(_of(located, EDIT)) // max(1, recipe.localiser.windows.edit_draws)
    fit_heatmap_thresholds(thresholds, [one.logits for one in _of(located, UNTOUCHED)])
    on_part(f"{len(located)} windows, {FOLDS} folds by source.")
    as_they_are = [one for one in _of(located, EDIT) if one.number < edits]
    delivered = [one for one in _of(located, EDIT) if one.number >= edits]
    parts = {"edits as they are": as_they_are, "edits delivered": delivered}
    repainted = [one for one in _of(located, REPAINTED) if one.new_maker]
    parts |= {
        "repainted by an autoencoder that TFL never saw": repainted,
        "repainted by one that it saw": [one for one in _of(located, REPAINTED) if not one.new_maker],
        "pasted from a generated image": _of(located, PASTED),
    }
    on_part(markdown.table(_FORGED, [_forged_row(name, part, thresholds) for name, part in parts.items()]))
    on_part("Edits as they are, by method:\n\n" + _by_maker(as_they_are, thresholds, _forged_row, _FORGED))
    on_part("Repainted, by autoencoder, never seen:\n\n" + _by_maker(repainted, thresholds, _forged_row, _FORGED))
    rows = [_honest_row(name, _of(located, name), thresholds) for name in (UNTOUCHED, RETOUCHED, GENERATED)]
    on_part("Wholly real and wholly generated windows:\n\n" + markdown.table(_HONEST, rows))
    on_part("Retouched without AI:\n\n" + _by_maker(_of(located, RETOUCHED), thresholds, _honest_row, _HONEST))


def _of(located: list[Located], kind: str) -> list[Located]:
    return [one for one in located if one.kind == kind]


def _by_maker(
    located: list[Located],
    thresholds: HeatmapThresholds,
    row: Callable[[str, list[Located], HeatmapThresholds], list[str]],
    head: list[str],
) -> str:
    makers = sorted({one.maker for one in located})
    return markdown.table(
        head, [row(maker, [one for one in located if one.maker == maker], thresholds) for maker in makers]
    )


def _forged_row(name: str, located: list[Located], thresholds: HeatmapThresholds) -> list[str]:
    if not located:
        return [name, "0", "", "", ""]
    hot, wanted = [one.hot(thresholds) for one in located], [one.shares >= 0.5 for one in located]
    overlap = [(a & b).sum() / max(1, (a | b).sum()) for a, b in zip(hot, wanted, strict=True)]
    figures = (np.nanmean([one.auc for one in located]), np.mean(overlap), np.mean([cells.any() for cells in hot]))
    return [name, str(len(located)), *(f"{float(figure):.3f}" for figure in figures)]


def _honest_row(name: str, located: list[Located], thresholds: HeatmapThresholds) -> list[str]:
    if not located:
        return [name, "0", "", ""]
    hot = [one.hot(thresholds) for one in located]
    figures = (np.mean([cells.any() for cells in hot]), np.mean([cells.mean() for cells in hot]))
    return [name, str(len(located)), *(f"{float(figure):.3f}" for figure in figures)]
