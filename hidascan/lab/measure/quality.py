"""Measure the quality estimate on images shrunk by 2, which removes their JPEG history, then compressed again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hidascan.errors import RecipeError
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg, shrink
from hidascan.lab.data.tables import LabelledImage
from hidascan.scanner import Scanner

QUALITIES = (30, 50, 70, 80, 90, 95)


def quality_errors(
    scanner: Scanner,
    images: list[LabelledImage],
    resized: float | None = None,
    on_image: Callable[[], object] = lambda: None,
) -> dict[int, float]:
    """Return the mean absolute error of the estimated quality at each of QUALITIES, JPEG 4:2:0 as Pillow writes it.

    Args:
        scanner: Scanner that estimates the quality.
        images: Images to compress.
        resized: Factor of an additional resize after compression, under 1; None for none.
        on_image: Callback after each image.

    Raises:
        RecipeError: If the detector does not estimate the quality.
    """
    errors: dict[int, list[float]] = {quality: [] for quality in QUALITIES}
    for image in images:
        half = shrink(decode(image.path).pixels, 0.5)
        for quality in QUALITIES:
            saved = jpeg(half, quality)
            finding = scanner.scan_array(shrink(saved, resized) if resized else saved)
            if finding.jpeg_quality_estimated is None:
                raise RecipeError(f"the detector {scanner.run.detector} does not estimate the JPEG quality")
            errors[quality].append(abs(finding.jpeg_quality_estimated - quality))
        on_image()
    return {quality: float(np.mean(values)) for quality, values in errors.items()}
