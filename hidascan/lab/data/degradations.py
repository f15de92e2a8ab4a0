"""Cut, resize, filter and compress training images, with equal distributions for both classes.

Otherwise, training would yield a compression detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hidascan.image import perturb
from hidascan.image.perturb import Compression

KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True)
class Degradation:
    """One drawn degradation, which can be applied to an image and to its reconstruction.

    Attributes:
        filter: "none", "blur", "sharpen" or "noise".
        strength: Strength of the filter.
        saves: Compressions, in order.
        shift: Pixels cropped at the top and left between saves, so that the block grids do not align.
        noise_seed: Random seed of the noise.
    """

    filter: str
    strength: float
    saves: tuple[Compression, ...]
    shift: tuple[int, int]
    noise_seed: int


@dataclass(frozen=True)
class DegradationSpec:
    """Settings of degradations."""

    filter: float = 0.0  # probability of blur, sharpening or noise
    saves: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)  # none, JPEG, two JPEGs, WebP
    jpeg_quality: tuple[int, int] = (30, 100)


def draw_degradation(rng: np.random.Generator, spec: DegradationSpec) -> Degradation:
    """Draw a degradation."""
    name, strength = "none", 0.0
    if rng.random() < spec.filter:
        name = str(rng.choice(["blur", "sharpen", "noise"]))
        low, high = {"blur": (0.4, 1.5), "sharpen": (0.3, 1.2), "noise": (1.0, 6.0)}[name]
        strength = float(rng.uniform(low, high))
    kind = int(rng.choice(4, p=spec.saves))
    drawn: tuple[Compression, ...] = ()
    if kind == 3:
        drawn = (Compression("WEBP", int(rng.integers(50, 96))),)
    elif kind:
        drawn = tuple(draw_jpeg(rng, spec.jpeg_quality) for _ in range(kind))
    shift = (int(rng.integers(0, 8)), int(rng.integers(0, 8)))
    return Degradation(name, strength, drawn, shift, int(rng.integers(2**31)))


def draw_jpeg(rng: np.random.Generator, quality: tuple[int, int]) -> Compression:
    """Draw a JPEG save with a quality between minimum and maximum."""
    return jpeg_of(int(rng.integers(quality[0], quality[1] + 1)), rng)


def jpeg_of(quality: int, rng: np.random.Generator) -> Compression:
    """Draw the chroma subsampling of a JPEG save."""
    return Compression("JPEG", quality, int(rng.choice([0, 2], p=[0.3, 0.7])))


def degrade(pixels: np.ndarray, degradation: Degradation) -> np.ndarray:
    """Degrade (H, W, 3) uint8; with two saves, the result is smaller by `shift`."""
    pixels = _filtered(pixels, degradation)
    for number, save in enumerate(degradation.saves):
        if number:
            pixels = pixels[degradation.shift[0] :, degradation.shift[1] :]
        pixels = perturb.compress(pixels, save)
    return pixels


def random_window(shape: tuple[int, ...], side: int, rng: np.random.Generator, grid: int = 1) -> tuple[slice, slice]:
    """Draw the rows and columns of a window of pixels (H, W, ...), of at most `side` per side, aligned with a grid."""
    height, width = shape[:2]
    top, left = (grid * int(rng.integers(0, (full - min(side, full)) // grid + 1)) for full in (height, width))
    return slice(top, min(top + side, height)), slice(left, min(left + side, width))


def resize(pixels: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Resize by `scale` with a random kernel, with a low-pass filter before shrinking unless by area averaging."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    kernel = int(rng.choice(KERNELS))
    if scale < 1 and kernel != cv2.INTER_AREA and rng.random() < 0.7:
        pixels = perturb.blur(pixels, 0.4 / scale)
    return cv2.resize(pixels, (width, height), interpolation=kernel)


def _filtered(pixels: np.ndarray, degradation: Degradation) -> np.ndarray:
    if degradation.filter == "blur":
        return perturb.blur(pixels, degradation.strength)
    if degradation.filter == "sharpen":
        return perturb.sharpen(pixels, degradation.strength)
    if degradation.filter == "noise":
        return perturb.noise(pixels, degradation.strength, degradation.noise_seed)
    return pixels
