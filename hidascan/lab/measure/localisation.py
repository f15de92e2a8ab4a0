"""Compute heatmaps of pixels, and measure localisation on photos with one region from an autoencoder, saved as JPEG."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hidascan.detectors.base import Detector
from hidascan.errors import RecipeError
from hidascan.geometry import CELL
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.image.views import cut_views
from hidascan.lab.data.autoencoders.base import Autoencoder
from hidascan.lab.data.forgeries import cell_shares, repaint_region
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure.metrics import auc
from hidascan.looking import tensors_of

_BATCH = 16  # views per pass


def heatmap_of(detector: Detector, pixels: np.ndarray) -> np.ndarray:
    """Return p(AI) of each cell, (ceil(H / 16), ceil(W / 16)) float32, of (H, W, 3) uint8, as in a scan.

    Raises:
        ValueError: If the detector has no heatmap.
    """
    views = cut_views(pixels, detector.plan)
    if views.grid is None or not detector.has_heatmap:
        raise ValueError("the detector has no heatmap")
    device, parts = next(detector.parameters()).device, []
    with torch.inference_mode():
        for first in range(0, len(views), _BATCH):
            numbers = range(first, min(first + _BATCH, len(views)))
            parts.append(detector.encode(*tensors_of(views, numbers, device)))
        located = detector.locate({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, views.grid)
    if located is None:
        raise ValueError("the detector has no heatmap")
    return located.cpu().numpy()


@dataclass(frozen=True)
class LocalisationFigures:
    """Figures at one JPEG quality of the save.

    Attributes:
        jpeg: JPEG quality, 1..100.
        pooled_auc: Token AUC over the cells of all images.
        mean_auc: Mean token AUC over images.
        iou: Mean IoU at the shipped threshold.
        false_area: Share of cells of unedited photos over the threshold.
        false_share: Share of unedited photos with any cell over the threshold.
    """

    jpeg: int
    pooled_auc: float
    mean_auc: float
    iou: float
    false_area: float
    false_share: float


_Compared = tuple[np.ndarray, np.ndarray, float, float, float, bool]


def _compare(cells: np.ndarray, untouched: np.ndarray, truth: np.ndarray, threshold: float) -> _Compared:
    """Compare the heatmap of an image, and that without its region, with the share of the region in each cell.

    Returns:
        Cells that are not on the border of the region: (n,) whether each is inside, and its value; their AUC; IoU; share
        of cells of the unedited photo over the threshold; whether any is.
    """
    clear, over, wanted = (truth == 0) | (truth == 1), cells >= threshold, truth >= 0.5
    inside, values, false = (truth[clear] == 1).astype(int), cells[clear], untouched >= threshold
    iou = (over & wanted).sum() / max(1, (over | wanted).sum())
    return inside, values, auc(inside, values), iou, float(false.mean()), bool(false.any())


def _figures(jpeg: int, compared: list[_Compared]) -> LocalisationFigures:
    """Return the figures over all images."""
    inside, values, *means = zip(*compared, strict=True)
    pooled = auc(np.concatenate(inside), np.concatenate(values))
    return LocalisationFigures(jpeg, pooled, *(float(np.nanmean(part)) for part in means))


def measure_localisation(
    detector: Detector,
    threshold: float,
    images: list[LabelledImage],
    autoencoder: Autoencoder,
    share: tuple[float, float],
    qualities: Sequence[int] = (90,),
    seed: int = 0,
    on_image: Callable[[], object] = lambda: None,
) -> list[LocalisationFigures]:
    """Measure the token AUC of repainted regions against their surroundings, at each JPEG quality.

    Args:
        detector: Detector with a heatmap.
        threshold: Localisation threshold, 0..1.
        images: Photos.
        autoencoder: Autoencoder that repaints.
        share: Minimum and maximum share of the area, 0..1.
        qualities: JPEG qualities of the save.
        seed: Random seed of the regions.
        on_image: Callback after each image.
    """
    rng = np.random.default_rng(seed)
    results: dict[int, list[_Compared]] = {quality: [] for quality in qualities}
    for image in images:
        pixels = decode(image.path).pixels
        forged, mask = repaint_region(pixels, autoencoder, share, rng)
        truth = cell_shares(mask, CELL)
        for quality in qualities:
            cells, untouched = (heatmap_of(detector, jpeg(one, quality)) for one in (forged, pixels))
            results[quality].append(_compare(cells, untouched, truth, threshold))
        on_image()
    return [_figures(quality, results[quality]) for quality in qualities]


@dataclass(frozen=True)
class Edit:
    """An image with a generated part: paths of image and mask, method (`group`), and source."""

    path: Path
    mask: Path
    group: str
    source: str = ""


def read_edits(table: Path) -> list[Edit]:
    """Read a TSV with the columns path and mask, relative to its folder, group, and optionally source.

    Raises:
        RecipeError: If the table is missing or lacks a column.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return [
            Edit(table.parent / row["path"], table.parent / row["mask"], row["group"], row.get("source") or "")
            for row in rows
        ]
    except OSError as error:
        raise RecipeError(f"{table}: {error.strerror}") from None
    except KeyError as error:
        raise RecipeError(f"{table}: column missing: {error.args[0]}") from None
