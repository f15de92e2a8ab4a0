"""The quality estimate (QFE) measured: images shrunk by 2, so that their own past is gone, then compressed by us."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from hidascan.image.decode import decode
from hidascan.image.redeliver import Compression, compress
from hidascan.lab.data import LabelledImage
from hidascan.scanner import Scanner

QUALITIES = (30, 50, 70, 80, 90, 95)


def quality_errors(
    scanner: Scanner, images: list[LabelledImage], on_image: Callable[[], None] = lambda: None
) -> dict[int, float]:
    """Mean absolute error of the estimated quality at each quality of QUALITIES, JPEG 4:2:0 as Pillow writes it."""
    errors: dict[int, list[float]] = {quality: [] for quality in QUALITIES}
    for image in images:
        pixels = decode(image.path).pixels
        half = cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            finding = scanner.scan_array(compress(half, Compression("JPEG", quality)))
            errors[quality].append(abs(finding.jpeg_quality_estimated - quality))
        on_image()
    return {quality: float(np.mean(values)) for quality, values in errors.items()}
