"""The quality estimate (QFE) measured: images shrunk by 2, so that their own past is gone, then compressed by us."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hidascan.image.decode import decode
from hidascan.image.redeliver import Compression, compress, shrink
from hidascan.lab.data import LabelledImage
from hidascan.scanner import Scanner

QUALITIES = (30, 50, 70, 80, 90, 95)


def quality_errors(
    scanner: Scanner,
    images: list[LabelledImage],
    resized: float | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> dict[int, float]:
    """Mean absolute error of the estimated quality at each quality of QUALITIES, JPEG 4:2:0 as Pillow writes it; with
    `resized` (under 1), after the sides were shrunk to that share once more."""
    errors: dict[int, list[float]] = {quality: [] for quality in QUALITIES}
    for image in images:
        half = shrink(decode(image.path).pixels, 0.5)
        for quality in QUALITIES:
            saved = compress(half, Compression("JPEG", quality))
            finding = scanner.scan_array(shrink(saved, resized) if resized else saved)
            errors[quality].append(abs(finding.jpeg_quality_estimated - quality))
        on_image()
    return {quality: float(np.mean(values)) for quality, values in errors.items()}
