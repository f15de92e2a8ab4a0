"""Localisation (TFL) measured: photos with one region sent through an autoencoder, saved as JPEG, looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from hidascan.image.decode import decode
from hidascan.image.redeliver import Compression, compress
from hidascan.image.tiles import cell_map, mirror_to_patch, patch_grid
from hidascan.lab.autoencoder import Autoencoder
from hidascan.lab.data import LabelledImage
from hidascan.lab.forge import cell_shares, repaint_region
from hidascan.lab.metrics import auc
from hidascan.lab.traces import views_of
from hidascan.model.detail import CELL
from hidascan.model.localiser import TokenLocaliser

_BATCH = 16  # views


@dataclass(frozen=True)
class LocalisationFigures:
    """At one quality of the save. pooled_auc: over the cells of all images; mean_auc: mean over images; iou: mean at
    the shipped threshold; false_area: share of the untouched photos over that threshold."""

    jpeg: int
    pooled_auc: float
    mean_auc: float
    iou: float
    false_area: float


@dataclass
class _Seen:
    """What was found in the images so far, at one quality."""

    inside: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    aucs: list[float] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    false_areas: list[float] = field(default_factory=list)

    def add(self, cells: np.ndarray, untouched: np.ndarray, truth: np.ndarray, threshold: float) -> None:
        """Cells that the border of the region crosses are left out of the AUCs."""
        clear = (truth == 0) | (truth == 1)
        self.inside.append((truth[clear] == 1).astype(int))
        self.values.append(cells[clear])
        self.aucs.append(auc(self.inside[-1], self.values[-1]))
        over, wanted = cells >= threshold, truth >= 0.5
        self.ious.append((over & wanted).sum() / max(1, (over | wanted).sum()))
        self.false_areas.append((untouched >= threshold).mean())

    def figures(self, jpeg: int) -> LocalisationFigures:
        pooled = auc(np.concatenate(self.inside), np.concatenate(self.values))
        return LocalisationFigures(
            jpeg, pooled, *(float(np.nanmean(v)) for v in (self.aucs, self.ious, self.false_areas))
        )


def measure_localisation(
    localiser: TokenLocaliser,
    threshold: float,
    images: list[LabelledImage],
    autoencoder: Autoencoder,
    share: tuple[float, float] = (0.1, 0.3),
    qualities: Sequence[int] = (90,),
    seed: int = 0,
    on_image: Callable[[], None] = lambda: None,
) -> list[LocalisationFigures]:
    """Token AUC inside against outside, at each quality of the save."""
    rng = np.random.default_rng(seed)
    seen = {quality: _Seen() for quality in qualities}
    for image in images:
        pixels = decode(image.path).pixels
        forged, mask = repaint_region(pixels, autoencoder, share, rng)
        truth = cell_shares(mask, CELL)
        for quality in qualities:
            saved = (compress(one, Compression("JPEG", quality)) for one in (forged, pixels))
            seen[quality].add(*(token_map(localiser, one) for one in saved), truth, threshold)
        on_image()
    return [seen[quality].figures(quality) for quality in qualities]


def token_map(localiser: TokenLocaliser, pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> p(AI) of each cell (ceil(H / 16), ceil(W / 16)) as a scan gives it, without the backbone."""
    height, width = pixels.shape[:2]
    whole = mirror_to_patch(pixels)
    views, corners = (part.split(_BATCH) for part in views_of(whole))
    with torch.inference_mode():
        traces = torch.cat([localiser.stem(*part) for part in zip(views, corners, strict=True)]).numpy()
        cells = cell_map(traces, patch_grid(*whole.shape[:2]))[: -(-height // CELL), : -(-width // CELL)]
        return torch.sigmoid(localiser(torch.from_numpy(cells).permute(2, 0, 1)[None])[0]).numpy()
