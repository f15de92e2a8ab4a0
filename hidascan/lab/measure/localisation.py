"""Measure heatmaps: on photos with one region from an autoencoder, saved as JPEG, and on benchmarks with masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from hidascan.detectors.base import Detector
from hidascan.errors import HidascanError
from hidascan.examination import tensors_of
from hidascan.geometry import CELL
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.image.views import cut_views
from hidascan.lab.data.autoencoders import Autoencoder
from hidascan.lab.data.composites import mask_shares, repaint_region
from hidascan.lab.data.tables import EditedImage, LabelledImage, read_mask
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, mean_of_known

_BATCH = 16  # views per pass


def heatmap_of(detector: Detector, pixels: np.ndarray) -> np.ndarray:
    """Return the heatmap value of each cell, (ceil(H / 16), ceil(W / 16)) float32, of (H, W, 3) uint8, as in a scan.

    Raises:
        ValueError: If the detector has no heatmap.
    """
    views = cut_views(pixels, detector.plan)
    if views.grid is None or not detector.has_heatmap:
        raise ValueError("the detector has no heatmap")
    device = next(detector.parameters()).device
    numbers = range(len(views))
    with torch.inference_mode():
        batches = [numbers[first : first + _BATCH] for first in numbers[::_BATCH]]
        parts = [detector.encode(*tensors_of(views, batch, device)) for batch in batches]
        rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        located = detector.locate(rows, views.grid)
    assert located is not None
    return located.cpu().numpy()


def measure_localisation(
    detector: Detector,
    threshold: float,
    images: list[LabelledImage],
    autoencoder: Autoencoder,
    share: tuple[float, float],
    qualities: Sequence[int],
) -> list[dict[str, float]]:
    """Measure the heatmaps of photos with one region repainted, at each JPEG quality 1..100 of the final save.

    The threshold is that of the heatmap, 0..1; `share` is the minimum and maximum area of the region, 0..1.

    Returns:
        For each quality: token AUC over the cells of all images, its mean over images, mean IoU, and of the unedited
        photos the share of cells over the threshold, and of photos with any.
    """
    rng = np.random.default_rng(0)
    results: dict[int, list[tuple]] = {quality: [] for quality in qualities}
    for image in tqdm(images, desc="localise", disable=None):
        pixels = decode(image.path).pixels
        forged, mask = repaint_region(pixels, autoencoder, share, rng)
        truth = mask_shares(mask, CELL)
        for quality in qualities:
            cells, untouched = (heatmap_of(detector, jpeg(one, quality)) for one in (forged, pixels))
            results[quality].append(_compare_cells(cells, untouched >= threshold, truth, threshold))
    rows = []
    for quality, compared in results.items():
        inside, values, *each = zip(*compared, strict=True)
        means = dict(zip(("mean_auc", "iou", "false_area", "false_share"), map(np.nanmean, each), strict=True))
        pooled = auc(np.concatenate(inside), np.concatenate(values))
        rows.append({"jpeg": quality, "pooled_auc": pooled} | {name: float(mean) for name, mean in means.items()})
    return rows


def _compare_cells(cells: np.ndarray, false: np.ndarray, truth: np.ndarray, threshold: float) -> tuple:
    """Compare the heatmap of an image with the share of its region in each cell.

    Returns:
        Cells that are not on the border of the region: (n,) whether each is inside, and its value; their AUC; IoU; share
        of cells of the unedited photo over the threshold, `false`; whether any is.
    """
    clear, over, wanted = (truth == 0) | (truth == 1), cells >= threshold, truth >= 0.5
    inside, values = (truth[clear] == 1).astype(int), cells[clear]
    iou = (over & wanted).sum() / max(1, (over | wanted).sum())
    return inside, values, auc(inside, values), iou, false.mean(), false.any()


@dataclass(frozen=True)
class EditedFigures:
    """Figures of one image: pixel F1, IoU, AUC (NaN if unedited), maximum over cells, share above the threshold."""

    image: EditedImage
    f1: float
    iou: float
    auc: float
    peak: float
    marked: float


def measure_edited(
    detector: Detector, threshold: float, images: list[EditedImage], name: str
) -> tuple[list[EditedFigures], int]:
    """Compare heatmaps with masks by pixel; return the figures, and the number of unreadable files."""
    measured, unreadable = [], 0
    for image in tqdm(images, desc=name, disable=None):
        try:
            measured.append(_compare_pixels(detector, threshold, image))
        except HidascanError:
            unreadable += 1
    return measured, unreadable


def _compare_pixels(detector: Detector, threshold: float, image: EditedImage) -> EditedFigures:
    pixels = decode(image.path).pixels
    cells = heatmap_of(detector, pixels)
    heat = np.repeat(np.repeat(cells, CELL, axis=0), CELL, axis=1)[: pixels.shape[0], : pixels.shape[1]]
    marked = heat >= threshold
    if image.mask is None:
        return EditedFigures(image, np.nan, np.nan, np.nan, float(cells.max()), float(marked.mean()))
    mask = read_mask(image.mask)
    if mask.shape != marked.shape:
        raise HidascanError(f"{image.mask}: the mask and its image differ in size")
    both, either = float((marked & mask).sum()), float((marked | mask).sum())
    f1, iou = 2 * both / max(1.0, both + either), both / max(1.0, either)
    every = max(1, int(np.sqrt(mask.size / 250_000)))  # sampling step, for speed
    pixel_auc = auc(mask[::every, ::every].ravel().astype(int), heat[::every, ::every].ravel())
    return EditedFigures(image, f1, iou, pixel_auc, float(cells.max()), float(marked.mean()))


def edited_as_markdown(measured: list[EditedFigures]) -> str:
    """Return a table with one row per group; edited groups have the AUC of the largest heatmap value against unedited images."""
    by_group = defaultdict(list)
    for one in measured:
        by_group[one.image.group, one.image.mask is not None, one.image.regenerated].append(one)
    untouched = [one.peak for one in measured if one.image.mask is None]
    rows = []
    for (group, edited, regenerated), members in sorted(by_group.items(), key=lambda item: (item[0][1], item[0])):
        name = group + (" (regenerated as a whole)" if regenerated else "") + ("" if edited else " (untouched)")
        peaks = [one.peak for one in members]
        labels = np.array([0] * len(untouched) + [1] * len(peaks))
        of_images = auc(labels, np.array([*untouched, *peaks])) if edited and untouched else np.nan
        means = [mean_of_known([getattr(one, of) for one in members]) for of in ("f1", "iou", "auc")]
        cells = [_text(value) for value in (*means, of_images, mean_of_known([one.marked for one in members]))]
        rows.append([name, len(members), *cells])
    return markdown.table(["group", "n", "pixel F1", "IoU", "pixel AUC", "image AUC", "marked area"], rows)


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"
