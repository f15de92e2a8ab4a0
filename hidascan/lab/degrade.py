"""How an image reaches its reader: one random law of resizing, filtering and compression, the same for both classes.

A law that differs between real and AI images would train a compression detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hidascan.image.redeliver import Compression, compress

_KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
CLEAN_QUALITY = 100.0  # label of pixels that were never in a JPEG


@dataclass(frozen=True)
class Delivery:
    """One draw from the law; the same delivery can be given to an image and to its reconstruction.

    filter: "none", "blur", "sharpen" or "noise", with its strength. saves: applied in order; `shift` pixels are cut
    off at the top and left between the saves, so that the block grids do not align.
    """

    filter: str
    strength: float
    saves: tuple[Compression, ...]
    shift: tuple[int, int]
    noise_seed: int


def draw_delivery(
    rng: np.random.Generator, filtered: float, saves: tuple[float, float, float, float], jpeg_quality: tuple[int, int]
) -> Delivery:
    """filtered: probability of a filter. saves: probabilities of no save, JPEG, two JPEGs, WebP. jpeg_quality: range."""
    filter_name, strength = "none", 0.0
    if rng.random() < filtered:
        filter_name = str(rng.choice(["blur", "sharpen", "noise"]))
        low, high = {"blur": (0.4, 1.5), "sharpen": (0.3, 1.2), "noise": (1.0, 6.0)}[filter_name]
        strength = float(rng.uniform(low, high))
    kind = rng.choice(4, p=saves)
    drawn: tuple[Compression, ...] = ()
    if kind == 3:
        drawn = (Compression("WEBP", int(rng.integers(50, 96))),)
    elif kind:
        drawn = tuple(_draw_jpeg(rng, jpeg_quality) for _ in range(kind))
    shift = (int(rng.integers(0, 8)), int(rng.integers(0, 8)))
    return Delivery(filter_name, strength, drawn, shift, int(rng.integers(2**31)))


def _draw_jpeg(rng: np.random.Generator, quality: tuple[int, int]) -> Compression:
    return Compression("JPEG", int(rng.integers(quality[0], quality[1] + 1)), int(rng.choice([0, 2], p=[0.3, 0.7])))


def deliver(pixels: np.ndarray, delivery: Delivery) -> np.ndarray:
    """(H, W, 3) uint8 -> the same size, or smaller by `shift` where there are two saves."""
    pixels = _filter(pixels, delivery)
    for number, save in enumerate(delivery.saves):
        if number:
            pixels = pixels[delivery.shift[0] :, delivery.shift[1] :]
        pixels = compress(pixels, save)
    return pixels


def known_quality(before: float | None, delivery: Delivery) -> float | None:
    """JPEG quality that the pixels have after a delivery: the lowest of their history; None if it is not known.

    before: quality of the pixels that the delivery gets, None if unknown. A lower quality than an unknown one is
    only safe to name where it is low (here: under 85, as photos on the web seldom are).
    """
    if any(save.format == "WEBP" for save in delivery.saves):
        return None
    lowest = min((float(save.quality) for save in delivery.saves), default=CLEAN_QUALITY)
    if before is None:
        return lowest if lowest < 85 else None
    return min(before, lowest)


def resize(pixels: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Resize by `scale` with a random kernel; when shrinking, all but area averaging are low-pass filtered first."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    kernel = int(rng.choice(_KERNELS))
    if scale < 1 and kernel != cv2.INTER_AREA and rng.random() < 0.7:
        sigma = 0.4 / scale
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigma)
    return cv2.resize(pixels, (width, height), interpolation=kernel)


def _filter(pixels: np.ndarray, delivery: Delivery) -> np.ndarray:
    if delivery.filter == "blur":
        return cv2.GaussianBlur(pixels, (0, 0), delivery.strength)
    if delivery.filter == "sharpen":
        soft = cv2.GaussianBlur(pixels, (0, 0), 1.0)
        return cv2.addWeighted(pixels, 1 + delivery.strength, soft, -delivery.strength, 0)
    if delivery.filter == "noise":
        grain = np.random.default_rng(delivery.noise_seed).normal(0, delivery.strength, pixels.shape)
        return np.clip(pixels + grain, 0, 255).astype(np.uint8)
    return pixels
