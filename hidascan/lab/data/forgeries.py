"""Create forgeries: regions repainted by an autoencoder, and swaps of regions between images (RPS)."""

from __future__ import annotations

import cv2
import numpy as np

from hidascan.lab.data.autoencoders import Autoencoder


def random_region(height: int, width: int, share: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Draw an (H, W) bool mask: a rectangle or ellipse at a random position, with a share of the area in `share`."""
    area = rng.uniform(*share) * height * width
    ellipse = rng.random() < 0.4
    box_area = area * 4 / np.pi if ellipse else area
    aspect = np.exp(rng.uniform(-0.5, 0.5))
    box_height = int(np.clip(np.sqrt(box_area * aspect), 8, height))
    box_width = int(np.clip(box_area / box_height, 8, width))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    mask = np.zeros((height, width), np.uint8)
    if ellipse:
        centre = (left + box_width // 2, top + box_height // 2)
        cv2.ellipse(mask, centre, (box_width // 2, box_height // 2), 0, 0, 360, 1, -1)
    else:
        mask[top : top + box_height, left : left + box_width] = 1
    return mask.astype(bool)


def repaint_region(
    pixels: np.ndarray, autoencoder: Autoencoder, share: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pass a random region of `share` of the area through an autoencoder and paste it back.

    Returns:
        Pixels (H, W, 3) uint8 and the mask (H, W) bool of the region.
    """
    height, width = pixels.shape[:2]
    mask = random_region(height, width, share, rng)
    repainted = autoencoder.reconstruct(np.ascontiguousarray(pixels))
    return swap_region(pixels, repainted, mask), mask


def swap_region(base: np.ndarray, donor: np.ndarray, mask: np.ndarray, softness: float = 0.0) -> np.ndarray:
    """Copy the pixels of `donor` into `base` within a mask: random patch swap (RPS) of HiDA-Net.

    Args:
        base: (H, W, 3) uint8.
        donor: (H, W, 3) uint8.
        mask: (H, W) bool.
        softness: Sigma of the feathered border, pixels; 0 for a hard border.
    """
    if not softness:
        return np.where(mask[..., None], donor, base)
    share = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), softness)[..., None]
    return np.rint(donor * share + base * (1 - share)).astype(np.uint8)


def match_tone(donor: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Match the mean and, within limits, the contrast of each channel of `donor` to `base`; both (H, W, 3) uint8."""
    means, spreads = zip(*((part.mean((0, 1)), part.std((0, 1)) + 1) for part in (donor, base)), strict=True)
    matched = (donor - means[0]) * np.clip(spreads[1] / spreads[0], 0.6, 1.6) + means[1]
    return np.rint(matched).clip(0, 255).astype(np.uint8)


def poisson_blend(base: np.ndarray, donor: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Copy the gradients of `donor` into `base` within a mask ("Poisson Image Editing", SIGGRAPH 2003).

    Regions keep two pixels of distance to the image border, as the equation requires boundary values.
    """
    inner = np.zeros_like(mask)
    inner[2:-2, 2:-2] = mask[2:-2, 2:-2]
    if not inner.any():
        return base
    rows, columns = (np.nonzero(inner.any(axis))[0] for axis in (1, 0))
    centre = (int(columns[0] + columns[-1]) // 2, int(rows[0] + rows[-1]) // 2)
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    cut = [np.ascontiguousarray(part[box]) for part in (donor, inner.astype(np.uint8) * 255)]
    return cv2.seamlessClone(cut[0], base, cut[1], centre, cv2.NORMAL_CLONE)


def cell_shares(mask: np.ndarray, cell: int) -> np.ndarray:
    """Return the share of true pixels of a mask (H, W) in each cell, (ceil(H / cell), ceil(W / cell))."""
    rows, cols = (np.arange(0, side, cell) for side in mask.shape)
    sums = np.add.reduceat(np.add.reduceat(mask.astype(np.float64), rows, axis=0), cols, axis=1)
    heights, widths = (np.diff([*starts, side]) for starts, side in zip((rows, cols), mask.shape, strict=True))
    return sums / np.outer(heights, widths)
