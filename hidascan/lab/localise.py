"""Localisation (TFL) measured: photos with one region sent through an autoencoder, saved as JPEG, scanned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hidascan.image.decode import decode
from hidascan.image.redeliver import Compression, compress
from hidascan.lab.autoencoder import Autoencoder
from hidascan.lab.data import LabelledImage
from hidascan.lab.forge import cell_shares, repaint_region
from hidascan.lab.metrics import auc
from hidascan.scanner import CELL, Scanner


@dataclass(frozen=True)
class LocalisationFigures:
    """pooled_auc: over the cells of all images; mean_auc: mean over images; iou: mean at the shipped threshold;
    false_area: share of the untouched photos over that threshold."""

    pooled_auc: float
    mean_auc: float
    iou: float
    false_area: float


def measure_localisation(
    scanner: Scanner,
    images: list[LabelledImage],
    autoencoder: Autoencoder,
    share: tuple[float, float] = (0.1, 0.3),
    quality: int = 90,
    seed: int = 0,
    on_image: Callable[[], None] = lambda: None,
) -> LocalisationFigures:
    """Token AUC inside against outside; cells that the border of the region crosses are left out of the AUCs."""
    rng = np.random.default_rng(seed)
    inside, values, per_image, ious, false_areas = [], [], [], [], []
    save = Compression("JPEG", quality)
    threshold = scanner.header.calibration.localisation
    for image in images:
        pixels = decode(image.path).pixels
        forged, mask = repaint_region(pixels, autoencoder, share, rng)
        cells = scanner.scan_array(compress(forged, save)).token_map
        truth = cell_shares(mask, CELL)
        clear = (truth == 0) | (truth == 1)
        inside.append(truth[clear] == 1)
        values.append(cells[clear])
        per_image.append(auc(inside[-1].astype(int), values[-1]))
        over, wanted = cells >= threshold, truth >= 0.5
        ious.append((over & wanted).sum() / max(1, (over | wanted).sum()))
        untouched = scanner.scan_array(compress(pixels, save)).token_map
        false_areas.append((untouched >= threshold).mean())
        on_image()
    pooled = auc(np.concatenate(inside).astype(int), np.concatenate(values))
    return LocalisationFigures(pooled, float(np.mean(per_image)), float(np.mean(ious)), float(np.mean(false_areas)))
