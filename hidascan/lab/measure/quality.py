"""Measure the quality estimate: images shrunk by 2, so that their own past is gone, then compressed by us."""

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
        images: To compress.
        resized: If given, under 1: the sides are shrunk to that share after compression, too.
        on_image: Called after each image.

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
