"""Measure figures under increasing perturbations, as in the robustness plots of papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np

from hidascan.errors import HidascanError
from hidascan.image import perturb
from hidascan.image.decode import decode
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure.metrics import auc
from hidascan.lab.training.trainer import read_ahead
from hidascan.scanner import Scanner

Levels = dict[float, perturb.Perturbation]
_CELL = 32  # side of masked squares, pixels

Points = list[tuple[float, float]]


def mask_cells(pixels: np.ndarray, share: float) -> np.ndarray:
    """Set a random share of squares to grey, with a fixed seed, (H, W, 3) uint8."""
    rows, columns = (-(-side // _CELL) for side in pixels.shape[:2])
    hidden = np.random.default_rng(0).random((rows, columns)) < share
    mask = np.kron(hidden, np.ones((_CELL, _CELL), bool))[: pixels.shape[0], : pixels.shape[1], None]
    return np.where(mask, np.uint8(128), pixels)


def _resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    if scale <= 1:
        return perturb.shrink(pixels, scale) if scale < 1 else pixels
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


CURVES: dict[str, Levels] = {
    "JPEG quality": {q: partial(perturb.jpeg, quality=q) for q in (100, 90, 80, 70, 60, 50, 40)},
    "blur, sigma": {s: partial(perturb.blur, sigma=s) for s in (0.5, 1.0, 1.5, 2.0, 2.5)},
    "resize": {s: partial(_resized, scale=s) for s in (0.6, 0.8, 1.0, 1.2, 1.4)},
    "noise, sigma": {s: partial(perturb.noise, sigma=s) for s in (2.0, 5.0, 10.0)},
    "masked share": {s: partial(mask_cells, share=s) for s in (0.0, 0.2, 0.4, 0.6, 0.8)},
}
MASKED = "masked share"


def measure_curves(
    scanner: Scanner, images: list[LabelledImage], on_image: Callable[[], object] = lambda: None
) -> dict[str, Points]:
    """Return the AUC by strength, for each of CURVES; for masking, the share of AI images that stay over 0.5."""
    places = [(name, strength) for name, levels in CURVES.items() for strength in levels]
    scores: list[list[float]] = []
    labels = []
    for label, copies in _copies(images):
        scores.append([float(finding.score or 0.0) for finding in scanner.scan_arrays([("", one) for one in copies])])
        labels.append(label)
        on_image()
    table, truth = np.array(scores), np.array(labels)
    curves: dict[str, Points] = {name: [] for name in CURVES}
    for (name, strength), column in zip(places, table.T, strict=True):
        figure = float((column[truth == 1] >= 0.5).mean()) if name == MASKED else auc(truth, column)
        curves[name].append((strength, figure))
    return curves


def _copies(images: list[LabelledImage]) -> Iterator[tuple[int, list[np.ndarray]]]:
    def load(number: int) -> tuple[int, list[np.ndarray]] | None:
        try:
            pixels = decode(images[number].path).pixels
        except HidascanError:
            return None
        return images[number].label, [change(pixels) for levels in CURVES.values() for change in levels.values()]

    yield from (loaded for loaded in read_ahead(load, len(images), ahead=2) if loaded is not None)
