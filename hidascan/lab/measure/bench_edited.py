"""Score a localisation benchmark as in its papers: pixel F1, IoU, AUC, and share of images with a region, by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hidascan.detectors.base import Detector
from hidascan.errors import HidascanError
from hidascan.geometry import CELL
from hidascan.image.decode import decode
from hidascan.lab.data.layouts.edited import EditedImage
from hidascan.lab.measure import markdown
from hidascan.lab.measure.localisation import heatmap_of
from hidascan.lab.measure.metrics import auc


@dataclass(frozen=True)
class EditedFigures:
    """Figures of one image: pixel F1, IoU, AUC (NaN if unedited), maximum of a cell, share over the threshold."""

    image: EditedImage
    f1: float
    iou: float
    auc: float
    hottest: float
    hot: float


def measure_edited(
    detector: Detector, threshold: float, images: list[EditedImage], on_image: Callable[[], object] = lambda: None
) -> tuple[list[EditedFigures], int]:
    """Compare heatmaps with masks by pixel; return the figures, and the number of unreadable files."""
    measured, unreadable = [], 0
    for image in images:
        try:
            measured.append(_measure(detector, threshold, image))
        except HidascanError:
            unreadable += 1
        on_image()
    return measured, unreadable


def _measure(detector: Detector, threshold: float, image: EditedImage) -> EditedFigures:
    pixels = decode(image.path).pixels
    cells = heatmap_of(detector, pixels)
    heat = np.repeat(np.repeat(cells, CELL, axis=0), CELL, axis=1)[: pixels.shape[0], : pixels.shape[1]]
    hot = heat >= threshold
    if image.mask is None:
        return EditedFigures(image, np.nan, np.nan, np.nan, float(cells.max()), float(hot.mean()))
    mask = decode(image.mask).pixels[..., 0] >= 128
    if mask.shape != hot.shape:
        raise HidascanError(f"{image.mask}: the mask and its image differ in size")
    both, either = float((hot & mask).sum()), float((hot | mask).sum())
    f1 = 2 * both / max(1.0, both + either)
    return EditedFigures(
        image, f1, both / max(1.0, either), _pixel_auc(mask, heat), float(cells.max()), float(hot.mean())
    )


def _pixel_auc(mask: np.ndarray, heat: np.ndarray) -> float:
    every = max(1, int(np.sqrt(mask.size / 250_000)))  # sampling step, for speed
    return auc(mask[::every, ::every].ravel().astype(int), heat[::every, ::every].ravel())


def as_markdown(measured: list[EditedFigures]) -> str:
    """Return a table with one row per group; edited groups have the AUC of the hottest cell against unedited images."""
    by_group = defaultdict(list)
    for one in measured:
        by_group[one.image.group, one.image.mask is not None, one.image.regenerated].append(one)
    untouched = [one.hottest for one in measured if one.image.mask is None]
    rows = []
    for (group, edited, regenerated), members in sorted(by_group.items(), key=lambda item: (item[0][1], item[0])):
        name = group + (" (regenerated as a whole)" if regenerated else "") + ("" if edited else " (untouched)")
        hottest = [one.hottest for one in members]
        labels = np.array([0] * len(untouched) + [1] * len(hottest))
        of_images = auc(labels, np.array([*untouched, *hottest])) if edited and untouched else np.nan
        means = [_mean([getattr(one, of) for one in members]) for of in ("f1", "iou", "auc")]
        cells = [_text(value) for value in (*means, of_images, _mean([one.hot for one in members]))]
        rows.append([name, str(len(members)), *cells])
    return markdown.table(["group", "n", "pixel F1", "IoU", "pixel AUC", "image AUC", "hot area"], rows)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"
