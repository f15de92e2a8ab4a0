"""The same picture as others would hand it on: re-saved, shrunk, cropped. A verdict worth its name survives that."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Compression:
    """One save: format JPEG or WEBP, quality 1..100, chroma subsampling (0: 4:4:4, 2: 4:2:0; JPEG only)."""

    format: str
    quality: int
    subsampling: int = 2


def compress(pixels: np.ndarray, save: Compression) -> np.ndarray:
    """Save and load again, (H, W, 3) uint8."""
    file = io.BytesIO()
    options = {"subsampling": save.subsampling} if save.format == "JPEG" else {"method": 2}
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, save.format, quality=save.quality, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def shrink(pixels: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 3) uint8 -> `scale` (under 1) of each side, at least a pixel, area-averaged."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def centre(pixels: np.ndarray, share: float = 0.6) -> np.ndarray:
    """(H, W, 3) uint8 -> the middle `share` of each side, at least a pixel."""
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def letterbox(pixels: np.ndarray, aspect: float = 16 / 9) -> np.ndarray:
    """(H, W, 3) uint8 -> the same picture between black bars, width / height as near to `aspect` as pixels allow."""
    height, width = pixels.shape[:2]
    right, below = max(0, round(height * aspect) - width), max(0, round(width / aspect) - height)
    return np.pad(pixels, ((below // 2, below - below // 2), (right // 2, right - right // 2), (0, 0)))


STRESS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG 90": lambda pixels: compress(pixels, Compression("JPEG", 90)),
    "JPEG 75": lambda pixels: compress(pixels, Compression("JPEG", 75)),
    "WebP 80": lambda pixels: compress(pixels, Compression("WEBP", 80)),
    "half size": lambda pixels: shrink(pixels, 0.5),
    "centre 60 %": centre,
}
