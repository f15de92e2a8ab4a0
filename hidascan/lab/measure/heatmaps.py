"""Compute the heatmap of pixels in memory."""

from __future__ import annotations

import numpy as np
import torch

from hidascan.detectors.base import Detector, Encoded, Positions
from hidascan.geometry import PatchGrid
from hidascan.image.views import cut_views

_BATCH = 16  # views


def heatmap_of(detector: Detector, pixels: np.ndarray) -> np.ndarray:
    """Return p(AI) of each cell, (ceil(H / 16), ceil(W / 16)) float32, of (H, W, 3) uint8, as in a scan.

    Raises:
        ValueError: If the detector has no heatmap.
    """
    encoded, grid = encode_for_heatmap(detector, pixels)
    with torch.inference_mode():
        located = detector.locate(encoded, grid)
    if located is None:
        raise ValueError("the detector has no heatmap")
    return located.cpu().numpy()


def encode_for_heatmap(detector: Detector, pixels: np.ndarray) -> tuple[Encoded, PatchGrid]:
    """Encode all views of (H, W, 3) uint8; return the rows and the grid.

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
            batch = torch.from_numpy(np.stack([views.pixels[n] for n in numbers])).permute(0, 3, 1, 2).to(device)
            thumbnails = torch.tensor([views.thumbnail and n == 0 for n in numbers], device=device)
            corners = torch.tensor([[views.boxes[n].top, views.boxes[n].left] for n in numbers], device=device)
            parts.append(detector.encode(batch, Positions(thumbnails, corners)))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, views.grid
